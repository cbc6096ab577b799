"""Everything arrives where it belongs, once each: publishers, streams and groups (P1, P8, P23)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

import pytest

from redis_streams_aio import Broker, Delivery, EventMessage, NotOpenError, RedisUnavailableError
from redis_streams_aio.testing.waiting import until

from .kit import Order, nothing_left, noting, once_each, open_all, orders, publish, subscriber, until_count

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_01_published_before_subscribing_arrives_once_payload_and_headers_intact(url: str, stream: str) -> None:
    """Events that are in the stream before the group exists are delivered to it (P8, P23)."""
    events: list[EventMessage[object]] = []

    async def work(_: Order, delivery: Delivery) -> None:
        events.append(delivery.event)

    sent = [Order(number, f"naïve-{number}", number / 7) for number in range(100)]
    ids: list[str] = []
    async with Broker(url) as publisher:
        for order in sent:
            headers = {"n": str(order.number), "ü": "é"}
            event_id = f"e{order.number}"
            ids.append(await publisher.publish(stream, order, key=order.customer, event_id=event_id, headers=headers))
    async with subscriber(url, stream, work):
        await until_count(events, 100)
        await nothing_left(url, stream)
    assert [event.id for event in events] == ids
    assert [event.payload for event in events] == sent
    assert [event.headers for event in events] == [{"n": str(number), "ü": "é"} for number in range(100)]
    assert [(event.event_type, event.key, event.event_id) for event in events] == [
        ("Order", f"naïve-{number}", f"e{number}") for number in range(100)
    ]


async def test_02_fifty_publishers_fifty_consumers_five_thousand_events_none_missing(url: str, stream: str) -> None:
    """In one group, each publisher and consumer with connections of its own (P1)."""
    got: list[int] = []

    async def publish_hundred(broker: Broker, first: int) -> None:
        for number in range(first, first + 100):
            await broker.publish(stream, Order(number))

    async with AsyncExitStack() as stack:
        await open_all(stack, (subscriber(url, stream, noting(got), concurrency=2) for _ in range(50)))
        publishers = await open_all(stack, (Broker(url) for _ in range(50)))
        await asyncio.gather(*(publish_hundred(broker, 100 * n) for n, broker in enumerate(publishers)))
        await until_count(got, 5000, 60)
        await nothing_left(url, stream)
    once_each(got, 5000)


async def test_03_twenty_streams_of_a_hundred_at_once_do_not_cross(url: str, new_stream: Callable[[], str]) -> None:
    """One broker, a handler for each stream (P1)."""
    got: dict[str, list[tuple[str, int]]] = {new_stream(): [] for _ in range(20)}
    broker = Broker(url, group="g")

    def handle(stream: str) -> None:
        @broker.handler(stream)
        async def note(order: Order) -> None:
            got[stream].append((order.customer, order.number))

    for stream in got:
        handle(stream)

    async def publish_hundred(stream: str) -> None:
        for number in range(100):
            await broker.publish(stream, Order(number, stream))

    async with broker:
        await asyncio.gather(*map(publish_hundred, got))
        await until(lambda: sum(map(len, got.values())) >= 2000, 20, "all of them")
    assert got == {stream: [(stream, number) for number in range(100)] for stream in got}


async def test_10_twenty_publishers_ten_thousand_events_and_closing_loses_none(url: str, stream: str) -> None:
    """Each closes at once after its last; one more is closed while it publishes (P23)."""
    acknowledged: list[int] = []
    got: list[int] = []

    async def publish_each(broker: Broker, numbers: Iterable[int]) -> None:
        for number in numbers:
            await broker.publish(stream, Order(number))
            acknowledged.append(number)

    async def publisher(first: int) -> None:
        async with Broker(url) as broker:
            await publish_each(broker, range(first, first + 500))

    await asyncio.gather(*(publisher(500 * index) for index in range(20)))
    once_each(acknowledged, 10_000)
    async with Broker(url) as hasty:
        numbers = itertools.count(10_000)
        calls = [asyncio.create_task(publish_each(hasty, numbers)) for _ in range(20)]
        await until_count(acknowledged, 11_000)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, NotOpenError | RedisUnavailableError)
    async with subscriber(url, stream, noting(got)):
        await nothing_left(url, stream)
    assert set(acknowledged) <= set(got) <= set(range(next(numbers)))
    assert max(Counter(got).values()) == 1


async def test_11_two_streams_do_not_cross(url: str, new_stream: Callable[[], str]) -> None:
    """The same group name and the same type of event on both (P1)."""
    left, right = new_stream(), new_stream()
    got: dict[str, list[int]] = {left: [], right: []}
    async with (
        subscriber(url, left, noting(got[left])) as broker,
        subscriber(url, right, noting(got[right])),
    ):
        await broker.publish_many(left, orders(range(100)))
        await broker.publish_many(right, orders(range(100, 200)))
        await nothing_left(url, left)
        await nothing_left(url, right)
    assert got == {left: list(range(100)), right: list(range(100, 200))}


async def test_14_a_new_group_sees_all_history(url: str, stream: str) -> None:
    """Also what another group has long settled (P8)."""
    old: list[int] = []
    new: list[int] = []
    await publish(url, stream, range(500))
    async with subscriber(url, stream, noting(old), group="g"):
        await nothing_left(url, stream, "g")
    async with subscriber(url, stream, noting(new), group="h"):
        await nothing_left(url, stream, "h")
    assert old == new == list(range(500))


async def test_16_two_groups_get_everything_and_members_share(url: str, stream: str) -> None:
    """Two members each, and none goes away empty-handed (P1, P6)."""
    got: dict[str, list[int]] = {name: [] for name in ("g1", "g2", "h1", "h2")}

    def member(name: str) -> Broker:
        return subscriber(url, stream, noting(got[name], 0.001), group=name[0], concurrency=4)

    async with AsyncExitStack() as stack:
        first, *_ = await open_all(stack, map(member, got))
        await first.publish_many(stream, orders(range(1000)))
        await nothing_left(url, stream, "g")
        await nothing_left(url, stream, "h")
    once_each(got["g1"] + got["g2"], 1000)
    once_each(got["h1"] + got["h2"], 1000)
    assert all(got.values()), "a member got nothing"
