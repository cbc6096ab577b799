"""Contexts (P29): each attempt begins in one of its own; what one handler sets, no other event sees."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, RetryLater, RetryPolicy, Settings
from redis_streams_aio.testing.waiting import until
from tests.events import Order

tenant: ContextVar[Any] = ContextVar("tenant", default=None)


class Odd:
    """A value that compares itself, and badly."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __eq__(self, other: object) -> bool:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"odd, {self.answer!r}"


async def publish(url: str, *numbers: int, key: str | None = None) -> None:
    async with Broker(url) as broker:
        for number in numbers:
            await broker.publish("orders", Order(number), key=key)


OPTIONS: dict[str, dict[str, Any]] = {
    "stream": {},
    "key": {"concurrency": 4, "key": lambda order: order.number % 3},
    "none": {"concurrency": 4},
    "batch": {"batch": 1, "within": 0},
    "timeout": {"timeout": 30},
    "deduplicate": {"deduplicate": 60},
}


@pytest.mark.parametrize("value", ["acme", Odd(True), Odd(ValueError("ambiguous")), Odd([]), {}], ids=repr)
@pytest.mark.parametrize("how", OPTIONS)
async def test_p29_what_a_handler_sets_no_other_event_sees(url: str, how: str, value: object) -> None:
    seen: list[object] = []
    broker = Broker(url, group="g")

    async def handle(order: Order) -> None:
        seen.append(tenant.get())
        await asyncio.sleep(0)
        tenant.set(value)
        if order.number % 5 == 0:
            await asyncio.sleep(0.001)

    async def load(orders: list[Order]) -> None:
        for order in orders:
            await handle(order)

    broker.handler("orders", **OPTIONS[how])(load if how == "batch" else handle)
    await publish(url, *range(30))
    async with broker:
        await until(lambda: broker.status[0].settled == 30)
    assert seen == [None] * 30
    assert tenant.get() is None


@pytest.mark.parametrize("value", [Odd(True), Odd(ValueError("ambiguous")), {"id": 1}], ids=repr)
async def test_p29_a_value_that_equals_the_openers_is_yet_another(url: str, value: object) -> None:
    """An attempt sees the very object that was there when the broker was opened."""
    seen: list[object] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        seen.append(tenant.get())
        tenant.set(Odd(value.answer) if isinstance(value, Odd) else dict(value))  # type: ignore[call-overload]

    await publish(url, *range(5))
    tenant.set(value)
    async with broker:
        await until(lambda: broker.status[0].settled == 5)
    assert [id(one) for one in seen] == [id(value)] * 5


async def test_p29_what_an_attempt_sets_its_next_attempt_does_not_see(url: str) -> None:
    seen: list[object] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=RetryPolicy(base=0.001, max_failures=3))
    async def handle(order: Order) -> None:
        seen.append(tenant.get())
        tenant.set("acme")
        raise ValueError("again")

    await publish(url, 1)
    async with broker:
        await until(lambda: broker.status[0].settled == 1)
    assert seen == [None] * 3


async def test_p29_middleware_and_key_functions_leave_nothing_to_other_events(url: str) -> None:
    seen: list[object] = []
    broker = Broker(url, group="g")

    async def around(event: object, call_next: Callable[[], Awaitable[None]]) -> None:
        seen.append(tenant.get())
        tenant.set("by middleware")
        await call_next()

    def key(order: Order) -> int:
        seen.append(tenant.get())
        tenant.set("by a key function")
        return order.number

    @broker.handler("orders", key=key, concurrency=4, middleware=[around])
    async def handle(order: Order) -> None:
        assert tenant.get() == "by middleware"

    await publish(url, *range(20))
    async with broker:
        await until(lambda: broker.status[0].settled == 20)
    assert seen == [None] * 40


async def test_p29_handlers_begin_in_the_context_in_which_the_broker_was_opened(url: str) -> None:
    seen: list[object] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=2)
    async def handle(order: Order) -> None:
        seen.append(tenant.get())

    tenant.set("the application's")
    async with broker:
        tenant.set("a request's")
        for number in range(10):
            await broker.publish("orders", Order(number))
        await until(lambda: broker.status[0].settled == 10)
    assert seen == ["the application's"] * 10


