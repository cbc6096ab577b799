"""Batches that come back (P7, P15): what one decision puts off is due at one time, and comes together and in order."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import BatchDelivery, Broker, RetryLater, RetryPolicy, Settings
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

ORDERS: dict[str, dict[str, Any]] = {
    "stream": {"order": "stream"},
    "key": {"concurrency": 2, "key": lambda order: order.number % 3},
    "none": {"concurrency": 2, "order": "none"},
}


async def publish(url: str, *numbers: int, **named: Any) -> None:
    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(number) for number in numbers], **named)


@pytest.mark.parametrize("how", ["raised", "each item", "dropped copies"])
@pytest.mark.parametrize("order", ORDERS)
async def test_p15_a_batch_that_asks_for_later_comes_back_as_it_was(url: str, order: str, how: str) -> None:
    """Also where others have come meanwhile: these go behind it."""
    calls: list[list[int]] = []
    broker = Broker(url, group="g")
    options = {**ORDERS[order], **({"deduplicate": 60} if how == "dropped copies" else {})}

    @broker.handler("orders", batch=10, within=0.05, **options)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append([order.number for order in orders])
        if len(calls) == 1:
            if how == "each item":
                for index in range(len(batch)):
                    batch.retry(index, 0.4)
                return
            raise RetryLater(0.4)

    await publish(url, *range(10))
    async with broker:
        await until(lambda: len(calls) == 1)
        await publish(url, *range(10, 15))
        await until(lambda: broker.status[0].settled == 15)
    first, *others = calls
    assert sorted(first) == list(range(10))
    assert first in others, f"it came back as {others}"
    assert len(calls) == 3, "it, it again, and those that came later"


@pytest.mark.parametrize("order", ORDERS)
async def test_p15_a_batch_that_asks_for_later_comes_back_together_in_the_next_process(
    url: str, redis: Redis, order: str
) -> None:
    """Given back by a drain, with when it is due: in the records all items are due at one moment."""
    calls: list[list[int]] = []
    stop = asyncio.Event()

    def make(first: bool) -> Broker:
        broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.1))

        @broker.handler("orders", batch=10, within=0.05, lease=3600, **ORDERS[order])
        async def load(orders: list[Order]) -> None:
            calls.append([order.number for order in orders])
            if first:
                raise RetryLater(0.6)

        return broker

    await publish(url, *range(10))
    async with make(first=True):
        await until(lambda: calls)
        await until(lambda: _records(redis, 10))
    records = await redis.hvals("{orders}:g:failures")
    assert len({record.split()[2] for record in records}) == 1, "all are due at the same time"
    async with make(first=False) as second:
        second._supervisor.subscriptions[0]._room.buffer_size.limit = 100  # as after a time of quick handlers
        await until(lambda: second.status[0].settled == 10)
    stop.set()
    assert sorted(number for numbers in calls[1:] for number in numbers) == list(range(10))
    assert len(calls) <= 3
    if len(calls) == 2:
        assert calls[1] == calls[0]


async def _records(redis: Redis, count: int) -> bool:
    return await redis.hlen("{orders}:g:failures") == count


@pytest.mark.parametrize("order", ORDERS)
async def test_p7_p15_items_of_a_batch_that_failed_are_alone_and_keep_their_order(url: str, order: str) -> None:
    calls: list[list[int]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=6, within=0.05, retry=RetryPolicy(base=0.05, jitter=False), **ORDERS[order])
    async def load(orders: list[Order]) -> None:
        calls.append([order.number for order in orders])
        if len(calls) == 1:
            raise ValueError("nobody knows which")

    await publish(url, *range(6))
    async with broker:
        await until(lambda: broker.status[0].settled == 6)
    assert all(len(numbers) == 1 for numbers in calls[1:])
    if order == "stream":
        assert calls[1:] == [[number] for number in range(6)]
    if order == "key":
        for lane in range(3):
            assert [n for [n] in calls[1:] if n % 3 == lane] == [lane, lane + 3]


@pytest.fixture
async def far(server: Server) -> AsyncIterator[Proxy]:
    async with proxy(server.port) as line:
        line.delay(0.02)
        yield line


async def test_p15_failures_of_a_batch_are_written_in_few_round_trips(far: Proxy, url: str, redis: Redis) -> None:
    calls: list[tuple[int, float]] = []
    broker = Broker(far.url, group="g", settings=Settings(count=500))

    @broker.handler("orders", batch=500, within=0.05)
    async def load(orders: list[Order]) -> None:
        calls.append((len(orders), time.monotonic()))
        if len(calls) == 1:
            raise RetryLater(0.1)

    await publish(url, *range(500))
    async with broker:
        await until(lambda: len(calls) == 2)
    (first, began), (second, came) = calls
    assert first == second == 500
    assert came - began < 2, "500 round trips of 40 ms are 20 s"


async def test_p4_losing_the_leases_of_a_big_batch_blocks_nobody(url: str, redis: Redis) -> None:
    """10,000 at once, in the handler and waiting for their time: neither is looked through once for each."""
    broker = Broker(url, group="g", settings=Settings(count=10_000, grace=0.1))
    began, cancelled = asyncio.Event(), asyncio.Event()

    @broker.handler("orders", batch=10_000, within=5, concurrency=2, order="none", lease=3600, on_lost="cancel")
    async def load(orders: list[Order]) -> None:
        if orders[0].number == 0:
            raise RetryLater(3600)
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with broker:
        await publish(url, *range(10_000))
        await until(lambda: broker.status[0].delayed == 10_000, 30)
        await publish(url, *range(10_000, 20_000))
        await until(began.is_set, 30)
        [subscription] = broker._supervisor.subscriptions
        held = list(subscription.holdings.by_id)
        assert len(held) == 20_000
        subscription.holdings.telemetry = type(subscription.holdings.telemetry)()
        before = time.process_time()
        for raw_id in held:
            entry = subscription.holdings.entry_of(raw_id)
            assert entry is not None
            subscription.holdings.lose(entry)
        assert time.process_time() - before < 10, "looked through once for each it would be minutes"
        await until(cancelled.is_set)
        assert broker.status[0].delayed == 0


async def test_p25_a_big_batch_is_asked_after_for_duplicates_in_many_short_scripts(url: str, redis: Redis) -> None:
    calls: list[int] = []
    broker = Broker(url, group="g", settings=Settings(count=1000))

    @broker.handler("orders", batch=1000, within=0.5, deduplicate=60, order="none")
    async def load(orders: list[Order]) -> None:
        calls.append(len(orders))
        raise RetryLater(60)

    async with Broker(url) as publisher:
        for number in range(1000):
            await publisher.publish("orders", Order(number), event_id=f"e{number}")
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", 10_000)
    await redis.slowlog_reset()
    async with broker:
        await until(lambda: broker.status[0].delayed == 1000)
    slow = [str(entry["command"]) for entry in await redis.slowlog_get(10_000)]
    await redis.config_set("slowlog-log-slower-than", 10_000)
    more = [int(found[1]) for command in slow if (found := re.search(r"\((\d+) more arguments", command))]
    assert calls == [1000]
    assert 400 < max(more) < 1400, "two arguments for each event that is asked after, five for each failure"
    assert len(await redis.keys("*:done:*")) == 1000
