"""Replaying dead letters."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamNotFoundError, StreamTypeError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.replaying import Letter, Replayed, replay, replayed
from redis_streams_aio.events import entry_ids, keys, replays
from redis_streams_aio.models import History
from tests.integration.steps.conftest import WHO, Deliver, pending

FAILURES, DEAD, CHECKPOINT, RELEASED = (
    f"{{orders}}:billing:{name}" for name in ("failures", "dead", "checkpoint", "released")
)
HISTORY = History("1-0", 5, 1.5, "failures", "ValueError: no", 1)


async def given_up(redis: Redis, entry_id: bytes) -> Letter:
    """A dead letter of an entry that is acknowledged."""
    await redis.xack(WHO.stream, WHO.group, entry_id)
    letter_id = await redis.xadd(DEAD, {"number": "0"})
    return Letter(DEAD, letter_id, entry_id.decode(), (b"number", b"0"), HISTORY)


async def replaying(connection: Connection, letter: Letter) -> Replayed:
    return await replay(connection, WHO.stream, WHO.group, letter)


async def test_p12_an_entry_that_is_in_its_stream_is_pending_again(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    first, second = await deliver(2)
    letter = await given_up(redis, first)
    await redis.hset(FAILURES, first.decode(), "5 1 1 1 x")
    await redis.set(CHECKPOINT, second)
    assert await replaying(connection, letter) is Replayed.IN_PLACE
    assert await pending(redis) == {first: keys.RELEASED, second: "ann"}
    assert (await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 1))[0]["times_delivered"] == 0
    assert await redis.hgetall(FAILURES) == {f"{first.decode()}:history": replays.encode(HISTORY).decode()}
    assert await redis.get(CHECKPOINT) == entry_ids.previous(first.decode()), "P18"
    assert (await redis.get(RELEASED), await redis.xlen(DEAD)) == ("1", 0)
    assert await replaying(connection, letter) is Replayed.GONE


async def test_p18_a_checkpoint_beyond_the_entry_goes_back_and_an_older_one_stays(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    await deliver(0)
    await redis.xadd(WHO.stream, {"a": "b"}, id="5-3")
    await redis.xreadgroup(WHO.group, WHO.name, {WHO.stream: ">"})
    for stored, then in (("5-3", "5-2"), ("17-0", "5-2"), ("5-2", "5-2"), ("4-9", "4-9"), ("mine", "mine")):
        letter = await given_up(redis, b"5-3")
        await redis.set(CHECKPOINT, stored)
        assert await replaying(connection, letter) is Replayed.IN_PLACE
        assert await redis.get(CHECKPOINT) == then


async def test_an_entry_that_is_gone_is_added_as_a_copy(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    letter = await given_up(redis, gone)
    await redis.xdel(WHO.stream, gone)
    assert await replaying(connection, letter) is Replayed.COPIED
    [(_, fields)] = await connection.call("XRANGE", WHO.stream, "-", "+")  # type: ignore[misc, union-attr]
    copy = replays.unwrap(fields)
    assert copy is not None
    assert (copy.group, copy.fields, copy.history) == ("billing", [b"number", b"0"], HISTORY)
    assert (await redis.xlen(DEAD), await pending(redis)) == (0, {})


async def test_an_entry_that_is_pending_or_still_to_be_delivered_stays_as_it_is(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    letter = await given_up(redis, held)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [held], force=True)
    assert await replaying(connection, letter) is Replayed.IN_PLACE
    assert await pending(redis) == {held: "bob"}
    new = await redis.xadd(WHO.stream, {"a": "b"})
    assert await replaying(connection, await given_up(redis, new.encode())) is Replayed.IN_PLACE
    assert await pending(redis) == {held: "bob"}
    assert (await redis.xlen(DEAD), await redis.exists(RELEASED)) == (0, 0)


async def test_where_there_is_no_group_or_another_key(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    letter = await given_up(redis, held)
    await redis.set("text", "no stream")
    with pytest.raises(GroupNotFoundError):
        await replay(connection, WHO.stream, "gone", letter)
    with pytest.raises(StreamNotFoundError):
        await replay(connection, "nowhere", WHO.group, letter)
    with pytest.raises(StreamTypeError):
        await replay(connection, "text", WHO.group, letter)
    assert await redis.xlen(DEAD) == 1


@pytest.mark.parametrize("reply", [None, b"", b"OK", 1, [], [b"gone"]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        replayed(reply)
