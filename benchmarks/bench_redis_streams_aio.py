"""redis_streams_aio, as its README shows it, for the harness that compares brokers side by side.

Every variant is at least once with all promises on: leases renewed, reclaiming, checkpoints, lag measured. Nothing is
tuned: settings are the defaults, but for the lease in the crash scenario, which asks for one second.

""        typed handler, one event after another in stream order (concurrency 1, the default); as many at once as the
          scenario says in `io` and `crash`
conc      concurrency=--concurrency, order="none"
key       concurrency=--concurrency, ordered per key (500 keys)
batch     batch handler of up to 100
observed  like "", with an observer that counts every fact
dict      like "", with a handler of `dict`: what raw decodes into
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import msgspec
from _common import GROUP, Contender, main

from redis_streams_aio import BatchDelivery, Broker

EVENT_TYPE = "Order"
KEYS = 500
Handler = Callable[[Any], Awaitable[None]]


class Line(msgspec.Struct):
    """A part of an order."""

    sku: str
    qty: int


class Order(msgspec.Struct):
    """What the harness publishes, typed."""

    i: int
    t: int
    type: str
    customer: str
    amount: float
    paid: bool
    lines: list[Line]
    note: str

    def __getitem__(self, name: str) -> object:
        """The harness reads its payloads as dicts."""
        return getattr(self, name)


class RedisStreamsAio(Contender):
    """See the module."""

    name = "redis_streams_aio"
    venv = "redis_streams_aio"
    imports = "import redis_streams_aio"
    variants: ClassVar[dict[str, str]] = {
        "": "one by one, typed",
        "conc": "concurrency, no order",
        "key": "concurrency, ordered per key",
        "batch": "batches of up to 100",
        "observed": "one by one, with an observer",
        "dict": "one by one, handler of dict",
    }
    modes = ("seq", "conc", "batch")

    async def open(self) -> None:
        """Connect, to publish."""
        self.facts = 0
        self.broker = Broker(self.a.url, group=GROUP, observers=[self.observe] if self.a.variant == "observed" else [])
        self.stack = AsyncExitStack()
        self.publisher = await self.stack.enter_async_context(Broker(self.a.url))

    def observe(self, _: object) -> None:
        """Count a fact."""
        self.facts += 1

    async def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """One event."""
        await self.publisher.publish(topic, payload, event_type=EVENT_TYPE)

    async def publish_batch(self, topic: str, payloads: list[dict[str, Any]]) -> None:
        """Many events; with their keys where a variant handles by key."""
        if self.a.variant == "key":
            publish = self.publisher.publish
            keyed = (publish(topic, p, event_type=EVENT_TYPE, key=f"k-{p['i'] % KEYS}") for p in payloads)
            await asyncio.gather(*keyed)
        else:
            await self.publisher.publish_many(topic, payloads, event_type=EVENT_TYPE)

    async def consume(self, topics: list[str], handler: Handler) -> None:
        """A handler for each topic, on a broker of its own."""
        on_event, shared = self.subscribing(handler)
        for topic in topics:
            self.broker.handler(topic, **shared)(on_event)
        await self.stack.enter_async_context(self.broker)

    def subscribing(self, handler: Handler) -> tuple[Any, dict[str, Any]]:
        """The function to decorate, and the decorator's options."""

        async def on_order(order: Order) -> None:
            await handler(order)

        async def on_dict(order: dict) -> None:  # type: ignore[type-arg]
            await handler(order)

        async def on_batch(orders: list[Order], _: BatchDelivery) -> None:
            for order in orders:
                await handler(order)

        a = self.a
        lease = {"lease": a.reclaim_ms / 1000} if a.reclaim_ms else {}
        if a.variant == "batch":
            return on_batch, {**lease, "batch": 100}
        if a.variant in {"conc", "key"} or a.scenario in {"io", "crash"}:
            order = "key" if a.variant == "key" else "none"
            return on_order, {**lease, "concurrency": a.concurrency, "order": order}
        return (on_dict if a.variant == "dict" else on_order), lease

    async def stop(self) -> None:
        """Drain: what is settled is acknowledged, the rest given back."""
        await self.stack.aclose()

    async def close(self) -> None:
        """The same, where nothing was consumed."""
        await self.stack.aclose()

    @classmethod
    def backlog(cls, topic: str, variant: str = "") -> list[dict[str, str]]:  # noqa: ARG003  # the harness's signature
        """Where the driver finds what is left."""
        return [{"type": "stream", "key": topic, "group": GROUP}]


if __name__ == "__main__":
    main(RedisStreamsAio)
