"""Handlers that wait for 5 ms, 100 at once: 20,000 events a second would be ideal."""

from __future__ import annotations

from ..consuming import work_off
from ..contenders import Contender, Way
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import stream

VARIANTS = {"100 handlers of 5 ms": ("raw", "ours", "faststream")}
ROUNDS = 1.0
_AT_MOST = 20_000


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    events, template = min(_AT_MOST, bench.events(case.contender)), bench.template(case.contender)
    with Stage() as stage:
        stage.fill(stream(0), template, events)
        figures = run(bench.job(case, stage, events=events, way=Way(concurrency=100), seconds=0.005))
        if left := stage.left(stream(0)):
            raise RuntimeError(f"{left} events were not acknowledged")
        return figures


async def work(job: Job, contender: Contender) -> Figures:
    """Handle all of them."""
    return await work_off(job, contender)
