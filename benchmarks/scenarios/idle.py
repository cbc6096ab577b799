"""Fifty subscriptions to streams where nothing arrives: commands that the server runs, and time of the processor.

The raw loop has a task with a read that waits for each stream, and does nothing else.
"""

from __future__ import annotations

import asyncio
import time

from ..consuming import Tally, cpu_seconds, handlers
from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage, commands
from ..workload import order, stream

VARIANTS = {"50 subscriptions": ("raw", "ours", "faststream")}
ROUNDS = 0.4
_SUBSCRIPTIONS = 50
_SECONDS = 6.0
_SETTLING = 2.0
_PATIENCE = 5.0


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    with Stage() as stage:
        return run(bench.job(case, stage, events=1, streams=_SUBSCRIPTIONS, seconds=_SECONDS))


async def work(job: Job, contender: Contender) -> Figures:
    """Be idle, and then handle one event: who is dead is idle too."""
    tally = Tally(1)
    await contender.open(job.url)
    names = [stream(index) for index in range(job.streams)]
    await contender.consume(names, handlers(tally), job.way)
    await asyncio.sleep(_SETTLING)
    ran, used, began = commands(job.url), cpu_seconds(), time.monotonic()
    await asyncio.sleep(job.seconds)
    used, seconds = cpu_seconds() - used, time.monotonic() - began
    ran = commands(job.url) - ran
    await contender.publish(names[-1], order())
    async with asyncio.timeout(_PATIENCE):
        await tally.done.wait()
    await contender.close()
    return {"commands": ran / seconds / job.streams, "cpu_ms": used / seconds * 1e3}
