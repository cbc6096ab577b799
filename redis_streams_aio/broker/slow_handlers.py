"""The watch for handlers that run for longer than a lease: they may hang, and a subscription of such stands still.

It looks now and then at who is in a handler, so that no event pays for it. Each call is told of once, between a lease
and a lease and a half after it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import msgspec

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
        self._told: dict[object, HandlerSlow] = {}

    def interval(self) -> float:
        """Return the seconds to the next look."""
        return max(SHORTEST, min((each.options.lease for each in self._running), default=LONGEST) / LOOKS)

    async def run_once(self) -> None:
        """Look once."""
        now = monotonic()
        seen: dict[object, float] = {}
        for subscription in self._running:
            for worker, deliveries in subscription.in_handlers():
                call = call_of(worker) or deliveries[0]
                seen[call] = self._since.get(call, now)
                if now - seen[call] >= subscription.options.lease and call not in self._told:
                    self._told[call] = _slow(subscription, worker, deliveries, now - seen[call])
                    self._telemetry.emit(self._told[call])
        self._since = seen
        self._told = {call: fact for call, fact in self._told.items() if call in seen}

    def running_now(self) -> list[HandlerSlow]:
        """Return the calls that were told and still ran at the last look, as facts of now. Any thread may ask."""
        now, since = monotonic(), self._since
        told = [(fact, now - since.get(call, now)) for call, fact in self._told.copy().items()]
        return [msgspec.structs.replace(fact, seconds=round(max(fact.seconds, seconds), 3)) for fact, seconds in told]


def _slow(subscription: Subscription, worker: Worker, entries: Sequence[Entry], seconds: float) -> HandlerSlow:
    return HandlerSlow(
        **subscription.holdings.about(entries[0]),
        seconds=round(seconds, 3),
        where=where_waits(worker),
        count=len(entries),
    )
