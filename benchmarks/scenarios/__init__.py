"""What is measured: a module for each scenario.

`VARIANTS` names its variants and who does each; `measure` is called by the runner, and sets the stage; `work` is called
in the process that is measured. `ROUNDS` is the part of the rounds that it needs, where it takes long or swings little.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case

NAMES = (
    "consume",
    "publish",
    "io",
    "latency",
    "gaps",
    "idle",
    "imports",
    "memory",
    "recovery",
    "growth",
)


class Scenario(Protocol):
    """A module of this package."""

    VARIANTS: dict[str, tuple[str, ...]]
    ROUNDS: float

    def measure(self, case: Case, bench: Bench) -> Figures:
        """Measure one case. Raises `RuntimeError`, `TimeoutError` where it did not do what it should."""

    async def work(self, job: Job, contender: Contender) -> Figures:
        """The part of it that is measured."""


def load(name: str) -> Scenario:
    """The scenario of this name."""
    scenario: Scenario = importlib.import_module(f".{name}", __name__)
    return scenario


def cases(name: str, contenders: tuple[str, ...]) -> list[Case]:
    """What these contenders do of it."""
    variants = load(name).VARIANTS.items()
    return [Case(name, variant, who) for variant, does in variants for who in does if who in contenders]


def rounds(name: str, asked: int) -> int:
    """How many it gets of the rounds that were asked for."""
    return max(1, int(asked * load(name).ROUNDS))
