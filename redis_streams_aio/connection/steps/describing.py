"""Describing: what Redis tells of a stream, its groups, and their consumers (`XINFO`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...models import ConsumerInfo, GroupInfo, StreamInfo
from ..replies import Reply, age, array, checked_id, how_many, integer, mapping, reads, text

if TYPE_CHECKING:
    from ..connection import Connection


async def describe_stream(connection: Connection, stream: str) -> StreamInfo:
    """Return what Redis tells of a stream. Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`."""
    return stream_info(stream, await connection.call("XINFO", "STREAM", stream))


async def describe_groups(connection: Connection, stream: str) -> list[GroupInfo]:
    """Return the groups of a stream. Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`."""
    return group_infos(await connection.call("XINFO", "GROUPS", stream))


async def describe_consumers(connection: Connection, stream: str, group: str) -> list[ConsumerInfo]:
    """Return the consumers of a group. Raises `StreamNotFoundError` (`GroupNotFoundError`), `RedisUnavailableError`."""
    return consumer_infos(await connection.call("XINFO", "CONSUMERS", stream, group))


@reads
def stream_info(name: str, reply: Reply) -> StreamInfo:
    """`XINFO STREAM`."""
    known = mapping(reply)
    return StreamInfo(
        name=name,
        length=how_many(known["length"]),
        groups=how_many(known["groups"]),
        first_id=_entry_id(known["first-entry"]),
        last_id=_entry_id(known["last-entry"]),
        last_generated_id=checked_id(known["last-generated-id"]).decode(),
        entries_added=how_many(known["entries-added"]),
    )


def _entry_id(entry: Reply) -> str | None:
    items = array(entry)
    return checked_id(items[0]).decode() if items else None


@reads
def group_infos(reply: Reply) -> list[GroupInfo]:
    """`XINFO GROUPS`."""
    return [
        GroupInfo(
            name=text(known["name"]),
            consumers=how_many(known["consumers"]),
            pending=how_many(known["pending"]),
            last_delivered_id=checked_id(known["last-delivered-id"]).decode(),
            entries_read=_count_if_known(known.get("entries-read")),
            lag=_count_if_known(known.get("lag")),
        )
        for known in map(mapping, array(reply))
    ]


@reads
def consumer_infos(reply: Reply) -> list[ConsumerInfo]:
    """`XINFO CONSUMERS`."""
    return [
        ConsumerInfo(
            name=text(known["name"]),
            pending=how_many(known["pending"]),
            idle=age(known["idle"]),
            inactive=_inactive(known.get("inactive")),
        )
        for known in map(mapping, array(reply))
    ]


def _count_if_known(reply: Reply) -> int | None:
    """How many there are; `None` where Redis does not know, and where its number is below 0."""
    return None if reply is None or integer(reply) < 0 else integer(reply)


def _inactive(reply: Reply) -> float | None:
    return None if reply is None or integer(reply) < 0 else integer(reply) / 1000
