"""Subscriptions come and go, and nothing is lost with them (P1, P6, P26, P27)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AsyncExitStack

import pytest

from redis_streams_aio import Broker, Connection, Delivery, Settings, StreamConsumer, StreamProducer
from redis_streams_aio.testing.waiting import until

from .kit import (
    BRISK,
    LEASE,
    Order,
    nothing_left,
    noting,
    once_each,
    open_all,
    orders,
    publish,
    subscriber,
    until_count,
)

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_06_a_consumer_closed_and_opened_again_five_times_over_five_thousand_loses_none(
    url: str, stream: str
) -> None:
    """Under load, and a graceful stop makes nobody do anything twice (P27)."""
    got: list[int] = []

    async def publish_all() -> None:
        async with Broker(url) as publisher:
            for first in range(0, 5000, 100):
                await publisher.publish_many(stream, orders(range(first, first + 100)))
                await until_count(got, first - 500, 30)

    publishing = asyncio.create_task(publish_all())
    for upto in (500, 1500, 2500, 3500, 4500, 5000):
        async with subscriber(url, stream, noting(got), concurrency=4):
            await until_count(got, upto, 30)
    await publishing
    await nothing_left(url, stream)
    once_each(got, 5000)


async def test_07_ten_subscribers_opened_and_closed_at_once(url: str, stream: str) -> None:
    """Three times over, with events under way (P27)."""
    got: list[int] = []
    async with Broker(url) as publisher:
        for upto in (1000, 2000, 3000):
            await publisher.publish_many(stream, orders(range(upto - 1000, upto)))
            stack = AsyncExitStack()
            brokers = await open_all(stack, (subscriber(url, stream, noting(got), concurrency=2) for _ in range(10)))
            await until_count(got, upto - 500)
            await asyncio.gather(*(broker.__aexit__(None, None, None) for broker in brokers))
            assert not any(broker.connection.is_open for broker in brokers)
    async with subscriber(url, stream, noting(got)):
        await nothing_left(url, stream)
    once_each(got, 3000)


async def test_12_the_delivery_knows_when_it_is_settled_or_lost(url: str, stream: str) -> None:
    """Settled when handled, lost when another has it, neither when the drain releases it (P4, P27)."""
    deliveries: dict[int, Delivery] = {}
    cancelled: list[int] = []
    may_end = asyncio.Event()

    async def work(order: Order, delivery: Delivery) -> None:
        deliveries[order.number] = delivery
        assert not delivery.settled
        assert not delivery.lost
        try:
            await (may_end.wait() if order.number == 0 else asyncio.Event().wait())
        except asyncio.CancelledError:
            cancelled.append(order.number)
            raise

    async with subscriber(url, stream, work, settings=Settings(grace=0.0), concurrency=3, lease=LEASE) as broker:
        ids = await broker.publish_many(stream, orders(range(3)))
        await until_count(deliveries, 3)
        may_end.set()
        await until(lambda: deliveries[0].settled)
        await broker.connection.call("XCLAIM", stream, "g", "another", 0, ids[1])
        await until(lambda: deliveries[1].lost)
        assert not deliveries[2].lost
    states = [(deliveries[number].settled, deliveries[number].lost) for number in range(3)]
    assert states == [(True, False), (False, True), (False, False)]
    assert sorted(cancelled) == [1, 2]


async def test_13_cancelling_the_subscription_ends_it_and_what_was_not_acknowledged_comes_again(
    url: str, stream: str, connection: Connection
) -> None:
    """Every second event is acknowledged, and the task is cancelled while it waits for more (P1, P5)."""
    first_time: list[int] = []
    again: list[int] = []

    async def iterate(consumer: StreamConsumer[Order], got: list[int]) -> None:
        async for event in consumer.subscribe():
            if got is again or event.payload.number % 2 == 0:
                await consumer.acknowledge(event)
            got.append(event.payload.number)

    async def cancelled_after(got: list[int], count: int) -> None:
        async with StreamConsumer(connection, stream, "g", payload_type=Order) as consumer:
            task = asyncio.create_task(iterate(consumer, got))
            await until_count(got, count)
            task.cancel()
            await asyncio.wait((task,), timeout=5)
            assert task.cancelled()

    await StreamProducer(connection).publish_many(stream, orders(range(20)))
    await cancelled_after(first_time, 20)
    await cancelled_after(again, 10)
    assert first_time == list(range(20))
    assert again == list(range(1, 20, 2))
    await nothing_left(url, stream)


async def test_41_one_consumer_then_eight_then_one_again_under_load(url: str, stream: str) -> None:
    """Each takes part, and those that leave hand nothing on twice (P6, P27)."""
    shares: list[list[int]] = [[] for _ in range(8)]
    grown = asyncio.Event()

    async def publish_all(broker: Broker) -> None:
        for first in range(0, 4000, 50):
            await broker.publish_many(stream, orders(range(first, first + 50)))
            if first == 1000:
                await grown.wait()
            await asyncio.sleep(0.005)  # the pace of the load

    members = [subscriber(url, stream, noting(got, 0.001), settings=BRISK, concurrency=2) for got in shares]
    async with members[0] as first:
        publishing = asyncio.create_task(publish_all(first))
        await until_count(shares[0], 500)
        async with AsyncExitStack() as stack:
            await open_all(stack, members[1:])
            grown.set()
            await until(lambda: min(map(len, shares)) >= 20, 20, "each of the eight had a share")
        await publishing
        await nothing_left(url, stream)
    once_each((number for got in shares for number in got), 4000)


async def test_43_held_never_exceeds_the_cap(url: str, stream: str) -> None:
    """Running, buffered and waiting for a retry together, however long the stream is (P6)."""
    held: list[int] = []

    async def work(_: Order, __: Delivery) -> None:
        [status] = broker.status
        held.append(status.running + status.buffered + status.delayed)
        await asyncio.sleep(0.0005)

    await publish(url, stream, range(1000))
    broker = subscriber(url, stream, work, settings=Settings(count=10), concurrency=5)
    async with broker:
        await until_count(held, 1000)
    assert max(held) <= 5 + 2 * 10


async def test_46_twenty_starts_and_stops_leave_no_task_no_thread_and_no_connection(url: str, stream: str) -> None:
    """Each with an event handled; counted in this process (P26)."""
    got: list[int] = []
    broker = subscriber(url, stream, noting(got))

    async def once() -> None:
        number = len(got)
        async with broker:
            await broker.publish(stream, Order(number))
            await until_count(got, number + 1)

    await once()  # what is imported and opened only once
    before = (len(asyncio.all_tasks()), threading.active_count(), _open_files())
    for _ in range(20):
        await once()
    await until(lambda: (len(asyncio.all_tasks()), threading.active_count(), _open_files()) == before)
    once_each(got, 21)


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208  # its own descriptor is in it, and gone before a Path could look
