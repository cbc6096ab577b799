"""Entries that a stream no longer knows of, told from those that were deleted or trimmed."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, StreamNotFoundError
from redis_streams_aio.connection.steps.gone import gone

IDS = [b"3-0", b"5-0", b"6-0", b"7-0", b"8-0", b"10-0"]


@pytest.fixture
async def stream(redis: Redis) -> str:
    for number in (3, 5, 7, 9):
        await redis.xadd("orders", {"a": "b"}, id=f"{number}-0")
    return "orders"


def leaves_traces(connection: Connection) -> bool:
    """Whether the server tells of everything that was deleted."""
    name, version = str(connection.server).split()
    return name != "redis" or tuple(map(int, version.split(".")[:2])) < (8, 2)


async def test_p30_entries_that_nothing_has_deleted_are_gone(connection: Connection, stream: str) -> None:
    assert await gone(connection, stream, IDS) == (3 if leaves_traces(connection) else 1)
    assert await gone(connection, stream, [b"10-0", b"11-0"]) == 2


async def test_p30_entries_that_may_have_been_deleted_are_not(
    connection: Connection, redis: Redis, stream: str
) -> None:
    await redis.xdel(stream, "7-0")
    assert await gone(connection, stream, IDS) == (2 if leaves_traces(connection) else 1), "8-0 and 10-0"
    await redis.xtrim(stream, minid="9-0", approximate=False)
    assert await gone(connection, stream, IDS) == 1
    await redis.xtrim(stream, maxlen=0, approximate=False)
    assert await gone(connection, stream, IDS) == 1


async def test_p30_a_stream_that_is_not_there_knows_nothing(connection: Connection) -> None:
    with pytest.raises(StreamNotFoundError):
        await gone(connection, "orders", IDS)
