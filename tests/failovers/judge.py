"""The judge of one run: how long nothing was handled, and what was lost, twice or out of order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.failovers.traffic import Handled, Published

AFTER = 4.0
"""Seconds after a fault that still count as its time."""


class Fault(NamedTuple):
    """When a fault began and ended, and the streams that it hit."""

    began: float
    ended: float
    hit: Collection[str]


class Outcome(NamedTuple):
    """One run of one fault."""

    fault: float
    """Seconds until the cluster had done what it does about the fault: a promotion, a migration."""
    gap: float
    """The longest time in which nothing of a stream that was hit was handled."""
    lost: int
    """Events that were acknowledged, that Redis still has, and that were not handled: there may be none."""
    gone: int
    """Events that were acknowledged, and that Redis has lost with the primary that had them."""
    twice: int
    disordered: int
    """Events that were handled for the first time after one that was published later."""
    others_before: float
    """Of streams that were not hit: the 99th percentile of seconds from publishing to the handler, before the fault."""
    others_after: float
    """The same while the fault lasted, and after it."""


def judge(
    fault: Fault, published: Sequence[Published], handled: Sequence[Handled], kept: Mapping[str, Collection[str]]
) -> Outcome:
    """Return the outcome. `kept` has the ids of the entries that Redis has in the end, by stream."""
    times = Counter((one.stream, one.id) for one in handled)
    missing = [one for one in published if (one.stream, one.id) not in times]
    lost = sum(one.id in kept[one.stream] for one in missing)
    others = [one for one in published if one.stream not in fault.hit]
    until = fault.ended + AFTER
    return Outcome(
        fault=fault.ended - fault.began,
        gap=max(_gap(fault, [one.at for one in handled if one.stream == stream]) for stream in fault.hit),
        lost=lost,
        gone=len(missing) - lost,
        twice=sum(count - 1 for count in times.values()),
        disordered=sum(_disordered(one.number for one in handled if one.stream == stream) for stream in kept),
        others_before=_p99(others, handled, 0.0, fault.began),
        others_after=_p99(others, handled, fault.began, until),
    )


def _gap(fault: Fault, times: Sequence[float]) -> float:
    """The longest pause that ends after the fault has begun; a stream that never went on has one until the end."""
    last = fault.ended + AFTER
    moments = [*times, max(last, *times)] if times else [fault.began, last]
    return max(after - before for before, after in pairwise(moments) if after >= fault.began)


def _disordered(numbers: Iterable[int]) -> int:
    seen: set[int] = set()
    highest = count = 0
    for number in numbers:
        count += number < highest and number not in seen
        seen.add(number)
        highest = max(highest, number)
    return count


def _p99(published: Iterable[Published], handled: Iterable[Handled], began: float, ended: float) -> float:
    first: dict[tuple[str, str], float] = {}
    for one in handled:
        first.setdefault((one.stream, one.id), one.at)
    took = sorted(
        first[one.stream, one.id] - one.asked
        for one in published
        if began <= one.asked < ended and (one.stream, one.id) in first
    )
    return took[int(len(took) * 0.99)] if took else 0.0
