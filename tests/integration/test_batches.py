"""Batch handlers: many events at once, each with a fate of its own (P15)."""

from __future__ import annotations

import asyncio
import time
from itertools import chain

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    CallNext,
    HandlerDefinitionError,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
)
from redis_streams_aio.testing.waiting import until
from tests.events import Cancelled, Order
from tests.processes import worker

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=3)
DEAD = "{orders}:g:dead"


async def publish(url: str, *numbers: int) -> list[str]:
    async with Broker(url) as broker:
        return await broker.publish_many("orders", [Order(number) for number in numbers])


async def test_p15_a_batch_is_full_or_has_waited_long_enough(url: str) -> None:
    await publish(url, *range(1050))
    batches: list[tuple[list[int], float]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=500, within=0.2)
    async def load(orders: list[Order]) -> None:
        batches.append(([order.number for order in orders], time.monotonic()))

    async with broker:
        await until(lambda: broker.status[0].settled == 1050)
        assert [len(numbers) for numbers, _ in batches] == [500, 500, 50]
        assert [number for numbers, _ in batches for number in numbers] == list(range(1050)), "in stream order"
        began = time.monotonic()
        await broker.publish("orders", Order(7))
        await until(lambda: len(batches) == 4)
        assert batches[3][1] - began >= 0.2, "one event waits for others, for as long as it was told"


async def test_p15_a_full_batch_waits_for_nobody(url: str) -> None:
    batches: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=3, within=3600)
    async def load(orders: list[Order]) -> None:
        batches.append(len(orders))

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(6)])
        await until(lambda: batches == [3, 3])


async def test_p15_each_item_has_its_own_fate(url: str, redis: Redis) -> None:
    calls: list[list[int]] = []
    failures: dict[int, list[int]] = {}
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=10, within=0.05, retry=SOON)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append([order.number for order in orders])
        assert len(batch) == len(orders)
        for index, order in enumerate(orders):
            failures.setdefault(order.number, []).append(batch[index].failures)
            assert batch[index].event.payload == order
            if order.number == 3 and len(failures[3]) == 1:
                batch.retry(index, delay=0.01)
            elif order.number == 5:
                batch.fail(index, ValueError("five"))
            elif order.number == 7:
                batch.reject(index, "bad row")

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: broker.status[0].settled == 10)
    assert calls[0] == list(range(10))
    assert failures[3] == [0, 0], "retry is a wish, no failure"
    assert failures[5] == [0, 1, 2]
    assert all(failures[number] == [0] for number in (0, 1, 2, 4, 6, 7, 8, 9)), "handled once, whatever the others did"
    dead = {fields["dead:id"]: (fields["dead:reason"], fields["dead:error"]) for _, fields in await redis.xrange(DEAD)}
    assert dead == {ids[7]: ("rejected", "bad row"), ids[5]: ("failures", "ValueError: five")}


async def test_p15_a_bad_item_that_the_handler_does_not_name_is_found_and_the_others_live(
    url: str, redis: Redis
) -> None:
    """The handler raises for the whole batch: each is then handled alone, and only the bad one is given up."""
    done: list[int] = []
    sizes: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=20, within=0.05, retry=SOON)
    async def load(orders: list[Order]) -> None:
        sizes.append(len(orders))
        if any(order.number == 13 for order in orders):
            raise ValueError("something in here is bad")
        done.extend(order.number for order in orders)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(20)])
        await until(lambda: broker.status[0].settled == 20)
    assert sorted(done) == [number for number in range(20) if number != 13]
    assert sizes[0] == 20
    assert set(sizes[1:]) == {1}
    assert [fields["dead:reason"] for _, fields in await redis.xrange(DEAD)] == ["failures"]


async def test_p13_p15_undecodable_items_are_dead_lettered_without_the_others_noticing(url: str, redis: Redis) -> None:
    calls: list[list[int]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=5, within=0.05)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append([order.number for order in orders])
        assert [delivery.event.payload for delivery in batch] == orders

    await publish(url, 1)
    await redis.xadd("orders", {"event_type": "Order", "payload": "{broken"})
    await publish(url, 2)
    await redis.xadd("orders", {"event_type": "Strange", "payload": "{}"})
    await publish(url, 3)
    async with broker:
        await until(lambda: broker.status[0].settled == 5)
    assert list(chain(*calls)) == [1, 2, 3]
    assert sorted(fields["dead:reason"] for _, fields in await redis.xrange(DEAD)) == ["undecodable", "unhandled"]


@pytest.mark.parametrize(
    ("error", "settled_at_once"), [(RetryLater(0.01), False), (Reject("all of it"), True)], ids=["retry", "reject"]
)
async def test_p15_a_wish_that_is_raised_is_for_all_of_which_nothing_was_said(
    url: str, redis: Redis, error: Exception, settled_at_once: bool
) -> None:
    calls: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=4, within=0.05)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append(len(orders))
        if len(calls) == 1:
            batch.ack(0)
            raise error

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(4)])
        await until(lambda: broker.status[0].settled == 4)
    assert await redis.xlen(DEAD) == (3 if settled_at_once else 0)
    assert sum(calls) == (4 if settled_at_once else 7), "the one that was acknowledged came once"


async def test_p7_in_stream_order_what_failed_in_a_batch_holds_what_is_behind_it(url: str) -> None:
    calls: list[list[int]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=3, within=0.05, retry=RetryPolicy(base=0.05, jitter=False))
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append([order.number for order in orders])
        if len(calls) == 1:
            batch.retry(0, delay=0.1)
            batch.fail(2, ValueError("once"))

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(9)])
        await until(lambda: broker.status[0].settled == 9)
    assert calls[:3] == [[0, 1, 2], [0], [2]], "in their order, each when it is due, and nothing before them"
    assert list(chain(*calls[3:])) == list(range(3, 9))


