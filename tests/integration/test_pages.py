"""The events of one read, handled as rows of a page, where something about one of them is out of the ordinary."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Reject, RetryLater, RetryPolicy, Settings
from redis_streams_aio.telemetry import LeaseLost
from redis_streams_aio.testing.waiting import until
from tests.events import Order

QUICK = RetryPolicy(base=0.01, jitter=False, max_failures=3)
ALL = list(range(50))


async def publish(url: str, numbers: list[int], key: Any = None) -> list[str]:
    async with Broker(url) as publisher:
        if key is None:
            return await publisher.publish_many("orders", [Order(number) for number in numbers])
        return [await publisher.publish("orders", Order(number), key=key(number)) for number in numbers]


async def pending(redis: Redis) -> int:
    return int((await redis.xpending("orders", "g"))["pending"])


async def settled(broker: Broker, redis: Redis, count: int) -> None:
    await until(lambda: broker.status[0].settled == count)
    assert await pending(redis) == 0


async def test_p7_p13_a_row_that_fails_holds_the_rest_of_its_page(url: str, redis: Redis) -> None:
    await publish(url, ALL)
    broker, seen = Broker(url, group="g"), []

    @broker.handler("orders", retry=QUICK)
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 20 and seen.count(20) < 3:
            raise ValueError("not yet")

    async with broker:
        await settled(broker, redis, 50)
    assert seen == [*ALL[:20], 20, 20, *ALL[20:]]


async def test_p7_a_row_that_fails_waits_aside_where_there_is_no_order(url: str, redis: Redis) -> None:
    await publish(url, ALL)
    broker, seen = Broker(url, group="g"), []

    @broker.handler("orders", concurrency=4, order="none", retry=RetryPolicy(base=0.3, jitter=False))
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 20 and seen.count(20) < 2:
            raise ValueError("not yet")

    async with broker:
        await settled(broker, redis, 50)
    assert seen == [*ALL, 20]


async def test_p7_a_row_that_fails_holds_its_key_and_no_other(url: str, redis: Redis) -> None:
    await publish(url, ALL, key=lambda number: f"k{number % 5}")
    broker, seen = Broker(url, group="g"), []

    @broker.handler("orders", concurrency=4, order="key", retry=RetryPolicy(base=0.2, jitter=False))
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 20 and seen.count(20) < 2:
            raise ValueError("not yet")

    async with broker:
        await settled(broker, redis, 50)
    own = [number for number in seen if number % 5 == 0]
    assert own == [0, 5, 10, 15, 20, 20, 25, 30, 35, 40, 45]
    assert seen[-6:] == own[-6:], "the other keys went on"


async def test_p12_p13_what_cannot_be_decoded_in_a_page_is_a_dead_letter(url: str, redis: Redis) -> None:
    for number in ALL:
        body = "{" if number == 20 else f'{{"number": {number}}}'
        await redis.xadd("orders", {"event_type": "Order", "payload": body})
    broker, seen = Broker(url, group="g"), []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 30:
            raise Reject("no")

    async with broker:
        await settled(broker, redis, 50)
    assert seen == [number for number in ALL if number != 20]
    assert await redis.xlen("{orders}:g:dead") == 2


async def test_p7_entries_of_another_type_come_after_the_page_before_them(url: str, redis: Redis) -> None:
    seen: list[int] = []
    broker = Broker(url, group="g", settings=Settings(count=10))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        seen.append(order.number)
        await asyncio.sleep(0.001)

    for number in ALL:
        fields = {"event_type": "Order", "payload": f'{{"number": {number}}}'}
        await redis.xadd("orders", {**fields, "h:odd": "1"} if number % 7 == 0 else fields)
    async with broker:
        await settled(broker, redis, 50)
    assert seen == ALL


async def test_p29_a_variable_that_a_row_leaves_is_seen_by_no_other_and_no_row_is_lost(url: str, redis: Redis) -> None:
    await publish(url, ALL)
    tenant: ContextVar[int | None] = ContextVar("tenant", default=None)
    broker, seen = Broker(url, group="g"), []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        seen.append((order.number, tenant.get()))
        tenant.set(order.number)

    async with broker:
        await settled(broker, redis, 50)
    assert seen == [(number, None) for number in ALL]


async def test_p27_what_a_drain_finds_in_the_middle_of_a_page_is_released(url: str, redis: Redis) -> None:
    await publish(url, ALL)
    broker, seen, may_end = Broker(url, group="g"), [], asyncio.Event()

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 20:
            await may_end.wait()

    async with broker:
        await until(lambda: 20 in seen)
        stopping = asyncio.create_task(broker.__aexit__(None, None, None))
        await until(lambda: released(redis, 29))
        may_end.set()
        await stopping
        assert (seen, await pending(redis)) == (ALL[:21], 29)


async def released(redis: Redis, least: int) -> bool:
    found = await redis.xpending_range("orders", "g", "-", "+", 100, "redis_streams_aio:released")
    return len(found) >= least


@pytest.mark.parametrize("on_lost", ["cancel", "continue"])
async def test_p4_leases_of_rows_are_lost_begun_or_not(url: str, redis: Redis, on_lost: Any) -> None:
    ids = await publish(url, ALL)
    lost: list[str] = []
    broker = Broker(
        url, group="g", observers=[lambda fact: lost.append(fact.id) if isinstance(fact, LeaseLost) else None]
    )
    seen, cancelled, may_end = [], [], asyncio.Event()

    @broker.handler("orders", lease=0.3, on_lost=on_lost)
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number == 20:
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                cancelled.append(order.number)
                raise

    async with broker:
        await until(lambda: 20 in seen)
        await redis.xclaim("orders", "g", "thief", 0, [ids[20], ids[30]], justid=True)
        await until(lambda: set(lost) == {ids[20], ids[30]})  # text has another order than ids
        may_end.set()
        await until(lambda: 49 in seen)
        stolen = await redis.xpending_range("orders", "g", "-", "+", 10, "thief")
        assert [each["message_id"] for each in stolen] == [*([ids[20]] if on_lost == "cancel" else []), ids[30]]
    assert seen == [number for number in ALL if number != 30]
    assert cancelled == ([20] if on_lost == "cancel" else [])


async def test_p15_rows_of_a_batch_have_their_own_fates(url: str, redis: Redis) -> None:
    await publish(url, ALL)
    broker, sizes, again = Broker(url, group="g"), [], []

    @broker.handler("orders", batch=25, within=0.05, order="none", retry=QUICK)
    async def load(orders: list[Order]) -> None:
        sizes.append(len(orders))
        if len(sizes) == 1:
            raise RetryLater(0.05)
        again.extend(order.number for order in orders)

    async with broker:
        await settled(broker, redis, 50)
    assert sizes == [25, 25, 25]
    assert sorted(again) == ALL
