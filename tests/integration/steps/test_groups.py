"""Groups, and names of consumers."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Connection,
    GroupExistsError,
    GroupNotFoundError,
    ServerError,
    StreamNotFoundError,
    StreamTypeError,
)
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.groups import create_group, created, delete_consumer, delete_group, deleted
from tests.integration.steps.conftest import WHO, Deliver, pending

BESIDE = [f"{{orders}}:billing:{name}" for name in ("checkpoint", "failures", "released", "leases")]


async def create(connection: Connection, position: str = "0", start: str = "0", stream: str = WHO.stream) -> str:
    return await create_group(connection, stream, WHO.group, position, start)


async def test_a_group_is_created_where_it_is_said(connection: Connection, redis: Redis) -> None:
    assert await create(connection, "5-0") == "5-0"
    [group] = await redis.xinfo_groups(WHO.stream)
    assert (group["name"], group["last-delivered-id"]) == ("billing", "5-0")
    with pytest.raises(GroupExistsError):
        await create(connection)


async def test_a_group_at_the_end_says_where_that_is_and_knows_its_lag(connection: Connection, redis: Redis) -> None:
    last = [await redis.xadd(WHO.stream, {"a": "b"}) for _ in range(3)][-1]
    assert await create(connection, "$") == last
    await redis.xadd(WHO.stream, {"a": "b"})
    [group] = await redis.xinfo_groups(WHO.stream)
    assert group["lag"] == 1


async def test_a_deleted_group_is_created_at_its_start(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    await deliver(2)
    for key in BESIDE:
        await redis.set(key, "x")
    assert await delete_group(connection, WHO.stream, WHO.group, 60_000) is True
    assert await redis.exists(*BESIDE) == 0
    assert 0 < await redis.pttl("{orders}:billing:deleted") <= 60_000
    assert await create(connection, "7-0", start="3-0") == "3-0"
    assert await redis.exists("{orders}:billing:deleted") == 0, "said once"
    assert await delete_group(connection, WHO.stream, "gone", 60_000) is False


async def test_where_there_is_no_stream_or_another_key(connection: Connection, redis: Redis) -> None:
    assert await delete_group(connection, "nowhere", WHO.group, 60_000) is False
    assert await redis.exists("{nowhere}:billing:deleted") == 0
    with pytest.raises(StreamNotFoundError):
        await delete_consumer(connection, WHO._replace(stream="nowhere"), 0)
    await redis.set("text", "no stream")
    with pytest.raises(StreamTypeError):
        await create(connection, stream="text")
    with pytest.raises(StreamTypeError):
        await delete_group(connection, "text", WHO.group, 60_000)
    with pytest.raises(StreamTypeError):
        await delete_consumer(connection, WHO._replace(stream="text"), 0)


async def test_p22_a_consumer_with_pending_entries_stays(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.hset("{orders}:billing:leases", "ann", "1500")
    assert await delete_consumer(connection, WHO, 0) is False
    assert await pending(redis) == {held: "ann"}
    await redis.xack(WHO.stream, WHO.group, held)
    assert await delete_consumer(connection, WHO, 60_000) is False, "it was there a moment ago"
    assert await redis.hexists("{orders}:billing:leases", "ann")
    assert await delete_consumer(connection, WHO, 0) is True
    assert not await redis.exists("{orders}:billing:leases"), "its lease goes with it"
    assert await delete_consumer(connection, WHO, 0) is False, "it is gone"


async def test_a_consumer_whose_only_entry_was_deleted_stays(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.xdel(WHO.stream, held)
    assert await delete_consumer(connection, WHO, 0) is False, "it is pending still"
    with pytest.raises(GroupNotFoundError):
        await delete_consumer(connection, WHO._replace(group="gone"), 0)


@pytest.mark.parametrize("reply", [None, b"", b"OK", 2, -1, [], [1]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        deleted(reply)
    if not isinstance(reply, bytes):
        with pytest.raises(ServerError, match="cannot be read as created"):
            created(reply)
