"""What a second adversary found: batches, follow-ups, copies, wishes and keys at their worst."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    ConfigError,
    Connection,
    ConsumerGroupManager,
    DeadLetters,
    Delivery,
    HandlerDefinitionError,
    InvalidEventError,
    RedisCheckpointStore,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
    SettledError,
)
from redis_streams_aio.telemetry import Fact, StepFailed
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Cancelled, Order

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=2)
DEAD = "{orders}:g:dead"
INVOICES = "{orders}:invoices"


async def settled(broker: Broker, count: int) -> None:
    await until(lambda: broker.status[0].settled == count)


# -- what comes back is not lost with its group ---------------------------------------------------------------


async def test_p18_the_checkpoint_goes_back_for_an_event_that_is_replayed(url: str, redis: Redis) -> None:
    """Replayed, waiting for its retry, and the group is lost: it is made again before the event, not after it."""
    broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.02, reclaim_interval=0.05))
    first_time = True

    @broker.handler("orders", retry=RetryPolicy(base=3600, jitter=False))
    async def handle(order: Order, delivery: Delivery) -> None:
        if order.number == 1 and first_time:
            raise Reject("first")
        if order.number == 1 and delivery.history is not None:
            raise ValueError("again")

    async with broker:
        store = RedisCheckpointStore(broker.connection)
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await settled(broker, 2)
        await until(lambda: _stored(store, ids[1]))
        first_time = False
        await DeadLetters(broker.connection, "orders", "g").replay()
        await until(lambda: broker.status[0].delayed == 1)
        await until(lambda: _stored_below(store, ids[0]))
        await redis.xgroup_destroy("orders", "g")
        await until(lambda: _is_pending(redis, ids[0]))


async def _is_pending(redis: Redis, entry_id: str) -> bool:
    try:
        return bool(await redis.xpending_range("orders", "g", entry_id, entry_id, 1))
    except ResponseError:
        return False  # the group is not there yet


async def test_p18_the_checkpoint_goes_back_with_a_group_that_seeks(url: str, redis: Redis) -> None:
    may_end = asyncio.Event()
    may_end.set()
    broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.02))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        await may_end.wait()

    async with broker:
        store = RedisCheckpointStore(broker.connection)
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: _stored(store, ids[1]))
        may_end.clear()
        await ConsumerGroupManager(broker.connection).seek("orders", "g", "0")
        await broker.publish("orders", Order(3))  # ends the read that waits beyond the end
        await until(lambda: broker.status[0].running == 1)
        await until(lambda: _stored_below(store, ids[0]))
        may_end.set()


async def _stored(store: RedisCheckpointStore, entry_id: str) -> bool:
    return await store.load("orders", "g") == entry_id


async def _stored_below(store: RedisCheckpointStore, entry_id: str) -> bool:
    return (await store.load("orders", "g") or "9") < entry_id


# -- said too late --------------------------------------------------------------------------------------------


async def test_what_a_handlers_task_says_after_it_has_ended_is_refused(url: str, redis: Redis) -> None:
    """While the fate waits for Redis, and between two attempts: neither lost nor part of the next one."""
    broker = Broker(url, group="g")
    deliveries: list[Delivery] = []

    @broker.handler("orders", retry=RetryPolicy(base=0.5, jitter=False))
    async def handle(order: Order, delivery: Delivery) -> None:
        deliveries.append(delivery)
        if len(deliveries) == 1:
            raise ValueError("once")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].delayed == 1)
        with pytest.raises(SettledError):
            deliveries[0].publish(INVOICES, Order(7))
        with pytest.raises(SettledError):
            deliveries[0].ack()
        await settled(broker, 1)
    assert await redis.exists(INVOICES) == 0


# -- keys -----------------------------------------------------------------------------------------------------


@dataclass
class Mutable:
    """A key that changes while its event is handled."""

    number: int
    state: str = "new"

    def __hash__(self) -> int:
        return hash(self.state)


class Incomparable:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")


@pytest.mark.parametrize("batch", [None, 2])
async def test_p7_p14_keys_that_change_or_cannot_be_compared_hold_nobody(url: str, batch: int | None) -> None:
    changing, comparing = Broker(url, group="changing"), Broker(url, group="comparing")
    if batch is None:

        @changing.handler("orders", key=lambda order: order, concurrency=2)
        async def change(order: Mutable) -> None:
            order.state = "done"

        @comparing.handler("orders", key=lambda order: Incomparable(), event_type="Mutable", concurrency=2)
        async def compare(order: dict) -> None: ...
    else:

        @changing.handler("orders", key=lambda order: order, batch=batch, within=0.01)
        async def change_all(orders: list[Mutable]) -> None:
            for order in orders:
                order.state = "done"

        @comparing.handler("orders", key=lambda order: Incomparable(), event_type="Mutable", batch=batch, within=0.01)
        async def compare_all(orders: list[dict]) -> None: ...

    async with changing, comparing:
        await changing.publish_many("orders", [Mutable(number) for number in range(6)])
        await settled(changing, 6)
        await settled(comparing, 6)


# -- a full Redis, a careless permission ------------------------------------------------------------------------


async def test_p16_a_full_redis_is_drained_also_with_deduplicate_and_started_on(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    got: list[int] = []
    broker = Broker(server.url, group="g")

    @broker.handler("orders", deduplicate=60)
    async def handle(order: Order) -> None:
        got.append(order.number)

    try:
        async with Broker(server.url) as publisher:
            for number in range(5):
                await publisher.publish("orders", Order(number), event_id=f"e{number}")
        await redis.xgroup_create("orders", "g", "0")
        await redis.config_set("maxmemory", "1")
        async with broker:
            await settled(broker, 5)
            await redis.config_set("maxmemory", "0")
        assert got == list(range(5))
    finally:
        await redis.aclose()


async def test_p13_where_copies_cannot_be_looked_for_events_wait_and_none_is_given_up(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    facts: list[Fact] = []
    got: list[int] = []
    keys = [f"~{{orders}}:g:{name}" for name in ("dead", "failures", "checkpoint", "deleted", "leases", "released")]
    rules = ("on", ">secret", "~orders", *keys, "+@all")
    await redis.execute_command("ACL", "SETUSER", "app", *rules)
    broker = Broker(server.url.replace("//", "//app:secret@"), group="g", observers=[facts.append])

    @broker.handler("orders", deduplicate=60)
    async def handle(order: Order) -> None:
        got.append(order.number)

    try:
        async with broker:
            await broker.publish("orders", Order(1), event_id="e1")
            await until(lambda: [fact for fact in facts if isinstance(fact, StepFailed) and "duplicates" in fact.duty])
            assert got == []
            await redis.execute_command("ACL", "SETUSER", "app", "~{orders}:g:done:*")
            await settled(broker, 1)
        assert await redis.exists(DEAD) == 0
    finally:
        await redis.aclose()


# -- user code -------------------------------------------------------------------------------------------------


class Nameless(Reject):
    def __init__(self) -> None: ...


class Timeless(RetryLater):
    def __init__(self) -> None: ...


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise GeneratorExit


def _endless() -> RetryLater:
    error = RetryLater(1)
    error.delay = math.inf
    return error


@pytest.mark.parametrize("make", [Nameless, Timeless, SpeechlessError, _endless])
@pytest.mark.parametrize("batch", [None, 3])
async def test_p14_exceptions_of_the_users_own_making_are_fates(
    url: str, redis: Redis, make: Callable[[], Exception], batch: int | None
) -> None:
    broker = Broker(url, group="g")
    if batch is None:

        @broker.handler("orders", retry=SOON)
        async def handle(order: Order) -> None:
            raise make()
    else:

        @broker.handler("orders", retry=SOON, batch=batch, within=0.01)
        async def load(orders: list[Order]) -> None:
            raise make()

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert await redis.xlen(DEAD) == 1


@pytest.mark.parametrize("wrong", ["text", ValueError, 5, None])
async def test_p14_fail_takes_an_exception_and_nothing_else(url: str, wrong: object) -> None:
    raised: list[BaseException] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        with pytest.raises(TypeError, match="expected an exception") as caught:
            delivery.fail(wrong)  # type: ignore[arg-type]
        raised.append(caught.value)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert len(raised) == 1


@pytest.mark.parametrize("option", ["reclaim_interval", "checkpoint_interval", "lag_interval", "block_ms", "count"])
def test_settings_made_in_code_are_checked_as_those_of_a_file(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        Settings(**{option: 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dead_letter_retention"):
        Settings(dead_letter_retention=math.inf)
    with pytest.raises(ConfigError, match="cap"):
        RetryPolicy(cap=math.inf)
    with pytest.raises(HandlerDefinitionError, match="deduplicate=inf"):
        Broker("redis://127.0.0.1:1", group="g").handler("orders", deduplicate=math.inf)(_nothing)


async def _nothing(order: Order) -> None: ...


@pytest.mark.parametrize("follow_up", [True, False])
async def test_p14_a_handler_that_cancels_its_task_and_returns_is_settled_once(
    url: str, redis: Redis, follow_up: bool
) -> None:
    calls: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        calls.append(order.number)
        if follow_up:
            delivery.publish(INVOICES, order)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async with broker:
        await broker.publish_many("orders", [Order(1), Order(2)])
        await settled(broker, 2)
    assert calls == [1, 2]
    assert await redis.xlen(INVOICES) == (2 if follow_up else 0)


# -- order ---------------------------------------------------------------------------------------------------


async def test_p7_in_a_batch_of_two_types_a_failing_one_holds_those_of_the_other_type_behind_it(url: str) -> None:
    got: list[tuple[str, int]] = []
    failed: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=6, within=0.05, retry=SOON)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        for index, order in enumerate(orders):
            if order.number == 1 and not failed:
                failed.append(order.number)
                batch.fail(index, ValueError("once"))
            else:
                got.append(("order", order.number))

    @broker.handler("orders", batch=6, within=0.05, retry=SOON)
    async def cancel(orders: list[Cancelled]) -> None:
        got.extend(("cancelled", order.number) for order in orders)

    async with broker:
        for event in (Order(1), Cancelled(2), Order(3), Cancelled(4), Order(5), Cancelled(6)):
            await broker.publish("orders", event)
        await settled(broker, 6)
    assert [number for _, number in got] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("failing", [False, True])
async def test_p7_in_a_batch_of_two_types_each_key_keeps_its_order(url: str, failing: bool) -> None:
    got: dict[str, list[int]] = {}
    broker = Broker(url, group="g")

    def take(events: list, batch: BatchDelivery) -> None:
        stopped: set[str] = set()
        for index, event in enumerate(events):
            key = f"c{event.number % 3}"
            if failing and event.number % 5 == 0 and batch[index].failures == 0 and key not in stopped:
                stopped.add(key)
                batch.fail(index, ValueError("once"))
            elif key in stopped:
                batch.retry(index, 0)
            else:
                got.setdefault(key, []).append(event.number)

    options = {"batch": 8, "within": 0.02, "key": lambda event: event.number % 3, "retry": SOON}

    @broker.handler("orders", **options)  # type: ignore[arg-type]
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        take(orders, batch)

    options_of_the_other = dict(options)

    @broker.handler("orders", **options_of_the_other)  # type: ignore[arg-type]
    async def cancel(orders: list[Cancelled], batch: BatchDelivery) -> None:
        take(orders, batch)

    async with broker:
        for number in range(120):
            await broker.publish("orders", Order(number) if number // 3 % 2 else Cancelled(number))
        await settled(broker, 120)
    for key in range(3):
        assert got[f"c{key}"] == [number for number in range(120) if number % 3 == key]


# -- follow-ups, batches -----------------------------------------------------------------------------------------


async def test_a_follow_up_too_big_for_one_step_is_refused_in_the_handler(url: str, redis: Redis) -> None:
    raised: list[str] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish(INVOICES, order)
        with pytest.raises(InvalidEventError) as caught:
            delivery.publish(INVOICES, order, headers={f"h{number}": "x" for number in range(5000)})
        raised.append(str(caught.value))

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert "5000 are more than Redis writes in one step" in raised[0]
    assert await redis.xlen(INVOICES) == 1


async def test_a_wish_that_is_due_does_not_wait_for_a_full_batch_nor_spin(url: str) -> None:
    calls: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=10, within=1.0)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        calls.append(len(orders))
        if len(calls) == 1:
            batch.retry(0, 0.05)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: calls == [10])
        began, used = time.monotonic(), time.process_time()
        await settled(broker, 10)
        assert time.monotonic() - began < 0.7
        assert time.process_time() - used < 0.5
    assert calls == [10, 1]


async def test_what_waits_behind_a_busy_key_does_not_make_small_batches_of_the_others(url: str) -> None:
    may_end, began = asyncio.Event(), asyncio.Event()
    sizes: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=20, within=0.1, concurrency=2, key=lambda order: order.customer)
    async def load(orders: list[Order]) -> None:
        if orders[0].customer == "hot" and not began.is_set():
            began.set()
            await may_end.wait()
        else:
            sizes.append(len(orders))

    async with broker:
        await broker.publish("orders", Order(0, customer="hot"))
        await began.wait()
        await broker.publish_many("orders", [Order(number, customer="hot") for number in range(1, 41)])
        await until(lambda: broker.status[0].buffered == 40)
        for number in range(40):
            await broker.publish("orders", Order(number, customer=f"c{number}"))
        await until(lambda: sum(sizes) == 40)
        may_end.set()
    assert len(sizes) <= 20, sizes


async def test_the_error_of_a_follow_up_names_no_wrong_stream(url: str, redis: Redis) -> None:
    await redis.set("{orders}:text", "no stream")
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish("{orders}:text", order)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    [(_, letter)] = await redis.xrange(DEAD)
    assert "stream 'orders'" not in letter["dead:error"]


async def test_p12_a_connection_of_its_own_for_dead_letters_of_two_streams_in_one_place(
    url: str, redis: Redis, connection: Connection
) -> None:
    """Two streams with one place for dead letters: each replays its own."""
    broker = Broker(url, group="g")
    bad = True
    got: list[str] = []

    @broker.handler("orders", dead_letter="graveyard")
    async def bill(order: Order) -> None:
        if bad:
            raise Reject("no")
        got.append("orders")

    @broker.handler("payments", dead_letter="graveyard")
    async def pay(order: Order) -> None:
        if bad:
            raise Reject("no")
        got.append("payments")

    async with broker:
        await broker.publish("orders", Order(1))
        await broker.publish("payments", Order(1))
        await until(lambda: sum(status.settled for status in broker.status) == 2)
        bad = False
        await DeadLetters(connection, "orders", "g", dead_letter="graveyard").replay()
        await until(lambda: got == ["orders"])
        assert await redis.xlen("graveyard") == 1


# -- what a second reading found -------------------------------------------------------------------------------


async def test_p2_p16_reader_and_reclaimer_do_not_wait_for_each_others_room(url: str, redis: Redis) -> None:
    """With nearly all of the room taken by events that wait, what is new and what others left is still begun."""
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(count=1, reclaim_interval=0.02, block_ms=50))

    @broker.handler("orders", concurrency=2, order="none", lease=0.3)
    async def handle(order: Order) -> None:
        got.append(order.number)
        if order.number < 3:
            raise RetryLater(300)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: broker.status[0].delayed == 3)
        for number in range(3, 40):
            await broker.publish("orders", Order(number))
            await until(lambda number=number: number in got, 2)
            if number % 5 == 0:
                await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number + 1000}}}'})
                entries = await redis.xreadgroup("g", "dead", {"orders": ">"}, count=1)
                if entries:  # else ours was first
                    [(_, [(entry_id, _)])] = entries
                    await redis.xclaim("orders", "g", "dead", 0, [entry_id], idle=60_000)
                await until(lambda number=number: number + 1000 in got, 2)


async def test_p27_what_redis_cannot_take_at_a_drain_keeps_nothing_else_from_being_given_back(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    broker = Broker(server.url, group="g", settings=Settings(grace=0.05))
    began = asyncio.Event()

    @broker.handler("orders", concurrency=5, retry=RetryPolicy(base=1))
    async def handle(order: Order) -> None:
        if order.number == 0:
            raise ValueError("cannot be written down")
        began.set()
        await asyncio.sleep(3600)

    try:
        async with Broker(server.url) as publisher:
            await publisher.publish_many("orders", [Order(number) for number in range(5)])
        await redis.xgroup_create("orders", "g", "0")
        await redis.config_set("maxmemory", "1")
        async with broker:
            await until(lambda: broker.status[0].running == 4 and broker.status[0].delayed == 1)
        pending = await redis.xpending_range("orders", "g", "-", "+", 10)
        assert [entry["consumer"] for entry in pending] == ["redis_streams_aio:released"] * 5
        assert [consumer["name"] for consumer in await redis.xinfo_consumers("orders", "g")] == [
            "redis_streams_aio:released"
        ]
    finally:
        await redis.aclose()


async def test_events_without_an_id_cost_no_more_with_deduplicate(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", deduplicate=60)
    async def handle(order: Order) -> None: ...

    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(3000)])
    before = (await redis.info("commandstats")).get("cmdstat_xack", {"calls": 0})["calls"]
    async with broker:
        await settled(broker, 3000)
    assert (await redis.info("commandstats"))["cmdstat_xack"]["calls"] - before <= 3000 / 20, (
        "each has 20 at least; one by one they would be 3,000"
    )
