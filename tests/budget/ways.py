"""The ways of an event that have a budget, each as steps over a number of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from benchmarks.contenders import Handlers, Way, raw
from benchmarks.workload import FIRST, Order, key, order
from redis_streams_aio import Broker
from redis_streams_aio.events import wire_format  # composes what another publisher of ours would have sent

from .canned import Server

STREAM = "orders"
AT_ONCE = 100
EVENTS = 500
WARM_UP = 500
"""Events of each step before the first one that counts."""

Step = Callable[[], Awaitable[object]]
"""Handles, or publishes, events that were made ready before."""
Publishes = Callable[[Broker, Sequence[Order]], Awaitable[None]]
Steps = Callable[[int], Step]
"""Makes so many events ready, and returns the step."""


@asynccontextmanager
async def consuming(url: str, server: Server, **options: object) -> AsyncIterator[Steps]:
    """Handle waiting events, with a typed handler that does nothing."""
    broker = Broker(url, group=f"budget-{'-'.join(map(str, options))}")

    async def one(placed: Order) -> None: ...
    async def many(placed: list[Order]) -> None: ...

    broker.handler(STREAM, **options)(many if "batch" in options else one)
    async with broker:
        yield _handing_out(server)


def _fields(number: int) -> list[bytes]:
    fields = wire_format.compose("Order", msgspec.json.encode(order(number)), content_type=None)
    return [field if isinstance(field, bytes) else field.encode() for field in fields]


@asynccontextmanager
async def publishing(
    url: str, server: Server, publish: Callable[[Broker, Sequence[Order]], Awaitable[None]]
) -> AsyncIterator[Steps]:
    """Publish events."""
    async with Broker(url) as broker:
        yield lambda count: partial(publish, broker, [order(FIRST + at) for at in range(count)])


@asynccontextmanager
async def by_hand(url: str, server: Server) -> AsyncIterator[Steps]:
    """Handle waiting events in the loop on redis-py that the benchmarks compare with."""
    loop = raw.Contender()

    async def one(placed: Order) -> None: ...
    async def many(placed: list[Order]) -> None: ...

    await loop.open(url)
    await loop.consume([STREAM], Handlers(one, many), Way())
    yield _handing_out(server)
    await loop.close()


def _handing_out(server: Server) -> Steps:
    entries = [_fields(FIRST + number) for number in range(1000)]
    return lambda count: partial(server.hand_out, server.prepare(entries[at % 1000] for at in range(count)))


async def _one_at_a_time(broker: Broker, orders: Sequence[Order]) -> None:
    for each in orders:
        await broker.publish(STREAM, each)


async def _in_one_call(broker: Broker, orders: Sequence[Order]) -> None:
    for at in range(0, len(orders), AT_ONCE):
        await broker.publish_many(STREAM, orders[at : at + AT_ONCE])


async def _from_tasks(broker: Broker, orders: Sequence[Order]) -> None:
    """A hundred tasks that publish one after the other: each publish still has an answer of its own."""
    async with asyncio.TaskGroup() as tasks:
        for at in range(AT_ONCE):
            tasks.create_task(_one_at_a_time(broker, orders[at::AT_ONCE]))


WAYS = {
    "consume: one by one": partial(consuming),
    "consume: 100 at once": partial(consuming, concurrency=100),
    "consume: 100 at once, ordered per key": partial(consuming, concurrency=100, key=key),
    "consume: batches of 100": partial(consuming, batch=100),
    "publish: one at a time": partial(publishing, publish=_one_at_a_time),
    "publish: 100 tasks at once": partial(publishing, publish=_from_tasks),
    "publish: 100 in a call": partial(publishing, publish=_in_one_call),
}
"""The names are those of the figures in docs/performance.md."""
RAW = {"consume: raw": by_hand}
"""What ours is compared with: the loop written by hand, one by one."""
MARKED = RAW | WAYS
"""Ways whose machine instructions are counted."""
