"""The verdict: what has grown. Pure.

Robust against single samples: the median of the first third after the warm-up is compared with that of the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

Sample = Mapping[str, float]
"""What was measured at one moment, by name; `at` is the moment, in seconds from the start."""
MIB = 1024 * 1024


class Limit(msgspec.Struct, frozen=True):
    """How much a measure may grow: by so many of its unit, or by this part of itself, whatever is more."""

    absolute: float
    part: float = 0.0


LIMITS: Mapping[str, Limit] = {
    "memory of the process": Limit(8 * MIB, 0.05),
    "memory of the server": Limit(8 * MIB, 0.05),
    "objects": Limit(3000, 0.02),
    "file descriptors": Limit(5),
    "tasks": Limit(25),
    "threads": Limit(0),
    "connections": Limit(5),
    "consumers": Limit(12),
    "keys": Limit(500, 0.5),
    "failure records": Limit(100),
    "dead letters": Limit(100),
    "pending": Limit(2000, 0.5),
}
"""In the order in which they are shown. They leave room for what is under way in one moment and not in another; what
leaks once in a turn is far beyond them after twenty minutes.
"""


class Trend(msgspec.Struct, frozen=True):
    """Where a measure stood after the warm-up, and at the end."""

    measure: str
    first: float
    last: float
    limit: Limit

    @property
    def allowed(self) -> float:
        """How much it may have grown."""
        return max(self.limit.absolute, self.limit.part * self.first)

    @property
    def is_flat(self) -> bool:
        """Whether it has grown no more than that."""
        return self.last - self.first <= self.allowed


def trends(samples: Sequence[Sample], limits: Mapping[str, Limit] = LIMITS, warm_up: float = 0.2) -> list[Trend]:
    """The trend of each measure over what comes after the warm-up, which is this part of the samples.

    Raises `ValueError` when too few samples are left to tell.
    """
    rest = samples[int(len(samples) * warm_up) :]
    third = len(rest) // 3
    if not third:
        raise ValueError(f"{len(samples)} samples are too few for a verdict; let it run for longer")
    return [
        Trend(
            measure,
            median(sample[measure] for sample in rest[:third]),
            median(sample[measure] for sample in rest[-third:]),
            limit,
        )
        for measure, limit in limits.items()
    ]


def growing_most(before: Mapping[str, int], after: Mapping[str, int], count: int = 8) -> list[tuple[str, int]]:
    """The types of objects that there are more of than before, most first."""
    grown = {name: after[name] - before.get(name, 0) for name in after}
    return sorted(((name, more) for name, more in grown.items() if more > 0), key=lambda item: -item[1])[:count]