async def test_p29_a_worker_is_replaced_only_where_something_was_left(url: str) -> None:
    tasks: list[asyncio.Task[Any] | None] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        tasks.append(asyncio.current_task())
        token = tenant.set("acme")
        await asyncio.sleep(0)
        if order.number < 10:
            tenant.reset(token)

    await publish(url, *range(20))
    async with broker:
        await until(lambda: broker.status[0].settled == 20)
    assert len(set(tasks[:11])) == 1, "what was set and reset is not left"
    assert len(set(tasks)) == 10


async def test_p27_p29_workers_that_are_replaced_are_drained_as_others(url: str, redis: Redis) -> None:
    """A replaced worker is in the scope of the drain, is waited for, and is cancelled when the grace is over."""
    running, ended = 0, 0
    broker = Broker(url, group="g", settings=Settings(grace=0.3))

    @broker.handler("orders", concurrency=3)
    async def handle(order: Order) -> None:
        nonlocal running, ended
        tenant.set(order.number)
        if order.number < 20:
            return
        running += 1
        if order.number == 20:
            await asyncio.sleep(0.1)
            ended += 1
            return
        await asyncio.sleep(3600)

    await publish(url, *range(20))
    async with broker:
        await until(lambda: broker.status[0].settled == 20)
        await publish(url, 20, 21, 22)
        await until(lambda: running == 3)
    assert ended == 1, "it had its grace"
    pending = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert [(one["consumer"], one["times_delivered"]) for one in pending] == [("redis_streams_aio:released", 0)] * 2


async def test_p29_replaced_workers_miss_no_event_that_comes_meanwhile(url: str) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=2)
    async def handle(order: Order) -> None:
        tenant.set(order.number)
        got.append(order.number)

    async with broker:
        for number in range(300):
            await broker.publish("orders", Order(number))
            if number % 7 == 0:
                await until(lambda sent=number + 1: len(got) == sent)
        await until(lambda: len(got) == 300)
        await until(lambda: broker.status[0].running == 0)
    assert got == list(range(300))


class Request:
    """Something big that belongs to one request."""


async def test_p29_nothing_of_the_first_publishers_context_lives_on(url: str) -> None:
    async with Broker(url) as broker:
        kept = await asyncio.create_task(_publish_in_a_request(broker))
        await until(lambda: _is_gone(kept))


async def _publish_in_a_request(broker: Broker) -> weakref.ref[Request]:
    request = Request()
    tenant.set(request)
    await broker.publish("orders", Order(1))
    return weakref.ref(request)


def _is_gone(kept: weakref.ref[Request]) -> bool:
    gc.collect()
    return kept() is None


async def test_p29_nothing_of_a_handlers_context_lives_on_while_retries_wait(url: str) -> None:
    kept: list[weakref.ref[Request]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        request = Request()
        kept.append(weakref.ref(request))
        tenant.set(request)
        del request
        raise RetryLater(3600)

    await publish(url, 1)
    async with broker:
        await until(lambda: broker.status[0].delayed == 1)
        await until(lambda: _is_gone(kept[0]))


async def test_p29_nothing_of_the_openers_context_lives_on_when_it_is_closed(url: str) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    async def open_and_close() -> weakref.ref[Request]:
        request = Request()
        tenant.set(request)
        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: broker.status[0].settled == 1)
        return weakref.ref(request)

    kept = await asyncio.create_task(open_and_close())
    await until(lambda: _is_gone(kept))


async def test_p29_the_brokers_own_tasks_are_in_no_context_of_the_applications(url: str) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    tenant.set("the application's")
    before = asyncio.all_tasks()
    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
        ours = [task for task in asyncio.all_tasks() - before if "_work_in_context" not in repr(task)]
        assert len(ours) > 5
        if hasattr(ours[0], "get_context"):  # Python 3.12
            assert not [task for task in ours if task.get_context().get(tenant)]
    assert copy_context().get(tenant) == "the application's"
