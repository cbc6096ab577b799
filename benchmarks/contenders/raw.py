"""A loop written by hand on redis-py with hiredis: what a library may cost nothing beside.

One by one: XREADGROUP COUNT 100, each entry decoded and its handler awaited, one XACK for the hundred. Many at once: a
task for each entry, as many as a semaphore lets through, and one XACK with each read for what has ended since the last
one. No registry, retries, dead letters, leases, order per key, observers, or shutdown that others can rely on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from ..workload import GROUP, Order
from . import Handlers, Way

_COUNT = 100
_BLOCK_MS = 2_000
"""As ours has it."""
_CONSUMER = f"raw-{os.getpid()}"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode
Entry = tuple[bytes, dict[bytes, bytes]]


class Contender:
    """See the module."""

    IMPORTS = "import msgspec, redis.asyncio"

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._working = asyncio.Lock()

    async def open(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, socket_timeout=None)  # its default of 5 s would end reads that wait

    async def publish(self, stream: str, order: Order) -> None:
        await self._redis.xadd(stream, {"payload": _encode(order)})

    async def publish_many(self, stream: str, orders: Sequence[Order]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for order in orders:
                pipeline.xadd(stream, {"payload": _encode(order)})
            await pipeline.execute()

    async def consume(self, streams: Sequence[str], handlers: Handlers, way: Way) -> None:
        for stream in streams:
            if GROUP not in await self._groups(stream):
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            self._start(
                self._one_by_one(stream, handlers) if way.concurrency == 1 else self._at_once(stream, handlers, way)
            )
            if way.lease is not None:
                self._start(self._take_over(stream, handlers, way.lease))

    def _start(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _groups(self, stream: str) -> list[str]:
        if not await self._redis.exists(stream):
            return []
        return [group["name"].decode() for group in await self._redis.xinfo_groups(stream)]

    async def _read(self, stream: str) -> list[Entry]:
        reply = await self._redis.xreadgroup(GROUP, _CONSUMER, {stream: ">"}, count=_COUNT, block=_BLOCK_MS)
        return reply[0][1] if reply else []

    async def _one_by_one(self, stream: str, handlers: Handlers) -> None:
        handle = handlers.one
        while True:
            entries = await self._read(stream)
            if not entries:
                continue
            async with self._working:
                for _, fields in entries:
                    await handle(_decode(fields[b"payload"]))
                await self._redis.xack(stream, GROUP, *[entry_id for entry_id, _ in entries])

    async def _at_once(self, stream: str, handlers: Handlers, way: Way) -> None:
        room, ended = asyncio.Semaphore(way.concurrency), list[bytes]()

        async def one(entry_id: bytes, fields: dict[bytes, bytes]) -> None:
            await handlers.one(_decode(fields[b"payload"]))
            ended.append(entry_id)
            room.release()

        async with asyncio.TaskGroup() as running:
            try:
                while True:
                    entries = await self._read(stream)
                    for entry_id, fields in entries:
                        await room.acquire()
                        running.create_task(one(entry_id, fields))
                    await self._acknowledge(stream, ended)
            finally:
                await self._acknowledge(stream, ended)

    async def _acknowledge(self, stream: str, ended: list[bytes]) -> None:
        if ended:
            entry_ids = list(ended)
            ended.clear()
            await self._redis.xack(stream, GROUP, *entry_ids)

    async def _take_over(self, stream: str, handlers: Handlers, lease: float) -> None:
        while True:
            await asyncio.sleep(lease)
            _, entries, _ = await self._redis.xautoclaim(stream, GROUP, _CONSUMER, int(lease * 1000), count=_COUNT)
            for entry_id, fields in entries:
                await handlers.one(_decode(fields[b"payload"]))
                await self._redis.xack(stream, GROUP, entry_id)

    async def close(self) -> None:
        async with self._working:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()
