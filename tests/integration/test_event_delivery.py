"""Story.

A published event reaches its handlers, soon, whole, in every group (P1, P8, P23, acceptance 1, 11, 14, 16).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TypedDict

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Delivery, EventMessage, FieldsCodec, JsonCodec, MsgpackCodec, RawCodec, Router
from redis_streams_aio.testing.waiting import until
from tests.events import Cancelled, Order


async def test_an_event_reaches_its_handler_within_500_ms_and_in_the_median_below_5_ms(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    published: dict[int, float] = {}
    latencies: list[float] = []
    broker = Broker(url, group="billing")

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        latencies.append(time.perf_counter() - published[order.number])

    async with broker:
        for number in range(200):
            published[number] = time.perf_counter()
            await broker.publish("orders", Order(number))
            await until(lambda n=number: len(latencies) > n, 2)

    median, longest = statistics.median(latencies) * 1000, max(latencies) * 1000
    with capsys.disabled():
        print(f"\npublish to handler: median {median:.2f} ms, longest {longest:.2f} ms, of {len(latencies)}")
    assert longest < 500
    assert median < 5


async def test_two_groups_both_get_every_event_once(url: str) -> None:
    billed: list[int] = []
    mailed: list[int] = []
    broker = Broker(url, group="billing")

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        billed.append(order.number)

    @broker.handler("orders", group="mail")
    async def mail(order: Order) -> None:
        mailed.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(500)])
        await until(lambda: len(billed) >= 500 and len(mailed) >= 500)
    assert billed == mailed == list(range(500))


async def test_members_of_one_group_share_its_events(url: str) -> None:
    handled: list[tuple[str, int]] = []

    def member(name: str) -> Broker:
        broker = Broker(url, group="billing")

        @broker.handler("orders", concurrency=4)
        async def bill(order: Order) -> None:
            handled.append((name, order.number))
            await asyncio.sleep(0.001)

        return broker

    async with member("a") as first, member("b"):
        await first.publish_many("orders", [Order(number) for number in range(400)])
        await until(lambda: len(handled) >= 400)
    assert sorted(number for _, number in handled) == list(range(400))
    assert {name for name, _ in handled} == {"a", "b"}


async def test_what_was_published_before_the_first_subscription_arrives_whole(url: str, redis: Redis) -> None:
    events: list[EventMessage[object]] = []
    async with Broker(url) as publisher:
        entry_id = await publisher.publish(
            "orders", Order(1, "ada", 2.5), key="ada", event_id="e-1", headers={"traceparent": "00-ab", "naïve": "ja"}
        )
    broker = Broker(url, group="billing")

    @broker.handler("orders")
    async def bill(order: Order, delivery: Delivery) -> None:
        events.append(delivery.event)

    async with broker:
        await until(lambda: events)
    event = events[0]
    assert event.id == entry_id
    assert event.payload == Order(1, "ada", 2.5)
    assert (event.stream, event.event_type, event.key, event.event_id) == ("orders", "Order", "ada", "e-1")
    assert event.headers == {"traceparent": "00-ab", "naïve": "ja"}
    assert abs(event.timestamp.timestamp() - time.time()) < 60
    [(_, fields)] = await redis.xrange("orders")
    assert list(fields) == ["event_type", "payload", "key", "event_id", "h:traceparent", "h:naïve"]


@dataclass
class Point:
    x: int
    y: int


class Address(TypedDict):
    street: str


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()])
async def test_payloads_arrive_as_the_type_of_the_annotation(url: str, codec: JsonCodec | MsgpackCodec) -> None:
    got: list[object] = []
    broker = Broker(url, group="g", codec=codec)

    @broker.handler("structs")
    async def struct(order: Order) -> None:
        got.append(order)

    @broker.handler("dataclasses")
    async def point(point: Point) -> None:
        got.append(point)

    @broker.handler("typeddicts", event_type="Address")
    async def address(address: Address) -> None:
        got.append(address)

    @broker.handler("dicts")
    async def anything(payload: dict) -> None:  # type: ignore[type-arg]
        got.append(payload)

    @broker.handler("bytes")
    async def raw(payload: bytes) -> None:
        got.append(codec.encode({"a": 1}) == payload)

    async with broker:
        await broker.publish("structs", Order(7))
        await until(lambda: len(got) == 1)
        await broker.publish("dataclasses", Point(1, 2))
        await until(lambda: len(got) == 2)
        await broker.publish("typeddicts", {"street": "Rue"}, event_type="Address")
        await until(lambda: len(got) == 3)
        await broker.publish("dicts", {"a": [1, None]}, event_type="thing")
        await until(lambda: len(got) == 4)
        await broker.publish("bytes", {"a": 1}, event_type="thing")
        await until(lambda: len(got) == 5)
    assert got == [Order(7), Point(1, 2), {"street": "Rue"}, {"a": [1, None]}, True]


async def test_an_entry_says_its_own_format_so_publishers_may_move_to_another(url: str) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        got.append(order.number)

    async with broker, Broker(url, codec=MsgpackCodec()) as other:
        await broker.publish("orders", Order(1))
        await other.publish("orders", Order(2))
        await until(lambda: len(got) == 2)
    assert got == [1, 2]


async def test_raw_bytes_pass_through_untouched(url: str) -> None:
    got: list[bytes] = []
    broker = Broker(url, group="g", codec=RawCodec())

    @broker.handler("blobs")
    async def blob(payload: bytes) -> None:
        got.append(payload)

    async with broker:
        await broker.publish("blobs", bytes(range(256)), event_type="blob")
        await until(lambda: got)
    assert got == [bytes(range(256))]


async def test_a_foreign_producers_flat_fields_become_the_handlers_type(url: str, redis: Redis) -> None:
    got: list[Order] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", codec=FieldsCodec())
    async def bill(order: Order) -> None:
        got.append(order)

    async with broker:
        await redis.xadd("orders", {"number": "3", "customer": "bob", "total": "9.5"})
        await until(lambda: got)
    assert got == [Order(3, "bob", 9.5)]


async def test_handlers_of_one_subscription_are_told_apart_by_event_type(url: str) -> None:
    got: list[object] = []
    router = Router()
    broker = Broker(url, group="g")

    @router.handler("orders")
    async def bill(order: Order) -> None:
        got.append(order)

    @router.handler("orders")
    async def cancel(cancelled: Cancelled) -> None:
        got.append(cancelled)

    @router.handler("orders")
    async def rest(payload: dict) -> None:  # type: ignore[type-arg]
        got.append(payload)

    broker.include(router, prefix="eu:")
    async with broker:
        await broker.publish("eu:orders", Order(1))
        await broker.publish("eu:orders", Cancelled(1))
        await broker.publish("eu:orders", {"x": 1}, event_type="Else")
        await until(lambda: len(got) == 3)
        assert len(broker.status) == 1
    assert got == [Order(1), Cancelled(1), {"x": 1}]


async def test_twenty_streams_do_not_cross(url: str) -> None:
    got: dict[str, list[int]] = {f"s{index}": [] for index in range(20)}
    broker = Broker(url, group="g")
    for stream, numbers in got.items():

        @broker.handler(stream)
        async def handle(order: Order, delivery: Delivery, numbers: list[int] = numbers) -> None:
            assert order.customer == delivery.stream
            numbers.append(order.number)

    async with broker:
        await asyncio.gather(
            *(broker.publish_many(stream, [Order(n, stream) for n in range(100)]) for stream in got),
        )
        await until(lambda: sum(map(len, got.values())) >= 2000)
    assert all(numbers == list(range(100)) for numbers in got.values())


async def test_fifty_publishers_fifty_consumers_five_thousand_events_none_missing(url: str) -> None:
    """Acceptance 2."""
    handled: list[int] = []

    def member() -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders", concurrency=2)
        async def bill(order: Order) -> None:
            handled.append(order.number)

        return broker

    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(member()) for _ in range(50)]
        await asyncio.gather(
            *(
                broker.publish_many("orders", [Order(index * 100 + n) for n in range(100)])
                for index, broker in enumerate(members)
            )
        )
        await until(lambda: len(handled) >= 5000, 30)
    assert sorted(handled) == list(range(5000))


async def test_p23_order_of_calls_from_one_task_is_the_order_in_the_stream(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:

        async def publisher(name: str) -> list[str]:
            return [await broker.publish("orders", Order(n, name)) for n in range(50)]

        ids = await asyncio.gather(*(publisher(str(index)) for index in range(20)))
    in_stream = [entry_id for entry_id, _ in await redis.xrange("orders")]
    assert len(in_stream) == 1000
    place = {entry_id: index for index, entry_id in enumerate(in_stream)}
    for of_one in ids:
        assert [place[entry_id] for entry_id in of_one] == sorted(place[entry_id] for entry_id in of_one)


async def test_p23_publishing_tasks_share_round_trips(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        await broker.publish("orders", Order(0))
        before = (await redis.info("stats"))["total_reads_processed"]
        await asyncio.gather(*(broker.publish("orders", Order(n)) for n in range(1000)))
        reads = (await redis.info("stats"))["total_reads_processed"] - before
    assert reads < 100


async def test_middleware_wraps_every_handler(url: str) -> None:
    seen: list[str] = []

    async def outer(delivery: Delivery, call_next) -> None:  # type: ignore[no-untyped-def]
        seen.append("before")
        await call_next()
        seen.append("after")

    broker = Broker(url, group="g", middleware=[outer])

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        seen.append("handler")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(seen) == 3)
    assert seen == ["before", "handler", "after"]
