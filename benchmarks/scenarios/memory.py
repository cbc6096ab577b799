"""Memory of a process that works off a backlog: at its end, and how much more that is than after the first fifth."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..consuming import Tally, work_off
from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import Order, stream

VARIANTS = {"one by one": ("raw", "ours", "faststream")}
ROUNDS = 0.4
_TIMES = 2
"""More events than elsewhere: what grows slowly shows late."""


class Weighing(Tally):
    """Notes the memory when a fifth is handled."""

    early = 0.0

    def add(self, order: Order) -> None:
        super().add(order)
        if self.count == len(self.seen) // 5:
            self.early = resident_mib()


def resident_mib() -> float:
    """Memory of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    events = _TIMES * bench.events(case.contender)
    with Stage() as stage:
        stage.fill(stream(0), bench.template(case.contender), events)
        return run(bench.job(case, stage, events=events))


async def work(job: Job, contender: Contender) -> Figures:
    """Handle them all."""
    tally = Weighing(job.events)
    working = asyncio.create_task(work_off(job, contender, tally))
    await tally.done.wait()
    late = resident_mib()
    await working
    more = (late - tally.early) * 1024 / (job.events * 4 / 5 / 10_000)
    return {"rss_mib": late, "growth_kib": more}