async def test_p7_in_key_order_a_batch_holds_only_its_keys(url: str) -> None:
    running: set[str] = set()
    got: dict[str, list[int]] = {}
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=10, within=0.02, concurrency=4, key=lambda order: order.customer, retry=SOON)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        customers = {order.customer for order in orders}
        assert not customers & running, "one key in two batches at once"
        running.update(customers)
        await asyncio.sleep(0.001)
        for index, order in enumerate(orders):
            if order.number % 17 == 3 and batch[index].failures == 0 and order.number not in got.get("failed", []):
                got.setdefault("failed", []).append(order.number)
                batch.fail(index, ValueError("once"))
            else:
                got.setdefault(order.customer, []).append(order.number)
        running.difference_update(customers)

    async with broker:
        await broker.publish_many("orders", [Order(number, customer=f"c{number % 16}") for number in range(400)])
        await until(lambda: broker.status[0].settled == 400)
    for customer in range(16):
        assert sorted(got[f"c{customer}"]) == [number for number in range(400) if number % 16 == customer]


async def test_two_event_types_in_one_batch_subscription(url: str) -> None:
    orders_got: list[int] = []
    cancelled_got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=4, within=0.05)
    async def load(orders: list[Order]) -> None:
        orders_got.extend(order.number for order in orders)

    @broker.handler("orders", batch=4, within=0.05)
    async def cancel(orders: list[Cancelled]) -> None:
        cancelled_got.extend(order.number for order in orders)

    async with broker:
        for number in range(10):
            await broker.publish("orders", Order(number) if number % 3 else Cancelled(number))
        await until(lambda: broker.status[0].settled == 10)
    assert orders_got == [number for number in range(10) if number % 3]
    assert cancelled_got == [0, 3, 6, 9]


async def test_p27_what_a_batch_handler_is_at_when_the_grace_is_over_is_given_back(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g", settings=Settings(grace=0.05))
    began = asyncio.Event()

    @broker.handler("orders", batch=3, within=0.01)
    async def load(orders: list[Order]) -> None:
        began.set()
        await asyncio.sleep(3600)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await began.wait()
    pending = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert [(entry["consumer"], entry["times_delivered"]) for entry in pending] == [
        ("redis_streams_aio:released", 0)
    ] * 3


async def test_p6_a_batch_subscription_holds_no_more_than_its_cap(url: str) -> None:
    await publish(url, *range(3000))
    most = 0
    broker = Broker(url, group="g", settings=Settings(count=10))

    @broker.handler("orders", batch=50, within=0.05, concurrency=2, order="none")
    async def load(orders: list[Order]) -> None:
        nonlocal most
        status = broker.status[0]
        most = max(most, status.running + status.buffered + status.delayed)
        await asyncio.sleep(0.001)

    async with broker:
        await until(lambda: broker.status[0].settled == 3000)
    assert 50 <= most <= 2 * 50 + 2 * 10


async def test_middleware_gets_the_batch(url: str) -> None:
    seen: list[int] = []

    async def around(batch: BatchDelivery, call_next: CallNext) -> None:
        seen.append(len(batch))
        await call_next()

    broker = Broker(url, group="g", middleware=[around])

    @broker.handler("orders", batch=3, within=3600)
    async def load(orders: list[Order]) -> None: ...

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: broker.status[0].settled == 3)
    assert seen == [3]


@pytest.mark.parametrize(
    ("options", "annotation", "words"),
    [
        ({"batch": 0}, list[Order], "batch=0: expected a whole number, 1 to 10000"),
        ({"batch": True}, list[Order], "batch=True"),
        ({"within": 1}, list[Order], "give batch= too"),
        ({"batch": 5, "within": -1}, list[Order], "within=-1: expected seconds"),
        ({"batch": 5}, Order, "a batch handler takes a list; annotate 'orders' e.g. 'orders: list[dict]'"),
        ({"batch": 5}, list, "a batch handler takes a list"),
    ],
)
def test_batches_that_cannot_work(options: dict[str, float], annotation: object, words: str) -> None:
    broker = Broker("redis://127.0.0.1:1", group="g")

    async def load(orders: list) -> None: ...

    load.__annotations__["orders"] = annotation
    with pytest.raises(HandlerDefinitionError, match="handler load: ") as caught:
        broker.handler("orders", **options)(load)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_batch_and_a_single_handler_share_no_subscription() -> None:
    broker = Broker("redis://127.0.0.1:1", group="g")

    @broker.handler("orders", batch=5)
    async def load(orders: list[Order]) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="differ in batch: 5 and None"):

        @broker.handler("orders")
        async def cancel(order: Cancelled) -> None: ...


async def test_p13_p15_an_event_that_kills_the_process_takes_none_of_its_batch_along(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
    ended: set[int] = set()
    for _ in range(10):
        options = ("--batch", 10, "--die", 4, "--lease", 0.2, "--reclaim", 0.05, "--max-deliveries", 3)
        async with worker(url, *options) as one:
            await until(lambda one=one: one.process.returncode is not None or _done(redis), 20)
            ended |= set(one.numbers("end"))
            if await _done(redis):
                break
    assert ended == set(range(10)) - {4}
    assert [(fields["dead:reason"]) for _, fields in await redis.xrange(DEAD)] == ["deliveries"]


async def _done(redis: Redis) -> bool:
    return any(group["lag"] == 0 and group["pending"] == 0 for group in await redis.xinfo_groups("orders"))
