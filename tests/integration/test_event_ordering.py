"""Story: events come in order, also over failures and restarts, and resuming misses nothing (P7, P9, P18)."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

from redis.asyncio import Redis

from redis_streams_aio import Broker, Delivery, RetryPolicy, Settings
from redis_streams_aio.testing.waiting import until
from tests.events import Order

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=10)


async def test_a_b_c_arrive_in_order(url: str) -> None:
    got: list[str] = []
    broker = Broker(url, group="g")

    @broker.handler("letters")
    async def handle(letter: dict) -> None:  # type: ignore[type-arg]
        got.append(letter["letter"])

    async with broker:
        for letter in "ABC":
            await broker.publish("letters", {"letter": letter}, event_type="Letter")
        await until(lambda: len(got) == 3)
    assert got == ["A", "B", "C"]


async def test_p7_in_stream_order_a_failing_event_holds_the_ones_behind_it(url: str) -> None:
    """Acceptance 4 and 5."""
    attempts: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        attempts.append(order.number)
        if order.number % 10 == 3 and delivery.failures < 2:
            raise ValueError("not yet")

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(50)])
        await until(lambda: attempts and attempts[-1] == 49)
    expected = [number for number in range(50) for _ in range(3 if number % 10 == 3 else 1)]
    assert attempts == expected


async def test_p7_in_key_order_a_failing_event_holds_only_its_key(url: str) -> None:
    """Acceptance 9: 1,000 events of 16 keys, order per key."""
    done: dict[str, list[int]] = defaultdict(list)
    others_done_while_failing: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=8, key=lambda order: order.customer, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        await asyncio.sleep(random.random() / 1000)
        if order.number % 100 == 5 and delivery.failures < 2:
            raise ValueError("not yet")
        if delivery.failures == 2:
            others_done_while_failing.append(sum(map(len, done.values())))
        done[order.customer].append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number, f"k{number % 16}") for number in range(1000)])
        await until(lambda: sum(map(len, done.values())) == 1000)
    assert len(done) == 16
    for numbers in done.values():
        assert numbers == sorted(numbers)


async def test_p7_without_a_key_function_the_published_key_orders(url: str) -> None:
    done: dict[int, list[int]] = defaultdict(list)
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=8, order="key", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        await asyncio.sleep(random.random() / 1000)
        if order.number % 7 == 0 and not delivery.failures:
            raise ValueError("once")
        done[order.number % 4].append(order.number)

    async with broker:
        await asyncio.gather(
            *(broker.publish("orders", Order(number), key=str(number % 4)) for number in range(200)),
        )
        await until(lambda: sum(map(len, done.values())) == 200)
    assert all(numbers == sorted(numbers) for numbers in done.values())


async def test_order_is_held_over_a_restart(url: str) -> None:
    got: list[int] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            await asyncio.sleep(0)
            got.append(order.number)

        return broker

    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(2000)])
    for upto in (300, 700, 1500, 2000):
        async with consumer():
            await until(lambda n=upto: len(got) >= n)
    assert got == list(range(2000))


async def test_order_is_held_over_a_restart_with_a_retry_under_way(url: str) -> None:
    """P7, P11: the failing event comes first again, and not before it is due."""
    times: list[tuple[int, float]] = []
    loop = asyncio.get_running_loop()

    def consumer(*, fails: bool) -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders", retry=RetryPolicy(base=0.5, jitter=False))
        async def handle(order: Order) -> None:
            times.append((order.number, loop.time()))
            if fails:
                raise ValueError("not yet")

        return broker

    async with consumer(fails=True) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: broker.status[0].delayed)
    async with consumer(fails=False):
        await until(lambda: len(times) == 4)
    assert [number for number, _ in times] == [0, 0, 1, 2]
    assert times[1][1] - times[0][1] >= 0.49


async def test_resuming_from_the_checkpoint_misses_nothing(url: str, redis: Redis) -> None:
    got: list[int] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.005))

        @broker.handler("orders", concurrency=10)
        async def handle(order: Order) -> None:
            await asyncio.sleep(random.random() / 200)
            got.append(order.number)

        return broker

    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(1000)])
    async with consumer():
        await until(lambda: len(got) >= 300)
        await redis.xgroup_destroy("orders", "g")
        await until(lambda: len(got) >= 600)
    await redis.xgroup_destroy("orders", "g")
    async with consumer():
        await until(lambda: set(got) == set(range(1000)))


async def test_p9_a_retried_event_keeps_its_id_and_its_first_failure(url: str, redis: Redis) -> None:
    seen: list[tuple[str, int, float]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        seen.append((delivery.event.id, delivery.failures, delivery.first_failure))
        if delivery.failures < 3:
            raise ValueError("not yet")

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await until(lambda: len(seen) == 4)
    assert [entry for entry, _, _ in seen] == [entry_id] * 4
    assert [failures for _, failures, _ in seen] == [0, 1, 2, 3]
    assert seen[1][2] == seen[3][2] > 0
    assert await redis.xlen("orders") == 1
