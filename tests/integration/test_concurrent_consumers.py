"""Story.

A fast and a slow group both get everything, each at its own pace; nobody takes more than it can do (P6, P16 of the
acceptance list).
"""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from redis_streams_aio import Broker, Settings
from redis_streams_aio.telemetry import Fact, Fetched
from redis_streams_aio.testing.waiting import until
from tests.events import Order


async def test_a_fast_and_a_slow_group_both_get_all_each_at_its_own_pace(url: str) -> None:
    fast: list[int] = []
    slow: list[int] = []
    broker = Broker(url, group="fast")

    @broker.handler("orders")
    async def handle_fast(order: Order) -> None:
        fast.append(order.number)

    @broker.handler("orders", group="slow")
    async def handle_slow(order: Order) -> None:
        await asyncio.sleep(0.005)
        slow.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(300)])
        await until(lambda: len(fast) == 300)
        behind = 300 - len(slow)
        assert behind > 100, "the fast group waited for the slow one"
        reports = {report.group: report for report in await broker.measure_lag()}
        assert reports["fast"].lag == 0
        assert 0 < reports["slow"].behind <= 300
        await until(lambda: len(slow) == 300)
    assert fast == slow == list(range(300))


async def test_p6_a_slow_worker_leaves_entries_to_an_idle_one(url: str, redis: Redis) -> None:
    """Started alone with a long queue, a slow consumer holds only a little; a second one gets its share at once."""
    release = asyncio.Event()
    slow_got: list[int] = []
    quick_got: list[int] = []
    slow, quick = Broker(url, group="g"), Broker(url, group="g")

    @slow.handler("orders")
    async def handle_slow(order: Order) -> None:
        slow_got.append(order.number)
        await release.wait()

    @quick.handler("orders")
    async def handle_quick(order: Order) -> None:
        quick_got.append(order.number)

    async with slow:
        await slow.publish_many("orders", [Order(number) for number in range(500)])
        await until(lambda: slow_got)
        async with quick:
            await until(
                lambda: len(quick_got) >= 499, what="the idle consumer gets all but the one in the slow handler"
            )
        release.set()
    assert slow_got == [0]


async def test_p6_held_never_exceeds_the_cap(url: str, redis: Redis) -> None:
    held: list[int] = []
    facts: list[Fact] = []
    broker = Broker(url, group="g", settings=Settings(count=10), observers=[facts.append])

    @broker.handler("orders", concurrency=5)
    async def handle(order: Order) -> None:
        status = broker.status[0]
        held.append(status.running + status.buffered + status.delayed)
        await asyncio.sleep(0.0005)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(1000)])
        await until(lambda: len(held) >= 1000)
    assert max(held) <= 5 + 2 * 10
    assert max(fact.count for fact in facts if isinstance(fact, Fetched)) <= 10


async def test_happy_path_takes_one_read_and_one_ack_for_a_hundred_events(url: str, redis: Redis) -> None:
    """Issue 3: N events one by one take at most N/100 XREADGROUP + N/100 XACK, plus a constant."""
    count = 10_000
    handled = 0
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        nonlocal handled
        handled += 1

    async with Broker(url) as publisher:
        for start in range(0, count, 1000):
            await publisher.publish_many("orders", [Order(number) for number in range(start, start + 1000)])
    await redis.config_resetstat()
    async with broker:
        await until(lambda: handled == count)
    stats = await redis.info("commandstats")
    assert stats["cmdstat_xreadgroup"]["calls"] <= count / 100 + 15
    assert stats["cmdstat_xack"]["calls"] <= count / 100 + 15
    print({name: of["calls"] for name, of in stats.items()})


async def test_from_one_to_twenty_to_one_consumer_under_load_nothing_is_lost_or_done_twice(url: str) -> None:
    handled: list[int] = []

    def member() -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders", concurrency=4)
        async def handle(order: Order) -> None:
            await asyncio.sleep(0.001)
            handled.append(order.number)

        return broker

    async with member() as first:
        publishing = asyncio.create_task(_publish_slowly(first, 4000))
        others = [member() for _ in range(19)]
        for other in others:
            await other.__aenter__()
        await until(lambda: len(handled) > 1000)
        for other in others:
            await other.__aexit__(None, None, None)
        await publishing
        await until(lambda: len(handled) >= 4000, 30)
    assert sorted(handled) == list(range(4000))


async def _publish_slowly(broker: Broker, count: int) -> None:
    for start in range(0, count, 100):
        await broker.publish_many("orders", [Order(number) for number in range(start, start + 100)])
        await asyncio.sleep(0)
