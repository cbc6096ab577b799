"""The drain (P10, P27): what has not begun is given back at once, what runs goes on, what is cancelled did not fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import BatchDelivery, Broker, Delivery, Reject, RetryLater, RetryPolicy, Settings
from redis_streams_aio.events import keys
from redis_streams_aio.exceptions import RedisUnavailableError
from redis_streams_aio.telemetry import Fact, LeaseLost, Released
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

DEAD = "{orders}:g:dead"


async def publish(url: str, *numbers: int, **named: Any) -> None:
    async with Broker(url) as broker:
        for number in numbers:
            await broker.publish("orders", Order(number), **named)


def taking(url: str, got: list[int], **options: Any) -> Broker:
    """Another consumer of the group, which handles all it gets."""
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.1))

    @broker.handler("orders", concurrency=16, lease=3600, order="none", **options)
    async def handle(order: Order) -> None:
        got.append(order.number)

    return broker


async def buffers(broker: Broker) -> None:
    """Have it read as much as it may hold, as after a time of quick handlers."""
    for subscription in broker._supervisor.subscriptions:
        subscription._room.buffer_size.limit = 1000
        subscription._freed.set()


async def owners(redis: Redis) -> list[tuple[str, int]]:
    pending = await redis.xpending_range("orders", "g", "-", "+", 1000)
    return [(entry["consumer"], entry["times_delivered"]) for entry in pending]


# -- what is cancelled has not failed ---------------------------------------------------------------------------


async def children_fail() -> None:
    """As with `asyncio.TaskGroup`: a child that fails while it is cancelled."""

    async def child() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ConnectionError("rollback failed")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())


async def turned_into_an_error() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise RuntimeError("rollback failed") from None


async def given_up() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise Reject("interrupted") from None


async def later() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise RetryLater(60) from None


async def a_group_of_everything() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError as cancelled:
        raise BaseExceptionGroup("both", [cancelled, ValueError("and this")]) from None


ENDS = [children_fail, turned_into_an_error, given_up, later, a_group_of_everything]


@pytest.mark.parametrize("how", ["plain", "timeout", "middleware", "batch", "second signal"])
@pytest.mark.parametrize("end", ENDS)
async def test_p10_p27_what_a_handler_raises_when_the_drain_is_over_is_no_failure(
    url: str, redis: Redis, end: Callable[[], Awaitable[None]], how: str
) -> None:
    began = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(grace=3600 if how == "second signal" else 0.05))

    async def around(event: object, call_next: Callable[[], Awaitable[None]]) -> None:
        try:
            await call_next()
        except asyncio.CancelledError:
            raise RuntimeError("the middleware's own") from None

    options: dict[str, Any] = {"retry": RetryPolicy(max_failures=1)}
    if how == "timeout":
        options["timeout"] = 30
    if how == "middleware":
        options["middleware"] = [around]

    async def handle(order: Order) -> None:
        began.set()
        await end()

    async def load(orders: list[Order]) -> None:
        began.set()
        await end()

    if how == "batch":
        broker.handler("orders", batch=2, within=0.01, **options)(load)
    else:
        broker.handler("orders", **options)(handle)
    numbers = [1, 2] if how == "batch" else [1]
    await publish(url, *numbers)
    async with broker:
        await began.wait()
        if how == "second signal":
            broker._supervisor.drain()
            await asyncio.sleep(0)
            broker._supervisor.stop_now()
    assert await redis.xlen(DEAD) == 0
    assert await redis.exists("{orders}:g:failures") == 0, "no failure was counted, and no wish written"
    assert await owners(redis) == [(keys.RELEASED, 0)] * len(numbers)


async def test_p27_what_was_said_before_the_drain_cancels_the_handler_stands(url: str, redis: Redis) -> None:
    began = 0
    broker = Broker(url, group="g", settings=Settings(grace=0.05))

    @broker.handler("orders", concurrency=4)
    async def handle(order: Order, delivery: Delivery) -> None:
        nonlocal began
        if order.number == 1:
            delivery.ack()
        if order.number == 2:
            delivery.reject("bad")
        if order.number == 3:
            delivery.retry(60)
        began += 1
        await turned_into_an_error()

    async with broker:
        await publish(url, 1, 2, 3, 4)
        await until(lambda: began == 4)
    assert [fields["dead:reason"] for _, fields in await redis.xrange(DEAD)] == ["rejected"]
    assert await owners(redis) == [(keys.RELEASED, 0)] * 2
    assert await redis.hlen("{orders}:g:failures") == 1, "when the third one is due"


async def test_p15_p27_what_was_said_of_items_before_the_drain_cancels_the_handler_stands(
    url: str, redis: Redis
) -> None:
    began = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(grace=0.05))

    @broker.handler("orders", batch=6, within=0.01, retry=RetryPolicy(max_failures=1))
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        batch.ack(0)
        batch.reject(1, "bad")
        batch.reject(2, "bad")
        batch.retry(3, 60)
        began.set()
        await turned_into_an_error()

    await publish(url, *range(6))
    async with broker:
        await began.wait()
    assert len(await redis.xrange(DEAD)) == 2
    assert await owners(redis) == [(keys.RELEASED, 0)] * 3
    assert await redis.hlen("{orders}:g:failures") == 1


async def test_p27_a_handler_that_returns_when_it_is_cancelled_is_done(url: str, redis: Redis) -> None:
    began = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(grace=0.05))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    async with broker:
        await publish(url, 1)
        await began.wait()
    assert await owners(redis) == []


async def test_p27_nothing_is_begun_after_a_second_signal(url: str, redis: Redis) -> None:
    """Not even where a handler takes no notice of its cancellation."""
    got: list[int] = []
    began = asyncio.Event()
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    await publish(url, 1, 2, 3)
    async with broker:
        await began.wait()
        await buffers(broker)
        await until(lambda: broker.status[0].buffered == 2)
        broker._supervisor.stop_now()
    assert got == [1]
    assert await owners(redis) == [(keys.RELEASED, 0)] * 2, "the first one returned: it is done"


# -- what has not begun -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["stream", "key", "none", "batch", "half a batch"])
async def test_p27_what_has_not_begun_is_another_consumers_while_handlers_run_on(
    url: str, redis: Redis, what: str
) -> None:
    got: list[int] = []
    done: list[int] = []
    running = 0
    may_end, stop = asyncio.Event(), asyncio.Event()
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    async def handle(order: Order) -> None:
        nonlocal running
        running += 1
        await may_end.wait()
        done.append(order.number)

    async def load(orders: list[Order]) -> None:
        nonlocal running
        running += len(orders)
        await may_end.wait()
        done.extend(order.number for order in orders)

    options: dict[str, Any] = {
        "stream": {},
        "key": {"concurrency": 2, "key": lambda order: order.customer},
        "none": {"concurrency": 2, "order": "none"},
        "batch": {"batch": 3, "within": 0.01},
        "half a batch": {"batch": 100, "within": 3600},
    }[what]
    broker.handler("orders", lease=0.6, **options)(load if "batch" in options else handle)
    await publish(url, *range(1, 10))
    leaving = asyncio.create_task(_open_until(broker, stop))
    begun = {"stream": 1, "key": 1, "none": 2, "batch": 3, "half a batch": 0}[what]
    await until(lambda: broker._supervisor and broker._supervisor.started.is_set() and running == begun)
    await buffers(broker)
    await until(lambda: broker.status[0].buffered == 9 - begun)
    async with taking(url, got):
        stop.set()
        loop = asyncio.get_running_loop()
        stopped = loop.time()
        await until(lambda: len(got) == 9 - begun)
        assert loop.time() - stopped < 1
        await asyncio.sleep(0.8)  # longer than the lease: what runs is renewed
        assert len(got) == 9 - begun
        may_end.set()
        await leaving
    assert sorted(got + done) == list(range(1, 10))
    assert len(done) == begun, "what ran was left to run, and nothing more was begun"
    assert not [fact for fact in facts if isinstance(fact, LeaseLost)]


async def test_p27_retries_and_copies_that_wait_are_given_back_at_once(url: str, redis: Redis) -> None:
    may_end, stop = asyncio.Event(), asyncio.Event()
    broker = Broker(url, group="g")
    retry = RetryPolicy(base=3600, cap=3600, jitter=False)

    @broker.handler("orders", concurrency=4, lease=3600, deduplicate=60, order="none", retry=retry)
    async def handle(order: Order) -> None:
        if order.number > 1:
            raise ValueError("not now")
        await may_end.wait()

    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    await publish(url, 99, event_id="x")
    [[_, [(original, _)]]] = await redis.xreadgroup("g", "other", {"orders": ">"}, count=1)
    await redis.set("{orders}:g:done:x", original)
    await publish(url, 1, 2, 3)
    await publish(url, 99, 99, event_id="x")
    leaving = asyncio.create_task(_open_until(broker, stop))
    await until(lambda: broker._supervisor and broker.status and broker.status[0].delayed == 4)
    stop.set()
    await until(lambda: _released(redis, 4))
    assert not leaving.done()
    may_end.set()
    await leaving
    assert sorted(await owners(redis)) == [("other", 1), *[(keys.RELEASED, 0)] * 4]
    assert await redis.hlen("{orders}:g:failures") == 2, "when the retries are due is not forgotten"


async def _released(redis: Redis, count: int) -> bool:
    return [owner for owner, _ in await owners(redis)].count(keys.RELEASED) == count


async def _open_until(broker: Broker, stop: asyncio.Event) -> None:
    async with broker:
        await stop.wait()


async def test_p27_what_fails_during_the_drain_is_given_back_too(url: str, redis: Redis) -> None:
    may_fail = asyncio.Event()
    began = 0
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=2, retry=RetryPolicy(base=0.01, jitter=False))
    async def handle(order: Order) -> None:
        nonlocal began
        began += 1
        if order.number == 1:
            await may_fail.wait()
            raise ValueError("during the drain")
        await asyncio.sleep(3600)

    got: list[int] = []
    stop = asyncio.Event()
    await publish(url, 1, 2)
    leaving = asyncio.create_task(_open_until(broker, stop))
    await until(lambda: began == 2)
    stop.set()
    async with taking(url, got):
        may_fail.set()
        await until(lambda: got == [1])
        assert not leaving.done()
        broker._supervisor.stop_now()
        await leaving
        await until(lambda: got == [1, 2])


async def test_p27_every_entry_that_is_given_back_is_counted_once(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    began = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(grace=0.05, count=700), observers=[facts.append])

    @broker.handler("orders", order="key", concurrency=2)
    async def handle(order: Order) -> None:
        began.set()
        await asyncio.sleep(3600)

    await publish(url, *range(900), key="ada")
    async with broker:
        await began.wait()
        await until(lambda: broker.status[0].buffered == 899)
        held = len(broker._supervisor.subscriptions[0].holdings)
    assert sum(fact.count for fact in facts if isinstance(fact, Released)) == held
    assert not [fact for fact in facts if isinstance(fact, LeaseLost)]
    assert await owners(redis) == [(keys.RELEASED, 0)] * 900


async def test_p27_a_release_that_fails_is_tried_again(url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis away for the moment at which the drain begins, and back at its end."""
    began, may_end = asyncio.Event(), asyncio.Event()
    broker = Broker(url, group="g")

    @broker.handler("orders", lease=3600)
    async def handle(order: Order) -> None:
        began.set()
        await may_end.wait()

    stop = asyncio.Event()
    await publish(url, 1, 2, 3)
    leaving = asyncio.create_task(_open_until(broker, stop))
    await began.wait()
    await buffers(broker)
    await until(lambda: broker.status[0].buffered == 2)
    tried = 0
    settlement = broker._supervisor.subscriptions[0]._settlement
    release = settlement.release

    async def away(deliveries: Any = None) -> int:
        nonlocal tried
        tried += 1
        if deliveries is not None:
            raise RedisUnavailableError("away")
        return await release()

    monkeypatch.setattr(settlement, "release", away)
    stop.set()
    await until(lambda: tried >= 2)
    may_end.set()
    await leaving
    assert await owners(redis) == [(keys.RELEASED, 0)] * 2


