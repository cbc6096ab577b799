"""Once: an `XADD` with an identity, which Redis 8.6.2 and later recognises when it is sent again (`IDMP`).

A stream remembers identities for some time, and of each producer only the newest ones: `Memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..replies import Reply, integer, mapping, reads

if TYPE_CHECKING:
    from ..connection import Connection

_BEFORE_THE_STREAM = len(b"$4\r\nXADD\r\n$")


class Identity(NamedTuple):
    """The name of one `XADD`: no other one of that producer has that number."""

    producer: bytes
    number: bytes


class Memory(NamedTuple):
    """The memory of a stream."""

    seconds: int
    identities: int
    """How many it remembers of each producer."""


def identified(packed: bytes, identity: Identity) -> bytes:
    """Return a packed `XADD` with an identity behind its stream."""
    count, _, rest = packed.partition(b"\r\n")
    size, _, _ = rest[_BEFORE_THE_STREAM:].partition(b"\r\n")
    options = _BEFORE_THE_STREAM + len(size) + 2 + int(size) + 2
    named = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in (b"IDMP", *identity))
    return b"*%d\r\n%b%b%b" % (int(count[1:]) + 1 + len(identity), rest[:options], named, rest[options:])


async def memory_of(connection: Connection, stream: str) -> Memory:
    """Return what a stream remembers; nothing on a server that knows no identities.

    Raises `StreamNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    return memory(await connection.call("XINFO", "STREAM", stream))


@reads
def memory(reply: Reply) -> Memory:
    """The reply of `XINFO STREAM`."""
    known = mapping(reply)
    return Memory(integer(known.get("idmp-duration", 0)), integer(known.get("idmp-maxsize", 0)))
