"""The watch for handlers that run for longer than a lease: they may hang, and a subscription of such stands still.

It looks now and then at who is in a handler, so that no event pays for it. Each call is told of once, between a lease
and a lease and a half after it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..consumer.entry import Entry
from ..consumer.subscription import Subscription
from ..consumer.work.turns import Worker
from ..telemetry import HandlerSlow, Telemetry
from .running import Running
from .standing import call_of, where_waits

LOOKS = 4
"""Looks in a lease."""
SHORTEST = 0.05
"""Seconds between two looks, at least."""
LONGEST = 30.0
"""The lease that counts while nothing runs, in seconds."""


class SlowHandlers:
    """Tells of calls of handlers that have been seen for longer than the lease of their subscription."""

    def __init__(self, running: Running, telemetry: Telemetry) -> None:
        self._running = running
        self._telemetry = telemetry
        self._since: dict[object, float] = {}
        self._told: set[object] = set()

    def interval(self) -> float:
        """Return the seconds to the next look."""
        return max(SHORTEST, min((each.options.lease for each in self._running), default=LONGEST) / LOOKS)

    async def run_once(self) -> None:
        """Look once."""
        now = asyncio.get_running_loop().time()
        seen: dict[object, float] = {}
        for subscription in self._running:
            for worker, deliveries in subscription.in_handlers():
                call = call_of(worker) or deliveries[0]
                seen[call] = self._since.get(call, now)
                if now - seen[call] >= subscription.options.lease and call not in self._told:
                    self._told.add(call)
                    self._tell(subscription, worker, deliveries, now - seen[call])
        self._since = seen
        self._told &= seen.keys()

    def _tell(self, subscription: Subscription, worker: Worker, entries: Sequence[Entry], seconds: float) -> None:
        self._telemetry.emit(
            HandlerSlow(
                **subscription.holdings.about(entries[0]),
                seconds=round(seconds, 3),
                where=where_waits(worker),
                count=len(entries),
            )
        )