async def test_p27_a_redis_that_does_not_answer_does_not_hold_up_the_end(new_server: Callable[..., Server]) -> None:
    server = new_server()
    began = asyncio.Event()
    broker = Broker(server.url, group="g", settings=Settings(grace=0.2, block_ms=100))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        began.set()
        await asyncio.sleep(3600)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await began.wait()
        server.freeze()
        loop = asyncio.get_running_loop()
        stopped = loop.time()
    assert loop.time() - stopped < 8
    server.thaw()


# -- nothing begins any more ------------------------------------------------------------------------------------


async def test_p27_no_part_of_a_batch_begins_once_the_drain_has(url: str) -> None:
    """A batch is handled in parts, one for each handler that takes some of it: those to come are released."""
    broker, begun, release = Broker(url, group="g", settings=Settings(grace=30)), list[str](), asyncio.Event()

    @broker.handler("orders", event_type="A", batch=10, within=0.05, lease=3600)
    async def first(orders: list[dict]) -> None:
        begun.append("A")
        await release.wait()

    @broker.handler("orders", event_type="B", batch=10, within=0.05, lease=3600)
    async def second(orders: list[dict]) -> None:
        begun.append("B")
        await release.wait()

    async with Broker(url) as publisher:
        for event_type in "ABABAB":
            await publisher.publish("orders", {}, event_type=event_type)
    got: list[int] = []
    other = Broker(url, group="g", settings=Settings(reclaim_interval=0.1))

    @other.handler("orders", event_type="A", batch=10, within=0.05, lease=3600)
    async def a(orders: list[dict]) -> None:
        got.extend([0] * len(orders))

    @other.handler("orders", event_type="B", batch=10, within=0.05, lease=3600)
    async def b(orders: list[dict]) -> None:
        got.extend([0] * len(orders))

    async with broker:
        await until(lambda: begun == ["A"])
        running = broker.status[0].running
        async with other:
            closing = asyncio.create_task(broker.__aexit__(None, None, None))
            await until(lambda: broker._supervisor is None or not broker.ready)
            release.set()
            await closing
            await until(lambda: len(got) == 6 - running)
    assert begun == ["A"]


