"""Acknowledgements: they leave with a read, or on their own, and none is given up before Redis has it (P1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, Delivery
from redis_streams_aio.connection.link import Link
from redis_streams_aio.connection.packing import Command
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.exceptions import PermissionDeniedError, RedisUnavailableError
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.members import Member

BLOCK = 0.05


@pytest.fixture
def sunk() -> list[Delivery]:
    return []


@pytest.fixture
async def member(connection: Connection, sunk: list[Delivery]) -> AsyncIterator[Member]:
    member = Member(
        Shared(connection, SILENT),
        SubscriptionOptions(stream="orders", group="g"),
        ConsumerOptions(block=BLOCK),
        None,
        sunk.extend,
    )
    await member.open()
    yield member
    await member.close()


async def add(redis: Redis, *numbers: int) -> None:
    for number in numbers:
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number": {number}}}'})


async def pending(redis: Redis) -> int:
    return int((await redis.xpending("orders", "g"))["pending"])


async def test_p1_what_is_handled_leaves_with_the_next_read(
    member: Member, sunk: list[Delivery], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Command] = []

    async def call_many(self: Link, commands: Sequence[Command]) -> Any:
        sent.extend(commands)

    monkeypatch.setattr(Link, "call_many", call_many)
    await add(redis, 1, 2, 3)
    await member.fetch(2)
    acks = member.settlement.acks
    for delivery in sunk:
        member.settlement.ack(delivery)
    assert (len(acks), len(member.holdings), await pending(redis)) == (2, 2, 2), "held until Redis has answered"
    await member.fetch(2)
    assert (len(acks), len(member.holdings), await pending(redis)) == (0, 1, 1)
    assert sent == [], "without a round trip of their own"


async def test_p1_an_acknowledgement_is_written_before_the_read_that_took_it_along_comes_back(
    member: Member, sunk: list[Delivery], redis: Redis
) -> None:
    await add(redis, 1)
    await member.fetch(1)
    member.settlement.ack(sunk[0])
    member.consumer = ConsumerOptions(block=30)
    reading = asyncio.create_task(member.fetch(1))
    await until(lambda: not member.settlement.acks)
    assert not reading.done()
    assert not member.holdings.by_id
    await add(redis, 2)
    assert await reading == 1


async def test_p1_a_refused_acknowledgement_is_kept_and_the_read_goes_on(
    member: Member, sunk: list[Delivery], redis: Redis
) -> None:
    await add(redis, 1, 2)
    await member.fetch(1)
    member.settlement.ack(sunk[0])
    await redis.execute_command("ACL", "SETUSER", "default", "-xack")
    try:
        assert await member.fetch(1) == 1
        assert len(member.settlement.acks) == 1
        with pytest.raises(PermissionDeniedError):
            await member.settlement.acks.flush()
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+xack")
    await member.settlement.acks.flush()
    assert (len(member.settlement.acks), await pending(redis)) == (0, 1)


async def test_p1_acknowledgements_of_a_read_that_is_lost_are_sent_again(
    server: Server, redis: Redis, sunk: list[Delivery]
) -> None:
    async with proxy(server.port) as network, Connection(network.url) as connection:
        member = Member(
            Shared(connection, SILENT),
            SubscriptionOptions(stream="orders", group="g"),
            ConsumerOptions(block=BLOCK),
            None,
            sunk.extend,
        )
        await member.open()
        await add(redis, 1, 2)
        await member.fetch(1)
        member.settlement.ack(sunk[0])
        network.cut_reply_after(1)
        with pytest.raises(RedisUnavailableError):
            await member.fetch(1)
        assert len(member.settlement.acks) == 1
        await member.settlement.acks.flush()
        assert len(member.settlement.acks) == 0
        await member.close()


async def test_p1_acknowledgements_do_not_wait_for_a_read_that_cannot_connect(
    member: Member, sunk: list[Delivery], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New connections get no answer, say, and those that are there work."""
    reader = member.source._reader
    assert reader is not None
    await add(redis, 1)
    await member.fetch(1)
    await reader.close()
    dialling = asyncio.Event()

    async def dial() -> Any:
        dialling.set()
        await asyncio.Event().wait()

    await member.holdings.connection.call("PING", purpose="settle")
    with monkeypatch.context() as patched:
        patched.setattr(reader._node, "dial", dial)
        reader.interrupted = False
        member.settlement.ack(sunk[0])
        reading = asyncio.create_task(member.fetch(1))
        await dialling.wait()
        await asyncio.wait_for(member.settlement.acks.flush(), 5)
        assert await pending(redis) == 0
        reading.cancel()
        await asyncio.wait((reading,))


async def test_p1_while_a_group_is_under_way_the_next_gathers(
    member: Member, sunk: list[Delivery], redis: Redis
) -> None:
    await add(redis, 1, 2)
    await member.fetch(2)
    acks = member.settlement.acks
    member.settlement.ack(sunk[0])
    group = acks.depart()
    assert group is not None
    member.settlement.ack(sunk[1])
    assert acks.depart() is None
    flushing = asyncio.create_task(acks.flush())
    await asyncio.sleep(0)
    assert len(acks) == 2, "the flush waits for the group, and then sends all that is left"
    group.stay()
    await flushing
    group.stay()
    group.arrive([1])
    assert (len(acks), await pending(redis), len(member.holdings)) == (0, 0, 0)


async def test_acknowledgements_leave_on_their_own_where_no_read_comes(url: str, redis: Redis) -> None:
    """The last one of a burst: the read is under way already."""
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    async with broker:
        await broker.publish_many("orders", [Order(1), Order(2), Order(3)])
        await until(lambda: broker.status[0].settled == 3)
        assert await pending(redis) == 0
