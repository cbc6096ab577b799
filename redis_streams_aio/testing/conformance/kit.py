"""Shared by the tests of the suite: an event, a broker with one handler, and facts about a stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from contextlib import AsyncExitStack
from typing import Literal, TypedDict, Unpack

import msgspec

from redis_streams_aio import Broker, Connection, ConsumerGroupManager, Delivery, RetryPolicy, Settings, StreamManager
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import Observer
from redis_streams_aio.testing.waiting import until

GROUPS = ("g", "h")
"""The groups that tests use: what belongs to them is deleted with a stream."""

LEASE = 0.4
"""Short, so that what is longer than a lease does not take long."""

BRISK = Settings(reclaim_interval=0.1, checkpoint_interval=0.05)
SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=1000)
"""Again soon, and never given up."""


class Order(msgspec.Struct):
    """The event."""

    number: int
    customer: str = "ada"
    total: float = 1.0


Work = Callable[[Order, Delivery], Awaitable[None]]


class Options(TypedDict, total=False):
    """Options of a handler."""

    concurrency: int
    order: Literal["stream", "key", "none"]
    start: str
    lease: float
    retry: RetryPolicy


def subscriber(
    url: str,
    stream: str,
    work: Work,
    *,
    group: str = "g",
    settings: Settings | None = None,
    observers: Sequence[Observer] = (),
    **options: Unpack[Options],
) -> Broker:
    """A broker with one handler."""
    broker = Broker(url, group=group, settings=settings, observers=observers)

    @broker.handler(stream, **options)
    async def handle(order: Order, delivery: Delivery) -> None:
        await work(order, delivery)

    return broker


def noting(got: list[int], seconds: float = 0) -> Work:
    """Work that notes each number, after `seconds`."""

    async def work(order: Order, _: Delivery) -> None:
        await asyncio.sleep(seconds)
        got.append(order.number)

    return work


def orders(numbers: Iterable[int]) -> list[Order]:
    """An order of each number."""
    return [Order(number) for number in numbers]


async def publish(url: str, stream: str, numbers: Iterable[int]) -> list[str]:
    """Publish an order of each number, and return the ids."""
    async with Broker(url) as broker:
        return await broker.publish_many(stream, orders(numbers))


async def open_all(stack: AsyncExitStack, brokers: Iterable[Broker]) -> list[Broker]:
    """All opened at once, until the stack ends."""
    return list(await asyncio.gather(*(stack.enter_async_context(broker) for broker in brokers)))


async def until_count(got: Sized, count: int, seconds: float = 30.0) -> None:
    """Wait until `got` has `count` items."""
    await until(lambda: len(got) >= count, seconds, f"{count} of them")


async def nothing_left(url: str, stream: str, group: str = "g") -> None:
    """Wait until all that is in the stream was delivered to the group, and settled."""

    async def settled() -> bool:
        info = await groups.get_group_info(stream, group)
        last = (await streams.get_stream_info(stream)).last_generated_id
        return info.pending == 0 and info.last_delivered_id == last

    async with Connection(url) as connection:
        groups, streams = ConsumerGroupManager(connection), StreamManager(connection)
        await until(settled, 30, "everything settled")


def once_each(got: Iterable[int], count: int) -> None:
    """`got` has each number below `count` once; says which are missing, extra or repeated."""
    times = Counter(got)
    missing = [number for number in range(count) if number not in times]
    strange = {number: seen for number, seen in times.items() if seen != 1 or number not in range(count)}
    if missing or strange:
        raise AssertionError(f"missing: {missing}; extra or repeated: {strange}")


async def delete(connection: Connection, stream: str) -> None:
    """Delete a stream, and the keys beside it."""
    beside = (keys.dead_letters, keys.failures, keys.checkpoint, keys.releases, keys.leases, keys.deleted)
    for key in (stream, *(name(stream, group) for group in GROUPS for name in beside)):
        await connection.call("UNLINK", key)
