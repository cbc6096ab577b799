"""redis_streams_aio as its README shows it: default settings, every promise kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from redis_streams_aio import Broker

from ..workload import GROUP, Order, key
from . import Handlers, Way


class Contender:
    """See the module."""

    IMPORTS = "from redis_streams_aio import Broker"

    def __init__(self) -> None:
        self._opened = AsyncExitStack()
        self._facts = 0

    async def open(self, url: str) -> None:
        self._url = url
        self._publisher = await self._opened.enter_async_context(Broker(url))

    async def publish(self, stream: str, order: Order) -> None:
        await self._publisher.publish(stream, order)

    async def publish_many(self, stream: str, orders: Sequence[Order]) -> None:
        await self._publisher.publish_many(stream, orders)

    async def consume(self, streams: Sequence[str], handlers: Handlers, way: Way) -> None:
        broker = Broker(self._url, group=GROUP, observers=[self._observe] if way.observed else [])
        lease = 30.0 if way.lease is None else way.lease
        for stream in streams:
            if way.batch:
                broker.handler(stream, batch=way.batch, lease=lease)(handlers.many)
            else:
                by_key = key if way.keyed else None
                broker.handler(stream, concurrency=way.concurrency, key=by_key, lease=lease)(handlers.one)
        await self._opened.enter_async_context(broker)

    def _observe(self, _: object) -> None:
        self._facts += 1

    async def close(self) -> None:
        await self._opened.aclose()
