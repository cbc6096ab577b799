"""Rates: how fast events come into a stream and are settled by a group, from its last measurements.

A rate is the difference between two measurements that are at least a second apart: the one of now, and the oldest of
the last minute. The number of settled entries is the number of added ones minus those that are not settled yet, so
entries that are trimmed or deleted count as settled: they wait no longer.

When things fail: where a number is unknown or goes back (a deleted stream, a group that was moved, a failover), the
rates are unknown (`None`), and begin with the next measurement. They are never guessed.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import NamedTuple

import msgspec

from ..models import LagReport

WINDOW = 60.0
"""Seconds of the past that a rate is made of."""
LEAST = 1.0
"""The least seconds between two measurements that give a rate."""
APART = 0.5
"""The least seconds between two measurements that are kept."""


class Counts(NamedTuple):
    """The numbers of entries that were ever added and settled, at a time in seconds."""

    at: float
    added: int
    settled: int


class Rates:
    """The rates of some groups."""

    def __init__(self) -> None:
        self._past: dict[tuple[str, str], deque[Counts]] = {}

    def rated(self, report: LagReport, added: int | None, now: float | None = None) -> LagReport:
        """Return a report with its rates; `added`: the number of entries that were ever added, `None` if unknown."""
        past = self._past.setdefault((report.stream, report.group), deque())
        if added is None or report.lag is None:
            past.clear()
            return report
        counts = Counts(monotonic() if now is None else now, added, added - report.behind)
        remember(past, counts)
        rate_in, rate_out = rates(past[0], counts)
        drain = time_to_drain(report.behind, rate_in, rate_out)
        return msgspec.structs.replace(report, rate_in=rate_in, rate_out=rate_out, time_to_drain=drain)


def remember(past: deque[Counts], counts: Counts) -> None:
    """Add a measurement to those of the last minute, of which the oldest is the first."""
    if past and (counts.added < past[-1].added or counts.settled < past[-1].settled):
        past.clear()
    while len(past) > 1 and past[1].at <= counts.at - WINDOW:
        past.popleft()
    if not past or counts.at - past[-1].at >= APART:
        past.append(counts)


def rates(before: Counts, now: Counts) -> tuple[float | None, float | None]:
    """Return the events a second that were added and settled between two measurements; `None` for too short a time."""
    seconds = now.at - before.at
    if seconds < LEAST:
        return None, None
    return (now.added - before.added) / seconds, (now.settled - before.settled) / seconds


def time_to_drain(behind: int, rate_in: float | None, rate_out: float | None) -> float | None:
    """Return the seconds until nothing waits if both rates stay; `None` if that is unknown, or never."""
    if behind == 0:
        return 0.0
    if rate_in is None or rate_out is None or rate_out <= rate_in:
        return None
    return behind / (rate_out - rate_in)
