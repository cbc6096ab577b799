"""Reading and storing a group's checkpoint."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamTypeError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.checkpoints import Checkpoint, checkpoint, checkpoint_read
from redis_streams_aio.events import entry_ids
from tests.integration.steps.conftest import WHO, Deliver

KEY = "{orders}:billing:checkpoint"


async def test_p18_it_is_right_before_the_lowest_pending_entry(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    first, second = await deliver(2)
    before = entry_ids.previous(first.decode())
    assert await checkpoint(connection, WHO.stream, WHO.group) == Checkpoint(before, is_new=False)
    assert not await redis.exists(KEY)
    await redis.xack(WHO.stream, WHO.group, first, second)
    assert (await checkpoint(connection, WHO.stream, WHO.group)).id == second.decode()


async def test_it_is_stored_where_another_one_stands(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    before = entry_ids.previous(held.decode())
    for is_new in (True, False):
        assert await checkpoint(connection, WHO.stream, WHO.group, store=True) == Checkpoint(before, is_new=is_new)
        assert await redis.get(KEY) == before
    await redis.delete(KEY)
    await redis.lpush(KEY, "no text")
    assert await checkpoint(connection, WHO.stream, WHO.group, store=True) == Checkpoint(before, is_new=True)


async def test_an_entry_that_was_deleted_is_pending_still(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert (await checkpoint(connection, WHO.stream, WHO.group)).id == entry_ids.previous(gone.decode())


async def test_where_there_is_no_group_or_another_key(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    await deliver(1)
    await redis.set("text", "no stream")
    with pytest.raises(GroupNotFoundError):
        await checkpoint(connection, WHO.stream, "gone")
    with pytest.raises(GroupNotFoundError):
        await checkpoint(connection, "nowhere", WHO.group)
    with pytest.raises(StreamTypeError):
        await checkpoint(connection, "text", WHO.group)


@pytest.mark.parametrize("reply", [None, b"OK", [], [b"1-0"], [b"no id", 1], [5, 1], [b"1-0", b"x"], [b"1-0", 1, 1]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        checkpoint_read(reply)
