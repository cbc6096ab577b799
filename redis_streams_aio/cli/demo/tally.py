"""Count what the groups do: by a middleware around each handler, and by an observer of the broker's facts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from ...events.delivery import Delivery
from ...telemetry import DeadLettered, Fact, GroupFact, LagMeasured, Observer, Reclaimed, RetryScheduled
from .flights import FlightScheduled


class Tally:
    """One group's counts."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.handled: Counter[int] = Counter()
        """How often each flight, by position, was handled to the end."""
        self.latencies: list[float] = []
        """Seconds from the call of `publish` to the start of the handler's first attempt."""
        self.last_at: float = 0.0
        """When the last flight was handled, in epoch seconds."""
        self.retried: int = 0
        self.dead_lettered: int = 0
        self.reclaimed: int = 0
        self.lag: int | None = None
        """The lag as measured last; `None` if unknown."""
        self.highest_lag: int = 0

    @property
    def settled(self) -> int:
        """The number of flights whose fate is decided."""
        return len(self.handled) + self.dead_lettered

    async def watch(self, delivery: Delivery, call_next: Callable[[], Awaitable[None]]) -> None:
        """Count a call of the handler. This is the middleware."""
        flight = delivery.payload
        assert isinstance(flight, FlightScheduled)  # noqa: S101  # the handlers take nothing else
        if not delivery.failures:
            self.latencies.append(time.time() - flight.published)
        await call_next()
        self.handled[flight.position] += 1
        self.last_at = time.time()

    def observe(self, fact: GroupFact) -> None:
        """Count a fact about this group."""
        match fact:
            case RetryScheduled():
                self.retried += 1
            case DeadLettered():
                self.dead_lettered += 1
            case Reclaimed(count=count):
                self.reclaimed += count

    def measured(self, lag: int | None) -> None:
        """Note a measurement of the lag."""
        self.lag = lag
        self.highest_lag = max(self.highest_lag, lag or 0)


def observer(tallies: Mapping[str, Tally]) -> Observer:
    """Return the observer that gives each fact to the tally of its group."""

    def observe(fact: Fact) -> None:
        if isinstance(fact, GroupFact):
            tallies[fact.group].observe(fact)
        elif isinstance(fact, LagMeasured):
            tallies[fact.report.group].measured(fact.report.lag)

    return observe


class Logbook:
    """Records the order in which each aircraft's flights were handled."""

    def __init__(self) -> None:
        self.positions: dict[str, list[int]] = {}
        """The flights by aircraft, in the order in which the handler began them."""
        self.overlapping: int = 0
        """The number of flights that began while another of the same aircraft was being handled; must be 0."""
        self.waited: int = 0
        """The number of flights that had to wait for an earlier flight of the same aircraft."""
        self._under_way: set[str] = set()
        self._finished_at: dict[str, float] = {}

    def begin(self, flight: FlightScheduled) -> None:
        """Record that the handler has begun."""
        aircraft = flight.aircraft
        self.overlapping += aircraft in self._under_way
        self.waited += flight.published < self._finished_at.get(aircraft, 0.0)
        self._under_way.add(aircraft)
        self.positions.setdefault(aircraft, []).append(flight.position)

    def end(self, flight: FlightScheduled) -> None:
        """Record that the handler has finished."""
        self._under_way.discard(flight.aircraft)
        self._finished_at[flight.aircraft] = time.time()
