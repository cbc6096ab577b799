"""What an adversary found, and what keeps it from coming back: user code, sick neighbours, and bad moments."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    Delivery,
    HandlerDefinitionError,
    PartialPublishError,
    RedisUnavailableError,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
    StreamConsumer,
    StreamProducer,
    UnansweredError,
)
from redis_streams_aio.telemetry import EntriesVanished, Fact, LagMeasured, LeaseLost
from redis_streams_aio.testing.waiting import until
from tests.events import Order

DEAD = "{orders}:g:dead"
SOON = RetryPolicy(base=0.001, cap=0.01, max_failures=2)


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [
        OSError("bad\udcff.txt"),
        SpeechlessError(),
        Reject("bad\udcff"),
        Reject(None),  # type: ignore[arg-type]
        GeneratorExit(),
        BaseExceptionGroup("several", [KeyError("a"), GeneratorExit()]),
        StopIteration(),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        type("PanicError", (BaseException,), {})("panic"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["handler", "key", "middleware", "codec"])
async def test_p14_whatever_user_code_raises_is_a_fate(
    url: str, redis: Redis, error: BaseException, where: str
) -> None:
    got: list[int] = []

    def fail(number: int) -> None:
        if number == 1:
            raise error

    class Picky:
        def decoder(self, _: type[Order]) -> Callable[[list[bytes]], Order]:
            def decode(fields: list[bytes]) -> Order:
                number = int(fields[3][10:11])
                if where == "codec":
                    fail(number)
                return Order(number)

            return decode

    def key(order: Order) -> str:
        if where == "key":
            fail(order.number)
        return order.customer

    async def around(delivery: Delivery, call_next) -> None:  # type: ignore[no-untyped-def]
        if where == "middleware":
            fail(delivery.payload.number)  # type: ignore[attr-defined]
        await call_next()

    broker = Broker(url, group="g")

    @broker.handler("orders", key=key, concurrency=2, retry=SOON, codec=Picky(), middleware=[around])
    async def handle(order: Order) -> None:
        if where == "handler":
            fail(order.number)
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(4)])
        await until(lambda: redis.exists(DEAD), what=repr(broker.status))
        await until(lambda: sorted(got) == [0, 2, 3])
        await until(lambda: broker.status[0].settled == 4)
    [(_, letter)] = await redis.xrange(DEAD)
    assert letter["dead:reason"] in ("failures", "gave_up", "rejected")


async def test_p14_a_handlers_task_that_is_cancelled_by_the_application_is_a_failure(url: str, redis: Redis) -> None:
    running: list[asyncio.Task[object]] = []
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order) -> None:
        if order.number == 1:
            running.append(asyncio.current_task())  # type: ignore[arg-type]
            await asyncio.sleep(60)
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        for count in (1, 2):
            await until(lambda n=count: len(running) == n)
            running[-1].cancel()
        await until(lambda: got == [0, 2])
        running[-1].cancel()  # while it waits for work
        await broker.publish("orders", Order(3))
        await until(lambda: got == [0, 2, 3])
    assert await redis.xlen(DEAD) == 1


async def test_p14_a_handler_that_swallows_a_cancellation_leaves_no_trace_of_it(url: str) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order) -> None:
        if order.number == 0:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if order.number == 1:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: got == [0, 2])


async def test_p14_an_observer_that_raises_a_cancellation_ends_nothing(url: str) -> None:
    got: list[int] = []

    def observer(fact: Fact) -> None:
        raise asyncio.CancelledError

    broker = Broker(url, group="g", observers=[observer])

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])


async def test_p13_a_crash_of_the_broker_counts_the_delivery_that_caused_it(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements

    def broken(self: Acknowledgements, raw_id: bytes) -> None:
        raise ZeroDivisionError("a bug")

    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    monkeypatch.setattr(Acknowledgements, "_gather_first", broken)
    with pytest.raises(ZeroDivisionError):
        async with broker:
            await broker.publish("orders", Order(1))
            await asyncio.sleep(60)
    [pending] = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert pending["times_delivered"] == 1


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_p17_a_group_that_was_there_and_is_lost_before_anything_is_settled(
    url: str, redis: Redis, kind: str
) -> None:
    """Never silently at `$`."""
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":0}'})
    await redis.xgroup_create("orders", "g", "$")
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(checkpoints=kind, checkpoint_interval=0.01))  # type: ignore[arg-type]

    @broker.handler("orders", start="$")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        pipeline = redis.pipeline(transaction=True)
        pipeline.xgroup_destroy("orders", "g")
        for number in range(1, 4):
            pipeline.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number}}}'})
        await pipeline.execute()
        await until(lambda: got == [1, 2, 3])


async def test_p7_a_failing_key_with_many_behind_it_stops_no_other_key(url: str) -> None:
    got: list[str] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=4, key=lambda order: order.customer, retry=RetryPolicy(base=60, jitter=False))
    async def handle(order: Order) -> None:
        if order.customer == "A":
            raise ValueError("no")
        got.append(order.customer)

    async with broker:
        await broker.publish_many("orders", [Order(number, "A") for number in range(20)])
        await until(lambda: broker.status[0].delayed)
        await broker.publish_many("orders", [Order(number, "B") for number in range(20)])
        await until(lambda: len(got) == 20, 3)


async def test_p3_p28_a_sick_stream_keeps_no_other_from_its_leases_and_its_lag(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    release = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(lag_interval=0.05), observers=[facts.append])

    @broker.handler("a", lease=0.6)
    async def handle_a(order: Order) -> None:
        await release.wait()

    @broker.handler("b", lease=0.6)
    async def handle_b(order: Order) -> None:
        await release.wait()

    async with broker:
        await broker.publish("a", Order(1))
        await broker.publish("b", Order(1))
        await until(lambda: all(status.running for status in broker.status))
        await redis.set("a", "no stream")
        facts.clear()
        until_then = time.monotonic() + 1.5
        while time.monotonic() < until_then:
            [pending] = await redis.xpending_range("b", "g", "-", "+", 10)
            assert pending["time_since_delivered"] < 550
            await asyncio.sleep(0.05)
        assert any(isinstance(fact, LagMeasured) and fact.report.stream == "b" for fact in facts)
        await redis.delete("a")
        release.set()


async def test_p3_what_is_settled_and_not_yet_written_is_renewed(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await StreamProducer(connection).publish("orders", Order(1))
    async with StreamConsumer(connection, "orders", "g", name="me") as consumer:
        await consumer.fetch(10)
        [delivery] = consumer._holdings.by_id.values()
        await redis.xclaim("orders", "g", "me", 0, [delivery.raw_id], idle=20_000, justid=True)
        consumer._settlement.ack(delivery)
        await consumer.renew()
        [pending] = await consumer.get_pending()
        assert pending.idle < 10


async def test_p7_own_entries_come_before_reclaimed_ones_after_a_crash(url: str, redis: Redis) -> None:
    """A retry made the first entry's lease younger than that of those behind it."""
    async with Broker(url) as publisher:
        ids = await publisher.publish_many("orders", [Order(number) for number in range(5)])
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"})
    await redis.xclaim("orders", "g", "me", 0, ids[1:], idle=3_600_000, justid=True)
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(consumer="me"))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await until(lambda: len(got) == 5)
    assert got == [0, 1, 2, 3, 4]


