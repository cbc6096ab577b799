"""Pack commands into bytes with hiredis, four to six times faster than redis-py's own packing."""

from __future__ import annotations

from collections.abc import Callable

import hiredis

Argument = str | bytes | float
"""An argument of a command (`float` includes `int`)."""
Command = tuple[Argument, ...]

pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub says a tuple of one element
"""Packs a command into bytes of the wire protocol.

Raises `TypeError` for other types, `UnicodeEncodeError` for text that is not Unicode.
"""


def pack_around(before: Command, after: Command) -> tuple[bytes, bytes]:
    """Return the bytes before and after one argument, for a command in which only this argument changes.

    Raises the errors of `pack`.
    """
    return b"*%d\r\n%b" % (len(before) + 1 + len(after), _arguments(before)), _arguments(after)


def pack_between(around: tuple[bytes, bytes], argument: bytes) -> bytes:
    """Return the packed command with that argument, in a fifth of the time of packing everything."""
    before, after = around
    return b"%b$%d\r\n%b\r\n%b" % (before, len(argument), argument, after)


def _arguments(command: Command) -> bytes:
    """Return a command's bytes without the first line, which counts the arguments."""
    return pack(command).partition(b"\r\n")[2] if command else b""
