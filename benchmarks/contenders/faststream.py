"""FastStream in its fastest documented settings that acknowledge after the handler.

No log of its own, payloads through msgspec, reads of up to 100 that wait for a second, `NACK_ON_ERROR` (what failed
stays pending), `max_workers` for many at once, a list for batches. It has no call for many events: a pipeline is given
to each publish. What a dead process held is taken over by a second subscriber with `min_idle_time`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fast_depends.msgspec import MsgSpecSerializer
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from ..workload import GROUP, Order
from . import Handlers, Way

_CONSUMER = f"faststream-{os.getpid()}"


class Contender:
    """See the module."""

    IMPORTS = "from faststream.redis import RedisBroker, StreamSub"

    async def open(self, url: str) -> None:
        self._broker = RedisBroker(url, logger=None, serializer=MsgSpecSerializer())
        self._redis = Redis.from_url(url)
        await self._broker.connect()

    async def publish(self, stream: str, order: Order) -> None:
        await self._broker.publish(order, stream=stream)

    async def publish_many(self, stream: str, orders: Sequence[Order]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for order in orders:
                await self._broker.publish(order, stream=stream, pipeline=pipeline)
            await pipeline.execute()

    async def consume(self, streams: Sequence[str], handlers: Handlers, way: Way) -> None:
        workers = {"max_workers": way.concurrency} if way.concurrency > 1 else {}
        handler = handlers.many if way.batch else handlers.one
        for stream in streams:
            if not await self._redis.exists(stream) or not await self._redis.xinfo_groups(stream):
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)  # its own would begin at the end
            for options in self._subscriptions(way):
                sub = StreamSub(stream, group=GROUP, batch=bool(way.batch), **options)
                self._broker.subscriber(stream=sub, ack_policy=AckPolicy.NACK_ON_ERROR, **workers)(handler)
        await self._broker.start()

    def _subscriptions(self, way: Way) -> list[dict[str, Any]]:
        reading: dict[str, Any] = {"consumer": _CONSUMER, "max_records": 100, "polling_interval": 1000}
        if way.lease is None:
            return [reading]
        idle = int(way.lease * 1000)
        return [reading, {"consumer": f"{_CONSUMER}-2", "min_idle_time": idle, "polling_interval": 100}]

    async def close(self) -> None:
        await self._broker.stop()
        await self._redis.aclose()
