"""Series of the hot path: counted in plain numbers, and carried to prometheus-client when it is scraped.

prometheus-client takes a lock for each number, so observing an event with it costs as much as handling one. Here the
event loop only adds, and nobody else writes its numbers. `carry`, which another thread may call, adds new counts to the
metrics of prometheus-client. Nothing is reset, so nothing is lost between the two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import Counter, Histogram

from ..telemetry import Handled


class Tally:
    """Observations of one histogram."""

    __slots__ = ("_bounds", "_carried", "_carried_sum", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._carried = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._carried_sum = 0.0

    def add(self, seconds: float) -> None:
        """Add an observation."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def carry(self) -> None:
        """Add new observations to the histogram, which offers `observe` only: one call for each of them."""
        buckets, total = self._histogram._buckets, self._sum  # noqa: SLF001
        for at, count in enumerate(self._counts):
            if count != self._carried[at]:
                buckets[at].inc(count - self._carried[at])
                self._carried[at] = count
        self._histogram._sum.inc(total - self._carried_sum)  # noqa: SLF001
        self._carried_sum = total


class Total:
    """Counts of one counter."""

    __slots__ = ("_carried", "_counter", "count")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.count: float = 0
        self._carried: float = 0

    def carry(self) -> None:
        """Add new counts to the counter."""
        count = self.count
        self._counter.inc(count - self._carried)
        self._carried = count


class OfHandler:
    """The series of the attempts of one handler with one outcome."""

    __slots__ = ("_latency", "_took", "_totals")

    def __init__(self, totals: Sequence[Total], took: Tally, latency: Tally | None) -> None:
        self._totals = totals
        self._took = took
        self._latency = latency

    def add(self, fact: Handled) -> None:
        """Add an attempt."""
        for total in self._totals:
            total.count += 1
        seconds = fact.seconds
        self._took.add(seconds)
        if self._latency is not None:
            published = int(fact.id.partition("-")[0]) / 1000
            self._latency.add(max(0.0, fact.began + seconds - published))  # Redis's clock may be ahead

    def carry(self) -> None:
        """Carry all of them."""
        for total in self._totals:
            total.carry()
        self._took.carry()
        if self._latency is not None:
            self._latency.carry()


class OfStream:
    """The series of publishing to one stream."""

    __slots__ = ("bytes", "events", "failed", "took")

    def __init__(self, events: Total, size: Total, failed: Total, took: Tally) -> None:
        self.events: Total = events
        self.bytes: Total = size
        self.failed: Total = failed
        self.took: Tally = took

    def carry(self) -> None:
        """Carry all of them."""
        for total in (self.events, self.bytes, self.failed):
            total.carry()
        self.took.carry()
