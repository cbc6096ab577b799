"""Publish the flights at a steady pace, by several tasks at once.

One task publishes all flights of an aircraft, because the events of one task are in the stream in its order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import msgspec

from ...broker import Broker
from .flights import FlightScheduled

RATE = 1_000.0
"""Flights a second."""
PUBLISHERS = 16
"""The number of tasks, and so of flights that are on the way to Redis at once."""


class Publishing:
    """Publishes flights, and counts them."""

    def __init__(self, broker: Broker, stream: str, flights: Sequence[FlightScheduled]) -> None:
        self._broker = broker
        self._stream = stream
        self._flights = flights
        self.began_at: float = 0.0
        """When publishing began, in epoch seconds."""
        self.count: int = 0
        """The number of flights that are in the stream."""
        self.half_way: anyio.Event = anyio.Event()
        """Set when half of them are in the stream."""
        self.seconds: float = 0.0
        """The time that publishing took, once it has ended."""

    async def run(self) -> None:
        """Publish all flights. Raises the errors of `Broker.publish` in an exception group."""
        self.began_at = time.time()
        try:
            async with anyio.create_task_group() as publishers:
                for share in self._shares():
                    publishers.start_soon(self._publish, share)
        finally:
            self.seconds = time.time() - self.began_at

    def _shares(self) -> list[list[FlightScheduled]]:
        shares: list[list[FlightScheduled]] = [[] for _ in range(PUBLISHERS)]
        share_of: dict[str, int] = {}
        for flight in self._flights:
            share = share_of.setdefault(flight.aircraft, len(share_of) % PUBLISHERS)
            shares[share].append(flight)
        return shares

    async def _publish(self, flights: Sequence[FlightScheduled]) -> None:
        for flight in flights:
            await anyio.sleep(max(0.0, self.began_at + flight.position / RATE - time.time()))
            event = msgspec.structs.replace(flight, published=time.time())
            await self._broker.publish(self._stream, event, key=flight.aircraft)
            self.count += 1
            if self.count * 2 >= len(self._flights):
                self.half_way.set()
