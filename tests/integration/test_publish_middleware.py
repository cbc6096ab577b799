"""Publish middleware: it runs around every event, however that is published, and its errors go where they belong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    CallNext,
    Connection,
    Delivery,
    InvalidEventError,
    Outgoing,
    PublishNext,
    RedisUnavailableError,
    RetryPolicy,
    Settings,
    StreamProducer,
    testing,
)
from redis_streams_aio.middleware import Correlation, LogContext, timeout
from redis_streams_aio.telemetry import DeadLettered, Fact, Published, PublishFailed, RetryScheduled, Telemetry
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Cancelled, Order

AT_ONCE = RetryPolicy(max_failures=2, base=0.01, jitter=False)


async def stamped(event: Outgoing, call_next: PublishNext) -> None:
    await call_next(event.with_headers({"stamp": event.stream}))


async def fields(redis: Redis, stream: str) -> list[dict[str, str]]:
    return [entry for _, entry in await redis.xrange(stream)]


class Publishings:
    """Keeps what is told of publishing."""

    kinds: ClassVar = (Published, PublishFailed)

    def __init__(self) -> None:
        self.told: list[Published | PublishFailed] = []

    def __call__(self, fact: Fact) -> None:
        assert isinstance(fact, Published | PublishFailed)
        self.told.append(fact)


# -- every way of publishing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"event_id": "o-1"}, {"key": "ada", "headers": {"a": "b"}}])
async def test_one_event(url: str, redis: Redis, named: dict[str, Any]) -> None:
    returned: list[str | None] = []

    async def looking(event: Outgoing, call_next: PublishNext) -> None:
        returned.append(await call_next())

    async with Broker(url, publish_middleware=[looking, stamped]) as broker:
        entry_id = await broker.publish("orders", Order(1), **named)
    [entry] = await fields(redis, "orders")
    assert entry["h:stamp"] == "orders"
    assert "h:a" in entry or "headers" not in named
    assert returned == [entry_id]


async def test_many_events(url: str, redis: Redis) -> None:
    returned: list[str | None] = []

    async def numbered(event: Outgoing, call_next: PublishNext) -> None:
        assert isinstance(event.payload, Order)
        returned.append(await call_next(event.with_headers({"number": str(event.payload.number)})))

    async with Broker(url, publish_middleware=[numbered]) as broker:
        ids = await broker.publish_many("orders", (Order(number) for number in range(3)), headers={"a": "b"})
    assert [entry["h:number"] for entry in await fields(redis, "orders")] == ["0", "1", "2"]
    assert [entry["h:a"] for entry in await fields(redis, "orders")] == ["b"] * 3
    assert len(ids) == 3
    assert returned == [None] * 3, "they leave together"


async def test_on_a_plain_connection(url: str, redis: Redis) -> None:
    told = Publishings()
    async with Connection(url) as connection:
        producer = StreamProducer(connection, publish_middleware=[stamped], telemetry=Telemetry([told]))
        await producer.publish("orders", Order(1))
    assert [entry["h:stamp"] for entry in await fields(redis, "orders")] == ["orders"]
    assert len(told.told) == 1


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("batch", [None, 4])
async def test_follow_ups(url: str, redis: Redis, atomic: bool, batch: int | None) -> None:
    """Those of a handler, also after it was acknowledged and raised, and those of its middleware."""
    told = Publishings()
    broker = Broker(url, group="g", publish_middleware=[stamped], observers=[told], middleware=[later])

    @broker.handler("single" if batch else "orders", retry=AT_ONCE)
    async def bill(order: Order, delivery: Delivery) -> None:
        delivery.publish("{orders}:bills", Order(order.number), atomic=atomic)
        if order.number == 1:
            delivery.ack()
            raise KeyError("after its decision")
        if order.number == 2 and delivery.failures == 0:
            raise KeyError("before any")

    if batch:

        @broker.handler("orders", batch=batch, within=0.01, retry=AT_ONCE)
        async def load(orders: list[Order], batch: BatchDelivery) -> None:
            for order, delivery in zip(orders, batch, strict=True):
                delivery.publish("{orders}:bills", Order(order.number), atomic=atomic)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: sum(each.settled for each in broker.status) == 3)
    bills = await fields(redis, "{orders}:bills")
    assert sorted(msgspec.json.decode(each["payload"], type=Order).number for each in bills) == [0, 1, 2]
    assert [each["h:stamp"] for each in bills] == ["{orders}:bills"] * 3
    if not batch:
        late = await fields(redis, "{orders}:late")
        assert [each["h:stamp"] for each in late] == ["{orders}:late"] * len(late)
        assert len(late) == 2, "the other handler raised, and its middleware with it"
    published = [each for each in told.told if isinstance(each, Published)]
    assert sum(each.count for each in published) == sum(
        [await redis.xlen(s) for s in ("orders", "{orders}:bills", "{orders}:late")]
    )
    for each in published:
        assert each.event_type == "Order"
        assert each.bytes > 50
        assert (each.seconds is None) == each.stream.startswith("{")


async def later(delivery: Delivery | BatchDelivery, call_next: CallNext) -> None:
    await call_next()
    if isinstance(delivery, Delivery):
        delivery.publish("{orders}:late", Order(9))


async def test_in_the_harness() -> None:
    broker = Broker("memory://", group="g", publish_middleware=[stamped])
    got: list[str] = []

    @broker.handler("orders")
    async def bill(order: Order, delivery: Delivery) -> None:
        got.append(delivery.event.headers["stamp"])

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.settled()
    assert got == ["orders"]


# -- errors -----------------------------------------------------------------------------------------------------


async def refusing(event: Outgoing, call_next: PublishNext) -> None:
    raise PermissionError(event.stream)


async def test_p14_an_error_comes_out_of_publish_and_nothing_is_sent(url: str, redis: Redis) -> None:
    async with Broker(url, publish_middleware=[stamped, refusing]) as broker:
        with pytest.raises(PermissionError):
            await broker.publish("orders", Order(1))
        with pytest.raises(PermissionError):
            await broker.publish_many("orders", [Order(1)])
    assert await redis.exists("orders") == 0


async def test_p14_an_error_about_a_follow_up_is_the_handlers(url: str, redis: Redis) -> None:
    facts: list[Fact] = []

    async def of_bills(event: Outgoing, call_next: PublishNext) -> None:
        await (refusing(event, call_next) if event.stream.startswith("{") else call_next())

    broker = Broker(url, group="g", publish_middleware=[of_bills], observers=[facts.append])

    @broker.handler("orders", retry=AT_ONCE)
    async def bill(order: Order, delivery: Delivery) -> None:
        delivery.publish("{orders}:bills", Order(1))

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: any(isinstance(fact, DeadLettered) for fact in facts))
    assert [fact.error for fact in facts if isinstance(fact, RetryScheduled)] == ["PermissionError: {orders}:bills"]
    assert await redis.exists("{orders}:bills") == 0


async def not_published(event: Outgoing, call_next: PublishNext) -> None: ...
async def not_awaited(event: Outgoing, call_next: PublishNext) -> None:
    call_next()


async def twice(event: Outgoing, call_next: PublishNext) -> None:
    await call_next()
    await call_next()


async def with_nonsense(event: Outgoing, call_next: PublishNext) -> None:
    await call_next("orders")  # type: ignore[arg-type]


async def with_wrong_headers(event: Outgoing, call_next: PublishNext) -> None:
    await call_next(event.with_headers({"a": 1}))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (not_published, RuntimeError, "publish middleware not_published did not call call_next()"),
        (not_awaited, TypeError, "middleware not_awaited called call_next() and did not await it"),
        (twice, RuntimeError, "call_next was called before and has not failed"),
        (with_nonsense, TypeError, "call_next(event='orders'): expected the event"),
        (with_wrong_headers, InvalidEventError, "headers['a']=1: expected text"),
    ],
)
async def test_mistakes_are_told(url: str, wrong: Any, error: type[Exception], text: str) -> None:
    async with Broker(url, publish_middleware=[wrong]) as broker:
        for publish in (broker.publish("orders", Order(1)), broker.publish_many("orders", [Order(1)])):
            with pytest.raises(error) as raised:
                await publish
            assert text in str(raised.value)


async def test_another_stream_is_for_single_events(url: str, redis: Redis) -> None:
    async def elsewhere(event: Outgoing, call_next: PublishNext) -> None:
        await call_next(msgspec.structs.replace(event, stream="elsewhere"))

    async with Broker(url, publish_middleware=[elsewhere]) as broker:
        await broker.publish("orders", Order(1))
        with pytest.raises(InvalidEventError, match="changed the stream 'orders' of publish_many to 'elsewhere'"):
            await broker.publish_many("orders", [Order(1)])
    assert await redis.xlen("elsewhere") == 1


async def test_it_may_try_again_after_an_error(new_server: Callable[..., Server]) -> None:
    server, tries = new_server(), list[BaseException]()

    async def persistent(event: Outgoing, call_next: PublishNext) -> None:
        try:
            await call_next()
        except RedisUnavailableError as error:
            tries.append(error)
            await asyncio.to_thread(server.start)
            await call_next()

    async with Broker(server.url, settings=Settings(command_timeout=0.3), publish_middleware=[persistent]) as broker:
        await broker.publish("orders", Order(1))
        server.stop()
        await broker.publish("orders", Order(2))
    assert len(tries) == 1


# -- facts ------------------------------------------------------------------------------------------------------


async def test_p33_published_events_are_told_with_their_size(url: str, redis: Redis) -> None:
    told = Publishings()
    async with Broker(url, observers=[told]) as broker:
        await broker.publish("orders", Order(1))
        await broker.publish("orders", {"a": 1}, event_type="Other", event_id="x", key="ada")
        await broker.publish_many("orders", [Order(1), Order(2)])
        await broker.publish_many("orders", [Order(1), Cancelled(2)])
        with pytest.raises(InvalidEventError):
            await broker.publish("orders", {})
        await redis.set("text", "not a stream")
        with pytest.raises(Exception, match="text"):
            await broker.publish("text", Order(1))
        assert await broker.publish_many("orders", []) == []
    *published, failed = told.told
    assert [(each.event_type, each.count) for each in published] == [("Order", 1), ("Other", 1), ("Order", 2), ("", 2)]
    assert sum(each.count for each in published) == await redis.xlen("orders")
    for each in published:
        assert isinstance(each, Published)
        assert each.stream == "orders"
        assert 40 * each.count < each.bytes < 400 * each.count
        assert each.seconds is not None
    assert isinstance(failed, PublishFailed)
    assert (failed.stream, failed.event_type, failed.count) == ("text", "Order", 1)
    assert "WRONGTYPE" in failed.error or "stream" in failed.error
    assert failed.exception is not None


# -- what comes with the library -----------------------------------------------------------------------------------


async def test_a_correlation_id_follows_from_event_to_event(url: str) -> None:
    correlation = Correlation()
    got: dict[str, list[str | None]] = {"orders": [], "bills": [], "letters": []}
    broker = Broker(
        url,
        group="g",
        middleware=[correlation.handling],
        publish_middleware=[correlation.publishing],
    )

    @broker.handler("orders", retry=AT_ONCE)
    async def bill(order: Order, delivery: Delivery) -> None:
        got["orders"].append(correlation.current)
        if delivery.failures == 0 and order.number == 3:
            raise KeyError("once")
        delivery.publish("{orders}:bills", order)

    @broker.handler("{orders}:bills", batch=1, within=0)
    async def send(bills: list[Order]) -> None:
        got["bills"].append(correlation.current)
        await broker.publish_many("letters", bills)

    @broker.handler("letters")
    async def read(letter: Order) -> None:
        got["letters"].append(correlation.current)

    async with broker:
        with correlation.using("request-7"):
            await broker.publish("orders", Order(1))
        await until(lambda: len(got["letters"]) == 1)
        assert correlation.current is None
        await broker.publish("orders", Order(2), headers={"correlation_id": "given"})
        await until(lambda: len(got["letters"]) == 2)
        await broker.publish("orders", Order(4))
        await until(lambda: len(got["letters"]) == 3)
        async with Broker(url) as other:
            entry_id = await other.publish("orders", Order(3))
        await until(lambda: len(got["letters"]) == 4)
    made = got["letters"][2]
    assert made is not None
    assert len(made) == 32, "a new one"
    begun = f"orders:{entry_id}"
    assert got["letters"] == got["bills"] == ["request-7", "given", made, begun]
    assert got["orders"] == ["request-7", "given", made, begun, begun], "the same in each attempt"


async def test_without_a_maker_nothing_is_made(url: str, redis: Redis) -> None:
    correlation = Correlation(header="trace", make=None)
    async with Broker(url, publish_middleware=[correlation.publishing]) as broker:
        await broker.publish("orders", Order(1))
        with correlation.using("x"):
            await broker.publish("orders", Order(1))
    assert [each.get("h:trace") for each in await fields(redis, "orders")] == [None, "x"]


async def test_lines_of_a_handler_say_which_event_it_handles(url: str, caplog: pytest.LogCaptureFixture) -> None:
    correlation = Correlation()
    context = LogContext(correlation)
    broker = Broker(
        url,
        group="g",
        settings=Settings(consumer="me"),
        middleware=[correlation.handling, context.handling],
        publish_middleware=[correlation.publishing],
    )
    shop = logging.getLogger("shop")
    done = asyncio.Event()

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        await asyncio.create_task(in_a_task())

    async def in_a_task() -> None:
        shop.warning("billing", extra={"stream": "mine"})

    @broker.handler("loads", batch=2)
    async def load(orders: list[Order]) -> None:
        shop.warning("loading")
        done.set()

    caplog.handler.addFilter(context)
    try:
        async with broker:
            with correlation.using("request-7"):
                entry_id = await broker.publish("orders", Order(1))
            loads = await broker.publish_many("loads", [Order(1), Order(2)])
            await asyncio.wait_for(done.wait(), 20)
            await until(lambda: sum(each.settled for each in broker.status) == 3)
        shop.warning("outside")
    finally:
        caplog.handler.removeFilter(context)
    one, many, outside = sorted((each for each in caplog.records if each.name == "shop"), key=lambda each: each.msg)
    shown = ("stream", "group", "consumer", "handler", "id", "event_type", "attempt", "correlation_id")
    assert [vars(one).get(name) for name in shown] == ["mine", "g", "me", "bill", entry_id, "Order", 1, "request-7"]
    assert [vars(many).get(name) for name in (*shown[:6], "count")] == [
        "loads",
        "g",
        "me",
        "load",
        loads[0],
        "Order",
        2,
    ]
    assert not {"stream", "id", "correlation_id"} & vars(outside).keys()


async def test_a_limit_for_all_handlers(url: str) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", middleware=[timeout(0.05)], observers=[facts.append])

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def bill(order: Order) -> None:
        await asyncio.sleep(3600)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: any(isinstance(fact, DeadLettered) for fact in facts), 20)
    [dead] = [fact for fact in facts if isinstance(fact, DeadLettered)]
    assert dead.error.startswith("TimeoutError")
