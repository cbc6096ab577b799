"""Traffic through a fault: numbers are published to some streams and handled, and each is noted with its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from redis_streams_aio import Broker, Delivery, RedisUnavailableError, Settings, UnansweredError
from redis_streams_aio.testing.waiting import until

PAUSE = 0.02
"""Seconds between two events of a stream."""
COMMAND_TIMEOUT = 1.0
LEASE = 5.0
GROUP = "g"


class Number(msgspec.Struct):
    """The event."""

    number: int


class Published(NamedTuple):
    """One call of `publish` that returned an id."""

    stream: str
    number: int
    id: str
    asked: float
    acknowledged: float


class Handled(NamedTuple):
    """One call of a handler."""

    stream: str
    number: int
    id: str
    at: float


class Traffic:
    """A broker that publishes and one that handles; open as a context manager, publishing until `stop`."""

    def __init__(self, url: str, streams: Sequence[str]) -> None:
        self.streams = streams
        self.published: list[Published] = []
        self.handled: list[Handled] = []
        settings = Settings(command_timeout=COMMAND_TIMEOUT)
        self._producer = Broker(url, settings=settings)
        self._consumer = Broker(url, group=GROUP, settings=settings)
        for stream in streams:
            self._consumer.handler(stream, order="stream", lease=LEASE)(self._handle)
        self._stopping = asyncio.Event()
        self._publishing: list[asyncio.Task[None]] = []
        self._open = AsyncExitStack()

    async def _handle(self, event: Number, delivery: Delivery) -> None:
        self.handled.append(Handled(delivery.stream, event.number, delivery.id, time.monotonic()))

    async def _publish(self, stream: str) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            asked = time.monotonic()
            try:
                entry_id = await self._producer.publish(stream, Number(number))
            except (UnansweredError, RedisUnavailableError):
                continue  # nobody has promised anything
            self.published.append(Published(stream, number, entry_id, asked, time.monotonic()))
            await asyncio.sleep(PAUSE)

    async def __aenter__(self) -> Self:
        """Open both, and publish."""
        await self._open.enter_async_context(self._consumer)
        await self._open.enter_async_context(self._producer)
        self._publishing = [asyncio.create_task(self._publish(stream)) for stream in self.streams]
        return self

    async def stop(self, seconds: float) -> None:
        """Publish no more, and wait up to `seconds` until all that was acknowledged is handled."""
        self._stopping.set()
        await asyncio.gather(*self._publishing)
        wanted = {(one.stream, one.id) for one in self.published}
        try:
            await until(lambda: wanted <= {(one.stream, one.id) for one in self.handled}, seconds)
        except AssertionError:
            return  # the judge says what is missing, and whether Redis has it

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self._stopping.set()
        for task in self._publishing:
            task.cancel()
        await asyncio.gather(*self._publishing, return_exceptions=True)
        await self._open.aclose()
