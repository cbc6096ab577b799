"""Find streams: the names of all streams of a server, also those of other programs.

Redis has no list of its streams, so all keys are looked through (`SCAN ... TYPE stream`), a thousand at a time: the
server does other work in between, and a million keys take about a second. A stream that is created or deleted meanwhile
may be missing or be there.
"""

from __future__ import annotations

import asyncio

import msgspec

from ..connection import Connection, replies
from ..connection.link import Link
from ..connection.replies import Answer, mapping, reads, text
from ..connection.steps import describing
from ..events import keys, wire_format
from ..events.wire_format import Fields
from ..exceptions import RedisStreamsError, StreamNotFoundError, StreamTypeError
from ..models import GroupInfo, StreamInfo

_KEYS_AT_ONCE = 1_000
_STREAMS_AT_ONCE = 200
"""The most streams that are described in one round trip."""
EVENTS, DEAD_LETTERS, FASTSTREAM, OTHER, EMPTY = "events", "dead letters", "FastStream", "other", "empty"
_OF_FASTSTREAM = b"__data__"


class FoundStream(msgspec.Struct, frozen=True):
    """A stream, with what Redis knows of it."""

    info: StreamInfo
    groups: list[GroupInfo]
    memory: int | None
    """Bytes; `None` if the user may not ask."""
    kind: str
    """Whose entries it has, by its newest one: `events` of this library, `dead letters`, `FastStream`, `other`
    programs' entries, or `empty`.
    """


async def stream_names(connection: Connection, pattern: str = "*") -> list[str]:
    """Return the names of all streams that match a pattern of Redis (`orders*`), in order.

    Raises `PermissionDeniedError`, `RedisUnavailableError`, `ServerError`.
    """
    found = await asyncio.gather(*(_names_at(link, pattern) for link in connection.links_to_all("control").values()))
    return sorted(set().union(*found))


async def _names_at(link: Link, pattern: str) -> set[str]:
    """Return the names of the streams on a node."""
    found: set[str] = set()
    cursor = b"0"
    while True:
        asked = ("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_AT_ONCE, "TYPE", "stream")
        cursor, names = scanned(await link.call(*asked))
        found.update(names)
        if cursor == b"0":
            return found


@reads
def scanned(reply: replies.Reply) -> tuple[bytes, list[str]]:
    """`SCAN`: the next cursor, and some keys."""
    cursor, found = replies.pair(reply)
    if not isinstance(cursor, bytes):
        raise TypeError
    return cursor, list(map(text, replies.array(found)))


async def find_streams(connection: Connection, names: list[str]) -> list[FoundStream]:
    """Describe streams. Streams that do not exist (any more) are left out.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    found = []
    for first in range(0, len(names), _STREAMS_AT_ONCE):
        found += await _described(connection, names[first : first + _STREAMS_AT_ONCE])
    letters = {keys.dead_letters(each.info.name, group.name) for each in found for group in each.groups}
    return [msgspec.structs.replace(each, kind=DEAD_LETTERS) if each.info.name in letters else each for each in found]


async def _described(connection: Connection, names: list[str]) -> list[FoundStream]:
    commands = [
        command
        for name in names
        for command in (("XINFO", "STREAM", name), ("XINFO", "GROUPS", name), ("MEMORY", "USAGE", name))
    ]
    answers = await connection.call_many(commands)
    parts = zip(names, answers[::3], answers[1::3], answers[2::3], strict=True)
    return [found for part in parts if (found := _found(*part)) is not None]


def _found(name: str, stream: Answer, groups: Answer, memory: Answer) -> FoundStream | None:
    """Return a stream by the answers about it; `None` if it was deleted meanwhile."""
    for answer in (stream, groups):
        if isinstance(answer, StreamNotFoundError | StreamTypeError):
            return None
        if isinstance(answer, RedisStreamsError):
            raise answer
    assert not isinstance(stream, RedisStreamsError)  # noqa: S101  # for mypy
    assert not isinstance(groups, RedisStreamsError)  # noqa: S101
    known = None if memory is None or isinstance(memory, RedisStreamsError) else replies.integer(memory)
    info = describing.stream_info(name, stream)
    return FoundStream(info, describing.group_infos(groups), known, kind_of(_newest(stream)))


@reads
def _newest(stream: replies.Reply) -> Fields | None:
    """The fields of the newest entry; `None` if there is none."""
    entry = replies.array(mapping(stream)["last-entry"])
    return replies.entry(*entry).fields if entry else None


def kind_of(fields: Fields | None) -> str:
    """Return whose entry it is, by its fields."""
    if fields is None:
        return EMPTY
    names = fields[::2]
    if b"dead:reason" in names:
        return DEAD_LETTERS
    if wire_format.EVENT_TYPE in names and wire_format.PAYLOAD in names:
        return EVENTS
    return FASTSTREAM if _OF_FASTSTREAM in names else OTHER
