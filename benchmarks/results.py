"""What many rounds gave: medians, extremes, and ratios to the raw loop of the same round. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from .contenders import BASELINE
from .runner import Case, Measurement


class Spread(NamedTuple):
    """The median of some rounds, and how far they lay apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        every = list(values)
        return cls(median(every), min(every), max(every))


class Results:
    """Looks figures up in measurements. What was not measured, or had a problem, is `None`."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        every = list(measurements)
        self.problems: list[Measurement] = [one for one in every if one.problem]
        self._rounds: dict[tuple[bool, Case], dict[int, dict[str, float]]] = {}
        for one in every:
            if not one.problem:
                self._rounds.setdefault((one.uvloop, one.case), {})[one.round] = one.figures

    def of(self, case: Case, figure: str, *, uvloop: bool = False) -> dict[int, float]:
        """A figure of a case, by rounds."""
        rounds = self._rounds.get((uvloop, case), {})
        return {number: figures[figure] for number, figures in rounds.items() if figure in figures}

    def spread(self, case: Case, figure: str, *, uvloop: bool = False) -> Spread | None:
        """A figure of a case over all rounds."""
        values = self.of(case, figure, uvloop=uvloop).values()
        return Spread.of(values) if values else None

    def ratio(self, case: Case, figure: str, *, uvloop: bool = False) -> float | None:
        """The median of its ratios to the raw loop in the same rounds.

        Where the raw loop has no such variant, its first one is what all are compared with.
        """
        base = self.of(self._baseline(case, uvloop=uvloop), figure, uvloop=uvloop)
        return _ratio(self.of(case, figure, uvloop=uvloop), base)

    def gain(self, case: Case, figure: str) -> float | None:
        """What uvloop makes of a figure: the median of the ratios in the same rounds."""
        return _ratio(self.of(case, figure, uvloop=True), self.of(case, figure))

    def _baseline(self, case: Case, *, uvloop: bool) -> Case:
        raw = [known for loop, known in self._rounds if loop == uvloop and known.contender == BASELINE]
        raw = [known for known in raw if known.scenario == case.scenario]
        same = [known for known in raw if known.variant == case.variant]
        return (same or raw or [case])[0]


def _ratio(values: dict[int, float], base: dict[int, float]) -> float | None:
    ratios = [value / base[number] for number, value in values.items() if base.get(number)]
    return median(ratios) if ratios else None
