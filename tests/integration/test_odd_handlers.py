"""Handlers that raise what is hard to decide on, in groups or not; and handlers that are declared too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    DeadLetters,
    Delivery,
    HandlerDefinitionError,
    Reject,
    RetryLater,
    RetryPolicy,
    Router,
)
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.unit.test_groups_of_exceptions import OddError, OddPolicy, OddRejection, OddWish

FAST = RetryPolicy(base=0.005, jitter=False, max_failures=3)


async def dead(broker: Broker, stream: str) -> list[tuple[str, str]]:
    letters = await DeadLetters(broker.connection, stream, "g").list()
    return [(letter.reason, letter.error) for letter in letters]


async def in_a_task_group(error: Exception) -> None:
    async def part() -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(part())
        group.create_task(asyncio.sleep(0))


@pytest.mark.parametrize("batch", [None, 10])
async def test_p11_what_a_task_group_raises_is_what_its_tasks_raised(url: str, batch: int | None) -> None:
    broker, runs = Broker(url, group="g"), dict[str, int]()

    def handled(stream: str, error: Exception, **policy: Any) -> None:
        async def one(order: Order) -> None:
            runs[stream] = runs.get(stream, 0) + 1
            if runs[stream] <= 6:
                await in_a_task_group(error)

        async def many(orders: list[Order]) -> None:
            await one(orders[0])

        retry = RetryPolicy(base=0.005, jitter=False, **policy)
        broker.handler(stream, retry=retry, batch=batch)(one if batch is None else many)

    handled("rejected", Reject("no such customer"))
    handled("later", RetryLater(0.005))
    handled("hopeless", ValueError("hopeless"), give_up_on=[ValueError])
    handled("retried", ConnectionError("away"), retry_on=[OSError], max_failures=3)
    async with broker:
        for stream in ("rejected", "later", "hopeless", "retried"):
            await broker.publish(stream, Order(1))
        await until(lambda: all(status.settled == 1 for status in broker.status))
        assert runs == {"rejected": 1, "later": 7, "hopeless": 1, "retried": 3}
        assert await dead(broker, "rejected") == [("rejected", "no such customer")]
        assert await dead(broker, "later") == []
        inside = "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"
        assert await dead(broker, "hopeless") == [("gave_up", f"{inside}: ValueError: hopeless")]
        assert await dead(broker, "retried") == [("failures", f"{inside}: ConnectionError: away")]


@pytest.mark.parametrize("how", ["raised", "failed", "batch", "key", "middleware"])
async def test_p14_deciding_on_an_exception_never_ends_the_broker(url: str, how: str) -> None:
    """It is decided on by the default policy, and the events behind it are handled."""
    broker, got = Broker(url, group="g"), list[int]()
    errors: list[type[Exception]] = [OddError, OddRejection, OddWish]

    def odd(number: int) -> None:
        if number < len(errors):
            raise errors[number]
        got.append(number)

    def key(order: Order) -> int:
        if how == "key":
            odd(order.number)
        return order.number

    async def around(delivery: Delivery | BatchDelivery, call_next: Any) -> None:
        if how == "middleware" and isinstance(delivery, Delivery):
            odd(delivery.event.payload.number)  # type: ignore[attr-defined]
        await call_next()

    async def one(order: Order, delivery: Delivery) -> None:
        if how == "failed" and order.number < len(errors):
            delivery.fail(errors[order.number]())
        elif how == "raised":
            odd(order.number)
        else:
            got.append(order.number)

    async def many(orders: list[Order]) -> None:
        for order in orders:
            odd(order.number)

    handler, batch = (many, 1) if how == "batch" else (one, None)
    retry = OddPolicy(retry_on=[ValueError], give_up_on=[OddError])
    broker.handler("orders", key=key, concurrency=8, retry=retry, batch=batch, middleware=[around])(handler)  # type: ignore[type-var]
    async with broker:
        for number in range(6):
            await broker.publish("orders", Order(number))
        await until(lambda: {3, 4, 5} <= set(got))
        await until(lambda: broker.status[0].delayed + broker.status[0].settled == 6)
        assert broker.ready


async def test_p14_retry_3_and_its_like_are_refused_and_lists_are_taken(url: str) -> None:
    broker, got = Broker(url, group="g"), list[int]()
    for wrong in (3, None, False, RetryPolicy, "5"):
        with pytest.raises(HandlerDefinitionError, match="expected a RetryPolicy"):
            broker.handler("orders", retry=wrong)(handle_nothing)  # type: ignore[arg-type]

    @broker.handler("orders", retry=RetryPolicy(give_up_on=[ValueError], retry_on={OSError}))
    async def bill(order: Order) -> None:
        got.append(order.number)
        if order.number == 1:
            raise ValueError

    async with broker:
        for number in (1, 2):
            await broker.publish("orders", Order(number))
        await until(lambda: broker.status[0].settled == 2)
        assert got == [1, 2]
        assert await dead(broker, "orders") == [("gave_up", "ValueError:")]


async def handle_nothing(order: Order) -> None: ...


async def test_what_is_declared_while_the_broker_is_open_is_refused(url: str) -> None:
    broker, router = Broker(url, group="g"), Router()
    router.handler("later")(handle_nothing)
    decorate = broker.handler("prepared")
    async with broker:
        for late in (
            lambda: broker.handler("late"),
            lambda: broker.include(router),
            lambda: decorate(handle_nothing),
        ):
            with pytest.raises(HandlerDefinitionError, match="too late: the broker is open; declare all handlers"):
                late()
        assert "0 handlers" in repr(broker)
    broker.include(router)
    async with broker:
        await broker.publish("later", Order(1))
        await until(lambda: broker.status[0].settled == 1)


async def test_a_router_serves_two_brokers_and_takes_no_handlers_after_that(url: str) -> None:
    router, got = Router(), list[int]()

    @router.handler("orders")
    async def bill(order: Order) -> None:
        got.append(order.number)

    first, second = Broker(url, group="one"), Broker(url, group="two")
    first.include(router)
    second.include(router)
    with pytest.raises(HandlerDefinitionError, match="too late: this router is included already"):
        router.handler("late")
    async with first, second:
        await first.publish("orders", Order(1))
        await until(lambda: got == [1, 1])
