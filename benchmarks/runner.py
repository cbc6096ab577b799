"""Runs measurements: rounds of all cases in turn, each in processes of its own with a server of its own.

The server, and this process, which only waits, are on the first of the machine's processors; what is measured is on the
others. Where there is only one, or where the system cannot say, nobody is pinned.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import msgspec

from .contenders import SLOWER
from .job import Figures, Job
from .stage import Stage, Template
from .workload import stream

_PATIENCE = 120.0


class Options(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    rounds: int = 3
    events: int = 50_000
    contenders: tuple[str, ...] = ("raw", "ours", "faststream")
    uvloop: bool = False


class Case(msgspec.Struct, frozen=True):
    """One thing to measure of one contender."""

    scenario: str
    variant: str
    contender: str


class Measurement(msgspec.Struct, frozen=True):
    """What one run of a case gave: figures, or what went wrong."""

    case: Case
    round: int
    figures: Figures = {}
    problem: str = ""
    uvloop: bool = False


class Bench:
    """What scenarios measure with."""

    def __init__(self, options: Options, cpus: list[int]) -> None:
        self.options = options
        self._cpus = cpus
        self._templates: dict[str, Template] = {}

    def events(self, contender: str) -> int:
        """How many one run has."""
        return max(100, self.options.events // SLOWER.get(contender, 1))

    def job(self, case: Case, stage: Stage, **more: object) -> Job:
        """The work of a process for this case."""
        named: dict[str, Any] = {"events": self.events(case.contender), "cpus": self._cpus[1:], **more}
        return Job(
            scenario=case.scenario,
            variant=case.variant,
            contender=case.contender,
            url=stage.url,
            uvloop=self.options.uvloop,
            **named,
        )

    def template(self, contender: str) -> Template:
        """An entry as this contender writes it."""
        if contender not in self._templates:
            with Stage() as stage:
                run(self.job(Case("publish", "one at a time", contender), stage, events=1))
                self._templates[contender] = stage.first_entry(stream(0))
        return self._templates[contender]


def take_processors() -> list[int]:
    """Stay on the first processor, with the servers to come. Returns all, or none where there are no several."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cpus) < 2:
        return []
    os.sched_setaffinity(0, cpus[:1])
    return cpus


class Child:
    """A process that has a job: ready when it is made, at work from `go` on. Leaving the context ends it."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "benchmarks.child", msgspec.json.encode(job).decode()]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, env=environment(), **pipes)  # our own program
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"it did not start: {self._process.communicate()[1][-1500:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def go(self) -> None:
        """Let it work."""
        print(file=self._process.stdin, flush=True)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def figures(self) -> Figures:
        """What it says at its end; a job that is shared is told to end. Raises `RuntimeError`."""
        said, errors = self._process.communicate(timeout=_PATIENCE)
        if self._process.returncode:
            raise RuntimeError(f"it ended with {self._process.returncode}: {errors[-1500:]}")
        return msgspec.json.decode(said, type=Figures)


def environment() -> dict[str, str]:
    """A process's: byte code is kept, or each of them would compile all of its modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_program(program: str) -> str:
    """What a program of one line prints, in a fresh process."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, text=True, capture_output=True, env=environment()).stdout


def run(job: Job) -> Figures:
    """Do a job in a process of its own."""
    with Child(job) as child:
        child.go()
        return child.figures()


def measure(
    cases: Sequence[tuple[Case, Bench]], rounds: int, of_case: Callable[[Case, Bench], Figures]
) -> Iterator[Measurement]:
    """All cases in turn, round after round, so that what slows the machine for a while hits all of them."""
    for number in range(rounds):
        for case, bench in cases:
            figures: Figures = {}
            problem = ""
            try:
                figures = of_case(case, bench)
            except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                problem = str(error)
            yield Measurement(case, number, figures, problem, bench.options.uvloop)