@pytest.mark.parametrize("batch", [None, 10])
async def test_p27_no_handler_begins_after_redis_was_asked_for_copies_meanwhile(url: str, batch: int | None) -> None:
    broker, begun = Broker(url, group="g", settings=Settings(grace=30)), list[str]()
    options: dict[str, Any] = {"deduplicate": 60, "lease": 3600}

    if batch is None:

        @broker.handler("orders", **options)
        async def one(order: Order) -> None:
            begun.append("one")
    else:

        @broker.handler("orders", batch=batch, within=0.01, **options)
        async def many(orders: list[Order]) -> None:
            begun.append("many")

    async with broker:
        work, asked, answer = broker._supervisor.subscriptions[0]._handling.work, asyncio.Event(), asyncio.Event()
        before = work._holdings.connection.run

        async def slowly(*arguments: Any, **named: Any) -> Any:
            reply = await before(*arguments, **named)
            if "BEGIN" in repr(arguments[0].source) or not asked.is_set():
                asked.set()
                await answer.wait()
            return reply

        work._holdings.connection.run = slowly  # type: ignore[method-assign]
        await broker.publish("orders", Order(1), event_id="e")
        await asked.wait()
        closing = asyncio.create_task(broker.__aexit__(None, None, None))
        await until(lambda: work.stopping)
        answer.set()
        await closing
    assert begun == []
    got: list[int] = []
    async with taking(url, got, deduplicate=60):
        await until(lambda: got == [1])
