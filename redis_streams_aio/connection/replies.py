"""Readers of raw replies (RESP2: nested lists of bytes and integers): what several steps and the wire need. Pure.

A step reads its own replies with them. A reply that cannot be read is not Redis's own: something else answers there, or
changes it on its way. The reader raises `ServerError` then, and no other error.
"""

from __future__ import annotations

import functools
import reprlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar, Union

from ..events import entry_ids
from ..events.wire_format import Fields
from ..exceptions import RedisStreamsError, ServerError, UnsupportedServerError

P = ParamSpec("P")
T = TypeVar("T")

Reply = Union[bytes, int, None, list["Reply"]]  # noqa: UP007  # a forward reference has no "|"
"""Whatever Redis answers in RESP2, errors apart."""
Answer = Reply | RedisStreamsError
"""The same, with error replies as our errors."""

OLDEST_REDIS = (7, 0)
_LARGEST = 2**64 - 1


NewEntry = tuple[bytes, Fields]
"""Id and fields."""
IdAndFields = tuple[bytes, Fields | None]
"""The same; no fields where the entry was deleted while it was pending."""


class RawEntry(NamedTuple):
    """The same, with names."""

    id: bytes
    fields: Fields | None


class Server(NamedTuple):
    """Who answered `HELLO`."""

    name: str
    version: str
    client_id: int
    mode: str = "standalone"
    """`cluster` for a node of a Cluster, `sentinel` for a Sentinel."""
    role: str = "master"
    """`replica` for a server that follows a primary."""


def reads(parse: Callable[P, T]) -> Callable[P, T]:
    """A parser that raises `ServerError` for what it cannot read."""

    @functools.wraps(parse)
    def read(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            shown = reprlib.repr(args[-1])
            raise ServerError(f"Redis answered what cannot be read as {parse.__name__}: {shown:.200}") from error

    return read


@reads
def entries(reply: Reply) -> list[RawEntry]:
    """`XRANGE`, the middle of `XAUTOCLAIM`: `[[id, fields], ...]`."""
    return [entry(entry_id, fields) for entry_id, fields in map(row, array(reply))]


def first_id(reply: Reply, count: int) -> bytes | None:
    """Return the first id in a reply to `XREADGROUP` with `count` entries of a stream; `None` for any other reply."""
    match reply:
        case [[_, [[bytes(first), _], *_] as found]] if len(found) == count:
            return first
    return None


@reads
def new_entries(reply: Reply) -> list[NewEntry]:
    """`XREADGROUP ... >` over one stream: `[[stream, [[id, fields], ...]]]`, or nothing.

    This is the hot path: the reply's own lists are handed on when all of it is checked, by few calls for all entries.
    New objects for each entry would cost as much again, and the garbage collector would look through them.
    """
    if reply is None:
        return []
    [[_, found]] = array(reply)  # type: ignore[misc]
    if found:
        ids, fields = zip(*array(found), strict=True)  # pairs, and nothing else
        if {*map(type, array(found)), *map(type, fields)} != {list}:
            raise TypeError
        deque(map(b"".join, (ids, *fields)), 0)  # the fastest way to find out that all of them are bytes
    return found  # type: ignore[return-value]  # lists of two


def entry(entry_id: Reply, fields: Reply) -> RawEntry:
    """An entry, for parsers that say what they read."""
    if fields is not None:
        b"".join(fields)  # type: ignore[arg-type]  # the fastest way to find out that all of them are bytes
    return RawEntry(checked_id(entry_id), fields)  # type: ignore[arg-type]


def checked_id(reply: Reply) -> bytes:
    """An entry id."""
    if isinstance(reply, bytes) and entry_ids.is_id(reply.decode()):
        return reply
    raise ValueError


@reads
def ids(reply: Reply) -> list[bytes]:
    """Entry ids."""
    return list(map(checked_id, array(reply)))


def optional_bytes(reply: Reply) -> bytes | None:
    """A bulk string, or none, for parsers that say what they read."""
    if reply is None or isinstance(reply, bytes):
        return reply
    raise TypeError


def count(reply: Reply) -> int:
    """A number that is not below 0, for parsers that say what they read."""
    number = integer(reply)
    if number < 0:
        raise ValueError
    return number


def how_many(reply: Reply) -> int:
    """How many there are. Fewer than none there cannot be: what says so is known to be wrong, and counts as none.

    For parsers that say what they read.
    """
    return max(0, integer(reply))


def age(reply: Reply) -> float:
    """Milliseconds as seconds. A time in the future, as after a clock was set back, counts as now.

    For parsers that say what they read.
    """
    return max(0, integer(reply)) / 1000


@reads
def words(expected: int, reply: Reply) -> list[bytes]:
    """So many bulk strings."""
    found = [word for word in array(reply) if isinstance(word, bytes)]
    if len(found) != expected:
        raise ValueError
    return found


@reads
def clock(reply: Reply) -> float:
    """`TIME`, in seconds."""
    seconds, microseconds = map(integer, array(reply))
    return seconds + microseconds / 1_000_000


def text(reply: Reply) -> str:
    """A bulk string as text."""
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)


def optional_text(reply: Reply) -> str | None:
    """A bulk string as text, `None` where Redis has none."""
    return None if reply is None else text(reply)


@reads
def integer(reply: Reply) -> int:
    """A number, also where a script had to send it as text."""
    number = int(reply)  # type: ignore[arg-type]
    if abs(number) > _LARGEST:
        raise ValueError
    return number


@reads
def rows(reply: Reply) -> list[Reply]:
    """An array, `[]` for none."""
    return array(reply)


def array(reply: Reply) -> list[Reply]:
    """An array, `[]` for none, for parsers that say what they read."""
    if reply is None or isinstance(reply, list):
        return reply or []
    raise TypeError


def pair(reply: Reply) -> tuple[Reply, Reply]:
    """An array of two, for parsers that say what they read."""
    first, second = array(reply)
    return first, second


def row(reply: Reply) -> list[Reply]:
    """An array that may not be missing, for parsers that say what they read."""
    if isinstance(reply, list):
        return reply
    raise TypeError


@reads
def mapping(reply: Reply) -> dict[str, Reply]:
    """Names and values in turn, as `XINFO` answers."""
    items = array(reply)
    return {text(name): value for name, value in zip(items[::2], items[1::2], strict=True)}


@reads
def server(reply: Reply) -> Server:
    """`HELLO`. Raises `UnsupportedServerError` for anything older than Redis 7.0."""
    known = mapping(reply)
    mode, role = known.get("mode", b"standalone"), known.get("role", b"master")
    found = Server(text(known["server"]), text(known["version"]), integer(known["id"]), text(mode), text(role))
    version = tuple(int(part) for part in found.version.split(".")[:2] if part.isdecimal())
    if found.name == "redis" and version < OLDEST_REDIS:
        told = f"the server is Redis {found.version}; redis_streams_aio needs Redis 7.0 or later, or Valkey"
        raise UnsupportedServerError(told)
    return found
