"""Renewing, and letting others know the lease."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamTypeError
from redis_streams_aio.connection.link import Link
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.leases import Renewed, known_leases, note_lease, renewal, renewed
from redis_streams_aio.connection.steps.sending import send
from redis_streams_aio.exceptions import RedisStreamsError
from tests.integration.steps.conftest import WHO, Deliver, pending

BOB = WHO._replace(name="bob")


@pytest.fixture
async def link(connection: Connection) -> AsyncIterator[Link]:
    opened = connection.new_links(5).of("control", connection.node_of())
    yield opened
    await opened.close()


async def renewing(link: Link, *ids: bytes) -> Renewed | RedisStreamsError:
    [result] = await send(link, [renewal(WHO, 30_000, ids)])
    return result


async def test_p3_a_renewal_makes_young_and_counts_no_delivery(link: Link, redis: Redis, deliver: Deliver) -> None:
    first, second = await deliver(2)
    await redis.xclaim(WHO.stream, WHO.group, WHO.name, 0, [first], idle=60_000, justid=True)
    assert await renewing(link, first, second) == Renewed([first, second], [])
    for one in await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 10):
        assert (one["time_since_delivered"] < 10_000, one["times_delivered"]) == (True, 1)


async def test_p4_a_renewal_takes_nothing_back(link: Link, redis: Redis, deliver: Deliver) -> None:
    kept, lost, settled = await deliver(3)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.xack(WHO.stream, WHO.group, settled)
    assert await renewing(link, kept, lost, settled) == Renewed([kept], [])
    assert await pending(redis) == {kept: "ann", lost: "bob"}


async def test_p20_a_renewal_tells_of_deleted_entries(link: Link, redis: Redis, deliver: Deliver) -> None:
    kept, gone = await deliver(2)
    await redis.xdel(WHO.stream, gone)
    assert await renewing(link, kept, gone) == Renewed([kept], [gone])


async def test_renewals_of_many_consumers_fail_alone(link: Link, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set("text", "no stream")
    missing, odd = WHO._replace(group="gone"), WHO._replace(stream="text")
    no_stream = WHO._replace(stream="nowhere")
    found = await send(link, [renewal(who, 30_000, [held]) for who in (missing, WHO, odd, no_stream)])
    assert list(map(type, found)) == [GroupNotFoundError, Renewed, StreamTypeError, GroupNotFoundError]


async def test_a_server_that_forgot_the_script_is_taught_it(link: Link, redis: Redis, deliver: Deliver) -> None:
    first, second = await deliver(2)
    for _ in range(2):
        await redis.script_flush()
        found = await send(link, [renewal(WHO, 30_000, [first]), renewal(WHO, 30_000, [second])])
        assert found == [Renewed([first], []), Renewed([second], [])]
    assert await send(link, []) == []


async def test_a_lease_is_known_to_the_group(
    connection: Connection, link: Link, redis: Redis, deliver: Deliver
) -> None:
    assert await known_leases(connection, WHO) == {}
    await note_lease(connection, WHO, 1500)
    await note_lease(connection, BOB, 30_000)
    assert await known_leases(connection, WHO) == {"ann": 1.5, "bob": 30.0}
    told = await redis.get("{orders}:billing:released")
    await note_lease(connection, WHO, 1500)
    assert await redis.get("{orders}:billing:released") == told == "2", "nobody is told what was known"
    await deliver(1)
    await renewing(link)
    assert await known_leases(connection, WHO) == {"ann": 30.0, "bob": 30.0}, "a renewal notes it, too"
    assert await redis.get("{orders}:billing:released") == "3"


async def test_what_is_no_hash_of_leases_is_left_alone(
    connection: Connection, link: Link, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.set("{orders}:billing:leases", "mine")
    await note_lease(connection, WHO, 1500)
    assert await renewing(link, held) == Renewed([held], [])
    assert await redis.get("{orders}:billing:leases") == "mine"
    with pytest.raises(StreamTypeError):
        await known_leases(connection, WHO)


@pytest.mark.parametrize(
    "reply", [None, b"OK", [], [[b"1-0"]], [[b"1-0"], [], []], [[b"no id"], []], [[], [5]], [b"1-0", []], [[None], []]]
)
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        renewed(reply)


def test_the_reply_of_a_renewal() -> None:
    assert renewed([[b"1-0"], [b"2-0", b"3-0"]]) == Renewed([b"1-0"], [b"2-0", b"3-0"])
    assert renewed([None, None]) == renewed([[], []]) == Renewed([], [])