async def test_p11_wishes_leave_no_record_and_no_first_failure(url: str, redis: Redis) -> None:
    seen: list[tuple[int, float]] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders")
        async def handle(order: Order, delivery: Delivery) -> None:
            seen.append((delivery.failures, delivery.first_failure))
            if len(seen) < 3:
                raise RetryLater(0.1)

        return broker

    async with consumer() as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(seen) == 2 and broker.status[0].delayed)
    async with consumer() as broker:
        await until(lambda: broker.status[0].settled == 1)
    assert seen == [(0, 0.0)] * 3
    assert await redis.hlen("{orders}:g:failures") == 0
    for delay in (float("inf"), float("nan"), -1.0):
        with pytest.raises(ValueError, match="seconds"):
            RetryLater(delay)


async def test_p13_a_lost_delivery_holds_no_lane(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    got: list[int] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order) -> None:
        if order.number == 1:
            raise RetryLater(3600)
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].delayed)
        await redis.delete("orders")
        await broker.publish("orders", Order(2))
        await until(lambda: got == [2])


async def test_p4_the_failure_of_a_lost_delivery_is_not_written_when_we_have_the_entry_again(
    connection: Connection, redis: Redis
) -> None:
    from redis_streams_aio.consumer.work.carrying import Decided, write_fates
    from redis_streams_aio.handlers.fates import DeadLetter, Retry

    await StreamProducer(connection).publish("orders", Order(1))
    async with StreamConsumer(connection, "orders", "g", name="me") as consumer:
        await consumer.fetch(1)
        [first] = consumer._holdings.by_id.values()
        await redis.xclaim("orders", "g", "thief", 0, [first.raw_id])
        assert await consumer.renew() == 1
        await redis.xclaim("orders", "g", "me", 0, [first.raw_id])
        settlement = consumer._settlement
        for fate in (Retry(1, 1, "x"), DeadLetter("failures", "x", 1)):
            assert await write_fates(settlement, [Decided(first, fate, fate)]) == []
    assert await redis.exists(DEAD, "{orders}:g:failures") == 0


async def test_p6_a_dead_consumers_backlog_is_shared_by_those_who_are_idle(url: str, redis: Redis) -> None:
    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(100)])
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "dead", {"orders": ">"}, count=100)
    ids = [entry["message_id"] for entry in await redis.xpending_range("orders", "g", "-", "+", 100)]
    await redis.xclaim("orders", "g", "dead", 0, ids, idle=3_600_000, justid=True)
    handled: dict[int, int] = {}

    def member(name: int) -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            await asyncio.sleep(0.05)
            handled[order.number] = name

        return broker

    async with contextlib.AsyncExitStack() as stack:
        for name in range(4):
            await stack.enter_async_context(member(name))
        await until(lambda: len(handled) == 100, 20)
    shares = [list(handled.values()).count(name) for name in range(4)]
    assert min(shares) > 5, shares


