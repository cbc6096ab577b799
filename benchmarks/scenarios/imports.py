"""What it costs to begin, in fresh processes: the import statement, and then connecting and the first event."""

from __future__ import annotations

import time

from ..contenders import Contender, make
from ..job import Figures, Job
from ..runner import Bench, Case, run, run_program
from ..stage import Stage
from ..workload import order, stream

VARIANTS = {"fresh process": ("raw", "ours", "faststream")}
ROUNDS = 1.0
_PROGRAM = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    imported = float(run_program(_PROGRAM.format(make(case.contender).IMPORTS)))
    with Stage() as stage:
        return {"import_ms": imported * 1e3, **run(bench.job(case, stage))}


async def work(job: Job, contender: Contender) -> Figures:
    """Connect, and publish an event: who imports later does it now."""
    began = time.perf_counter()
    await contender.open(job.url)
    await contender.publish(stream(0), order())
    seconds = time.perf_counter() - began
    await contender.close()
    return {"first_ms": seconds * 1e3}
