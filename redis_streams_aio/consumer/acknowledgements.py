"""Acknowledgements: gathered, and written together.

While one XACK is under way the next ids gather, and leave with the next one: no timer, no added latency, and one round
trip for many. Until Redis has answered, an entry stays held here and is renewed. Acknowledging twice, or after the
lease was lost, is harmless: an XACK whose answer did not come is sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from ..connection.packing import Command
from ..delivery import Delivery
from ..exceptions import RedisStreamsError
from .holdings import Holdings

IDS_AT_ONCE = 1000
"""Ids in one XACK; more would hold up the server (10,000 block it for 3 to 8 ms)."""

_logger = logging.getLogger("redis_streams_aio")


class Acknowledgements:
    """Of one consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gathered: list[Delivery] = []
        self._waiting = asyncio.Event()
        self._flushing = asyncio.Lock()

    def __len__(self) -> int:
        """Those that Redis has not confirmed yet."""
        return len(self._gathered)

    def add(self, delivery: Delivery) -> None:
        """Acknowledge with the next group. Does not wait and cannot fail."""
        delivery.settled = True
        if not self._gathered:
            self._waiting.set()
        self._gathered.append(delivery)

    async def wait(self) -> None:
        """Until there is something to flush."""
        await self._waiting.wait()

    async def flush(self) -> None:
        """Write those that have gathered.

        Raises `RedisUnavailableError`, `ServerError`; what was not written is kept.
        """
        async with self._flushing:
            while self._gathered:
                group = self._gathered[:IDS_AT_ONCE]
                await self._write(group)
                del self._gathered[: len(group)]
                self._holdings.settled(group)
            self._waiting.clear()

    async def flush_if_possible(self) -> None:
        """Write what is done before something is begun that may kill the process: it must not count as undone then."""
        if self._gathered:
            with suppress(RedisStreamsError):
                await self.flush()

    async def _write(self, group: Sequence[Delivery]) -> None:
        holdings = self._holdings
        commands: list[Command] = [("XACK", holdings.stream, holdings.group, *(delivery.raw_id for delivery in group))]
        if recorded := [delivery.raw_id for delivery in group if delivery.recorded or delivery.lost]:
            commands.append(holdings.forget_command(recorded))
        acknowledged, *others = await holdings.connection.link("settle").call_many(commands)
        if isinstance(acknowledged, RedisStreamsError):
            raise acknowledged
        for answer in others:
            if isinstance(answer, RedisStreamsError):
                _logger.error("failure records of %s/%s stay: %s", holdings.stream, holdings.group, answer)