async def test_p20_an_entry_deleted_while_it_waits_for_its_retry_is_told_of(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=60), observers=[facts.append])

    @broker.handler("orders", lease=0.3, retry=RetryPolicy(base=60, jitter=False))
    async def handle(order: Order) -> None:
        raise ValueError("no")

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].delayed)
        await redis.xdel("orders", entry_id)
        await until(lambda: any(isinstance(fact, EntriesVanished) for fact in facts))
        await until(lambda: _is_empty(redis))
        assert broker.status[0].delayed == 0
    assert not any(isinstance(fact, LeaseLost) for fact in facts)


async def _is_empty(redis: Redis) -> bool:
    return await redis.hlen("{orders}:g:failures") == 0


async def test_side_keys_of_another_type_stop_nothing(url: str, redis: Redis) -> None:
    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(3)])
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"}, count=2)
    await redis.set("{orders}:g:failures", "no hash")
    await redis.hset("{orders}:g:checkpoint", "no", "text")
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(consumer="me"))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await until(lambda: got == [0, 1, 2])
        await until(lambda: broker.status[0].settled == 3)


async def test_a_refused_publish_that_is_then_lost_says_what_was_written(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis_streams_aio import RedisRefusedError
    from redis_streams_aio.connection.link import Link

    send, calls = Link.send, 0

    async def refuse_then_lose(self: Link, packed: bytes, expected: int) -> list[object]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise UnansweredError("lost")
        answers = await send(self, packed, expected)
        return [*answers[:3], *[RedisRefusedError("OOM")] * (expected - 3)]

    async with Broker(url) as broker:
        monkeypatch.setattr(Link, "send", refuse_then_lose)
        with pytest.raises(PartialPublishError) as caught:
            await broker.publish_many("orders", [Order(number) for number in range(5)])
        monkeypatch.undo()
    assert [entry_id is not None for entry_id in caught.value.ids] == [True] * 3 + [False] * 2


async def test_waiting_for_room_in_the_queue_is_part_of_the_time_a_publish_may_take(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis_streams_aio.connection.wire import outbox

    monkeypatch.setattr(outbox, "MOST_QUEUED", 100)
    async with Broker(url, settings=Settings(command_timeout=0.3)) as broker:
        await broker.publish("orders", Order(0))
        await redis.client_pause(2000, all=True)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(*(broker.publish("orders", Order(n)) for n in range(20)), return_exceptions=True)
        assert all(isinstance(answer, RedisUnavailableError) for answer in answers)
        assert loop.time() - began < 1.5
        await redis.client_unpause()


async def test_keys_that_change_or_cannot_be_compared_end_nothing(url: str) -> None:
    class Odd:
        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            self.number += 1
            return self.number

    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=2, key=lambda order: Odd(order.number))
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(20)])
        await until(lambda: sorted(got) == list(range(20)))


def test_an_async_key_function_is_refused() -> None:
    async def key(order: Order) -> str:
        return order.customer

    with pytest.raises(HandlerDefinitionError, match="key: is an async function"):

        @Broker("memory://", group="g").handler("orders", key=key)
        async def handle(order: Order) -> None: ...


async def test_any_takes_every_event(url: str) -> None:
    got: list[object] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Any) -> None:
        got.append(order)

    async with broker:
        await broker.publish("orders", {"a": 1}, event_type="X")
        await until(lambda: got == [{"a": 1}])


async def test_a_handler_cannot_close_its_own_broker(url: str) -> None:
    errors: list[BaseException] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        try:
            await broker.__aexit__(None, None, None)
        except RuntimeError as error:
            errors.append(error)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: errors)
    assert "a handler cannot close the broker" in str(errors[0])


async def test_publishing_while_the_connection_closes_breaks_nothing(url: str) -> None:
    for _ in range(20):
        broker = Broker(url)
        async with broker:
            late = asyncio.create_task(broker.publish("orders", Order(1)))
            await asyncio.sleep(0)
        await asyncio.gather(late, return_exceptions=True)
        assert not broker.connection.is_open
    async with broker:
        await broker.publish("orders", Order(1))


async def test_p26_consumers_that_come_and_go_leave_no_readers_behind(connection: Connection) -> None:
    for _ in range(5):
        async with StreamConsumer(connection, "orders", "g", block=0.01) as consumer:
            await consumer.fetch(1)
    assert not connection._readers


async def test_p12_without_the_right_to_acknowledge_no_dead_letters_pile_up(url: str, redis: Redis) -> None:
    await redis.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-xack"])
    tries: list[int] = []
    settings = Settings(reclaim_interval=0.05)
    broker = Broker(url.replace("127.0.0.1", "app:secret@127.0.0.1"), group="g", settings=settings)

    @broker.handler("orders", lease=0.1)
    async def handle(order: Order) -> None:
        tries.append(order.number)
        raise Reject("no")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(tries) >= 3)
        assert await redis.xlen(DEAD) == 0
    assert (await redis.xpending("orders", "g"))["pending"] == 1
    await redis.acl_deluser("app")
