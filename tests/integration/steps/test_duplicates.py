"""Beginning events that may have copies."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, ServerError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.duplicates import Begun, begin_events, begun
from tests.integration.steps.conftest import WHO, Deliver

MARK = "{orders}:billing:done:e1"


async def begin(connection: Connection, *entries: bytes) -> list[Begun]:
    return await begin_events(connection, WHO, [(b"e1", entry_id) for entry_id in entries], 60_000)


async def test_the_first_of_two_copies_is_begun(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    first, second = await deliver(2)
    assert await begin(connection, first, second) == [Begun.OURS, Begun.COPY_IS_PENDING]
    assert await redis.get(MARK) == first.decode()
    assert 0 < await redis.pttl(MARK) <= 60_000
    assert await begin(connection, first, second) == [Begun.OURS, Begun.COPY_IS_PENDING], "an attempt after a crash"


async def test_a_copy_takes_the_place_of_one_that_is_gone(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    first, second = await deliver(2)
    await begin(connection, first)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [first])
    assert await begin(connection, second) == [Begun.COPY_IS_PENDING], "with whomever it is"
    await redis.xdel(WHO.stream, first)
    assert await begin(connection, second) == [Begun.COPY_IS_PENDING], "deleted, and pending still"
    await redis.xack(WHO.stream, WHO.group, first)
    assert await begin(connection, second) == [Begun.OURS]


async def test_a_copy_of_an_event_that_was_handled(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(MARK, "done")
    assert await begin(connection, held) == [Begun.DONE]
    assert await redis.get(MARK) == "done"


async def test_events_have_keys_of_their_own(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    first, second = await deliver(2)
    found = await begin_events(connection, WHO, [(b"e1", first), (b"\xff}", second)], 60_000)
    assert found == [Begun.OURS, Begun.OURS]


async def test_where_there_is_no_group_or_another_key(connection: Connection, redis: Redis) -> None:
    """The key alone decides: an entry that cannot be pending is in nobody's way."""
    await redis.set("text", "no stream")
    await redis.lpush(MARK, "no text")
    assert await begin(connection, b"1-0") == [Begun.OURS], "what others wrote there is written over"
    for who in (WHO._replace(group="gone"), WHO._replace(stream="nowhere"), WHO._replace(stream="text")):
        for entry_id in (b"1-0", b"2-0"):
            assert await begin_events(connection, who, [(b"e1", entry_id)], 60_000) == [Begun.OURS]


@pytest.mark.parametrize("reply", [None, b"done", [], [5], [None], [b"1-0", b"2-0"], [[]]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        begun([b"1-0"], reply)


def test_the_reply() -> None:
    assert begun([b"1-0", b"2-0", b"3-0"], [b"1-0", b"1-0", b"done"]) == [
        Begun.OURS,
        Begun.COPY_IS_PENDING,
        Begun.DONE,
    ]
