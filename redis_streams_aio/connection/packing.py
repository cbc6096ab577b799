"""Commands as bytes, by hiredis: four to six times faster than redis-py's own packing."""

from __future__ import annotations

from collections.abc import Callable

import hiredis

Argument = str | bytes | float
"""What a command is made of (`float` takes `int` too)."""
Command = tuple[Argument, ...]

pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub says a tuple of one
"""A command in the wire protocol.

Raises `TypeError` for other types, `UnicodeEncodeError` for text that is not Unicode.
"""


def pack_around(before: Command, after: Command) -> tuple[bytes, bytes]:
    """What stands before and after one argument more, in a command that is the same each time but for that one.

    Raises as `pack` does.
    """
    return b"*%d\r\n%b" % (len(before) + 1 + len(after), _arguments(before)), _arguments(after)


def pack_between(around: tuple[bytes, bytes], argument: bytes) -> bytes:
    """The command with that argument: a fifth of the time that packing all of it takes."""
    before, after = around
    return b"%b$%d\r\n%b\r\n%b" % (before, len(argument), argument, after)


def _arguments(command: Command) -> bytes:
    """A command's bytes without the line that says how many arguments there are."""
    return pack(command).partition(b"\r\n")[2] if command else b""
