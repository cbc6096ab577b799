"""What the groups do, counted: by a middleware around each handler, and by an observer of the broker's facts."""

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
        """As measured last; `None`: unknown."""
        self.highest_lag: int = 0

    @property
    def settled(self) -> int:
        """Flights whose fate is decided."""
        return len(self.handled) + self.dead_lettered

    async def watch(self, delivery: Delivery, call_next: Callable[[], Awaitable[None]]) -> None:
        """The middleware."""
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
    """The observer that gives each fact to the tally of its group."""

    def observe(fact: Fact) -> None:
        if isinstance(fact, GroupFact):
            tallies[fact.group].observe(fact)
        elif isinstance(fact, LagMeasured):
            tallies[fact.report.group].measured(fact.report.lag)

    return observe


class Logbook:
    """In which order each aircraft's flights were handled."""

    def __init__(self) -> None:
        self.positions: dict[str, list[int]] = {}
        """By aircraft, in the order in which the handler began."""
        self.overlapping: int = 0
        """Flights begun while another of the same aircraft was being handled: must be 0."""
        self.waited: int = 0
        """Flights published while an earlier one of the same aircraft was not finished, and begun after it."""
        self._under_way: set[str] = set()
        self._finished_at: dict[str, float] = {}

    def begin(self, flight: FlightScheduled) -> None:
        """The handler has begun."""
        aircraft = flight.aircraft
        self.overlapping += aircraft in self._under_way
        self.waited += flight.published < self._finished_at.get(aircraft, 0.0)
        self._under_way.add(aircraft)
        self.positions.setdefault(aircraft, []).append(flight.position)

    def end(self, flight: FlightScheduled) -> None:
        """The handler has finished."""
        self._under_way.discard(flight.aircraft)
        self._finished_at[flight.aircraft] = time.time()
