"""Judge the groups of a swept stream: which one keeps it long, and from which one a bound will take entries. Pure.

Redis does not say how many entries are behind an id. `Course` estimates it: each sweep notes how many entries were ever
added by then, and between two notes as many came in each second. Before the first note of this process, the estimate is
as if the entries that are left had come evenly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..config import Retention
from ..connection.steps.retention import GroupState, Rules, Swept
from ..events import entry_ids
from ..telemetry import Fact, RetentionNear, RetentionPinned
from ..telemetry.retention import Bound

NEAR = 0.8
"""The part of a bound from which on a warning is given."""
CALM = 0.7
"""The part of a bound below which it may be given again."""
PINNED_AFTER = 300.0
"""Seconds without any progress after which a group that keeps entries is named."""
_POINTS = 512


def rules_of(retention: Retention, groups: Iterable[str]) -> Rules:
    """Return what a step is to delete; `groups` count as those that `retention` names."""
    return Rules(
        keep_settled=retention.keep if retention.acknowledged else None,
        max_age=retention.max_age,
        max_length=retention.max_length,
        abandoned_after=retention.abandoned_after,
        groups=tuple(dict.fromkeys((*retention.groups, *groups))),
    )


class Course:
    """How many entries a stream had been given at which time."""

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []

    def note(self, now_ms: int, added: int) -> None:
        """Note that `added` entries were ever added by now."""
        latest = self._points[-1] if self._points else (0, 0)
        if now_ms < latest[0] or added < latest[1]:
            self._points = []  # a clock that was set back, or another stream of the same name
        self._points.append((now_ms, added))
        if len(self._points) > _POINTS:
            self._points = self._points[:-1:2] + self._points[-1:]

    def entries_from(self, place: str, found: Swept) -> int:
        """Return how many entries of a stream have this id or a later one, about."""
        if entry_ids.is_later(place.encode(), found.last.encode()):
            return 0
        first_ms, last_ms = (entry_ids.parse(end)[0] for end in (found.first, found.last))
        before = found.added - found.length
        noted = [point for point in self._points if first_ms < point[0] < last_ms and point[1] >= before]
        points = [(first_ms, before), *noted, (last_ms, found.added)]
        place_ms = entry_ids.parse(place)[0]
        return min(found.length, max(1, round(found.added - _interpolated(points, place_ms))))


def _interpolated(points: Sequence[tuple[int, int]], at_ms: int) -> float:
    """Return how many entries had been added at a time, between the two points around it."""
    index = bisect_right(points, at_ms, key=lambda point: point[0])
    if index == 0 or at_ms == points[0][0]:
        return points[0][1]
    if index == len(points):
        return points[-1][1]
    (earlier, fewer), (later, more) = points[index - 1], points[index]
    return fewer + (more - fewer) * (at_ms - earlier) / (later - earlier)


class _Mark(NamedTuple):
    bound: Bound
    limit: float
    reached: float


class Watch:
    """Remembers what was told of the groups of one stream, so that it is told once."""

    def __init__(self, stream: str, retention: Retention) -> None:
        self._stream = stream
        self._retention = retention
        self._course = Course()
        self._told: set[tuple[str, str]] = set()
        """Pairs of a group, and a bound or a place."""

    def facts(self, found: Swept) -> Iterator[Fact]:
        """Yield what is to be told after a step of a sweep."""
        self._course.note(found.now_ms, found.added)
        known = {group.name for group in found.groups}
        self._told = {(name, what) for name, what in self._told if name in known}
        for group in found.groups:
            for mark in self._marks(group, found):
                if self._is_news(group.name, mark):
                    yield RetentionNear(stream=self._stream, group=group.name, **mark._asdict())
        if self._retention.acknowledged:
            yield from self._pinned(found)

    def _marks(self, group: GroupState, found: Swept) -> Iterator[_Mark]:
        """Yield how far the oldest unsettled entry of a group is on its way to each bound."""
        retention, unsettled = self._retention, _is_unsettled(group, found)
        exists = unsettled and group.read != "-"
        place_ms = entry_ids.parse(group.place)[0]
        if retention.max_length is not None:
            reached = max(group.pending, self._course.entries_from(group.place, found)) if exists else 0
            yield _Mark("max_length", retention.max_length, reached)
        if retention.max_age is not None:
            yield _Mark("max_age", retention.max_age, _seconds(found.now_ms - place_ms) if exists else 0)
        if retention.abandoned_after is not None:
            waits = unsettled and group.counts
            yield _Mark("abandoned_after", retention.abandoned_after, _seconds(found.now_ms - group.stood_ms) * waits)

    def _is_news(self, group: str, mark: _Mark) -> bool:
        told = (group, mark.bound)
        if mark.reached < CALM * mark.limit:
            self._told.discard(told)
        elif mark.reached >= NEAR * mark.limit and told not in self._told:
            self._told.add(told)
            return True
        return False

    def _pinned(self, found: Swept) -> Iterator[Fact]:
        """Yield the group that keeps entries which the others have settled, if it stands still."""
        counted = sorted((group for group in found.groups if group.counts), key=_place)
        for group in counted[:1]:
            age = _seconds(found.now_ms - group.placed_ms)
            held = self._held(group, counted[1:2], found)
            told = (group.name, group.place)
            if age >= PINNED_AFTER and held > 0 and told not in self._told:
                self._told.add(told)
                yield RetentionPinned(stream=self._stream, group=group.name, place=group.place, age=age, held=held)

    def _held(self, group: GroupState, next_one: Sequence[GroupState], found: Swept) -> int:
        """Return how many entries are kept for this group only, about."""
        if not _is_unsettled(group, found):
            return 0
        kept_for_others = [self._course.entries_from(other.place, found) for other in next_one]
        return self._course.entries_from(group.place, found) - sum(kept_for_others)


def _is_unsettled(group: GroupState, found: Swept) -> bool:
    return group.pending > 0 or _place(group) <= entry_ids.parse(found.last)


def _place(group: GroupState) -> tuple[int, int]:
    return entry_ids.parse(group.place)


def _seconds(ms: int) -> float:
    return max(0, ms) / 1000
