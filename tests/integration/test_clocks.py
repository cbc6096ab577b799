"""Clocks that jump: nothing is put off or hurried by more, and no retry waits longer than its delay (P9, P11)."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, Delivery, RetryLater, RetryPolicy, Settings
from redis_streams_aio.connection.steps.records import FailureRecord, parse
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.events import keys
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.members import Member

FAILURES = "{orders}:g:failures"
HOURS = 7_200_000


async def joined(connection: Connection, sunk: list[Delivery], name: str = "me") -> Member:
    options = SubscriptionOptions(stream="orders", group="g"), ConsumerOptions(name=name, block=0.001)
    member = Member(Shared(connection, SILENT), *options, None, sunk.extend)
    await member.open()
    return member


async def failed_before(redis: Redis, record: str) -> str:
    """An entry that this consumer had in a life before, with what was written of it."""
    entry_id = await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"})
    await redis.hset(FAILURES, entry_id, record)
    return str(entry_id)


async def now_ms(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


@pytest.mark.parametrize(
    ("ahead", "delay", "least", "most"),
    [
        pytest.param(HOURS, 2_000, 1.5, 2.0, id="the clock was set back by hours"),
        pytest.param(1_000, 2_000, 1.5, 2.0, id="it was set back by less than the delay"),
        pytest.param(0, 2_000, 1.5, 2.0, id="it goes right"),
        pytest.param(-500, 2_000, 0.5, 1.5, id="it was set forward, by less than the delay"),
        pytest.param(-HOURS, 2_000, -1.0, 0.0, id="it was set forward by hours"),
        pytest.param(HOURS, 0, -1.0, 0.0, id="there was no delay"),
        pytest.param(10**13, 2_000, 1.5, 2.0, id="it was set back by centuries"),
    ],
)
async def test_p11_a_retry_waits_no_longer_than_its_delay_whatever_the_clock_said_when_it_was_written(
    connection: Connection, redis: Redis, ahead: int, delay: int, least: float, most: float
) -> None:
    at = await now_ms(redis) + ahead
    await failed_before(redis, f"2 {at} {at + delay} {delay} ValueError: no")
    sunk: list[Delivery] = []
    member = await joined(connection, sunk)
    await member.recover(1)
    loop = asyncio.get_running_loop()
    waits = sunk[0].until - loop.time() if sunk[0].until else 0.0
    assert least <= waits <= most
    assert sunk[0].failures == 2, "nothing is forgotten"
    assert 0 != sunk[0].failing_since <= loop.time(), "it has been failing for no less than no time"
    await member.close()


async def test_p11_a_wish_for_later_waits_no_longer_either(url: str, redis: Redis) -> None:
    got: list[float] = []
    loop = asyncio.get_running_loop()

    def make() -> Broker:
        broker = Broker(url, group="g", settings=Settings(grace=0, reclaim_interval=0.05))

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            got.append(loop.time())
            if len(got) == 1:
                raise RetryLater(1.0)

        return broker

    async with make() as broker:
        entry_id = await broker.publish("orders", Order(1))
        await until(lambda: redis.hexists(FAILURES, entry_id))
    known = parse((await redis.hget(FAILURES, entry_id)).encode())
    assert known is not None
    assert (known.failures, known.delay_ms) == (0, 1000)
    await redis.hset(FAILURES, entry_id, f"0 0 {known.due_ms + HOURS} {known.delay_ms} {known.error}")
    async with make():
        restarted = loop.time()
        await until(lambda: len(got) == 2, 10)
    assert got[1] - restarted < 1.5


async def test_p11_a_deadline_is_not_put_off_by_a_first_failure_in_the_future(url: str, redis: Redis) -> None:
    """The first failure was written by a clock that was hours ahead; `deadline` counts from now, not from then."""
    at = await now_ms(redis) + HOURS
    await failed_before(redis, f"1 {at} {at} 0 ValueError: no")
    broker = Broker(url, group="g", settings=Settings(consumer="me"))
    policy = RetryPolicy(base=0.05, cap=0.1, max_failures=10_000, deadline=0.5)

    @broker.handler("orders", retry=policy)
    async def handle(order: Order) -> None:
        raise ValueError("no")

    async with broker:
        await until(lambda: redis.xlen("{orders}:g:dead"), 10)
    [(_, letter)] = await redis.xrange("{orders}:g:dead")
    assert letter["dead:reason"] == "deadline"


async def test_p9_a_first_failure_is_never_written_in_the_future(url: str, redis: Redis) -> None:
    at = await now_ms(redis) + HOURS
    entry_id = await failed_before(redis, f"1 {at} {at} 0 ValueError: no")
    broker = Broker(url, group="g", settings=Settings(consumer="me"))

    @broker.handler("orders", retry=RetryPolicy(base=3600, cap=3600, max_failures=9))
    async def handle(order: Order) -> None:
        raise ValueError("still not")

    async def tried() -> FailureRecord | None:
        known = parse((await redis.hget(FAILURES, entry_id)).encode())
        return known if known is not None and known.failures == 2 else None

    async with broker:
        await until(tried)
        known = await tried()
    assert known is not None
    assert known.first_ms <= await now_ms(redis)


async def test_p27_what_is_given_back_is_free_at_once_though_the_clock_was_set_back(
    connection: Connection, redis: Redis
) -> None:
    """By a clock that was set back it was given back in the future, and idle for no time at all."""
    sunk: list[Delivery] = []
    entry_id = await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "gone", {"orders": ">"})
    await redis.xclaim("orders", "g", keys.RELEASED, 0, [entry_id], time=await now_ms(redis) + HOURS, justid=True)
    member = await joined(connection, sunk)
    assert await member.reclaim(10) == 1
    await member.close()
