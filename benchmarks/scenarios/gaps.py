"""How long an event loop is kept from all else while a backlog is worked off by handlers that wait for nothing.

A neighbour that wants to run each millisecond measures how much later than that it does. `gap_ms` is the longest time
between the first event and the last, `own_ms` the longest of this thread's own processor time: it leaves out what other
programs took meanwhile. `start_gap_ms` is the longest before the first event.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from ..consuming import Tally, work_off
from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import stream
from .consume import WAYS

VARIANTS = {
    "one by one": ("raw", "ours", "faststream"),
    "100 at once": ("ours", "faststream"),
    "batches of 100": ("ours", "faststream"),
}
ROUNDS = 1.0
_EACH = 0.001


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    with Stage() as stage:
        stage.fill(stream(0), bench.template(case.contender), bench.events(case.contender))
        return run(bench.job(case, stage, way=WAYS[case.variant]))


class Gap(NamedTuple):
    """One time of the neighbour's waiting that was longer than it asked for."""

    began: float
    ended: float
    ms: float
    own_ms: float


async def work(job: Job, contender: Contender) -> Figures:
    """Handle all events, with a neighbour beside."""
    tally = Tally(job.events)
    gaps: list[Gap] = []

    async def neighbour() -> None:
        at, own = time.monotonic(), time.thread_time()
        while True:
            await asyncio.sleep(_EACH)
            now, now_own = time.monotonic(), time.thread_time()
            gaps.append(Gap(at, now, (now - at - _EACH) * 1e3, (now_own - own) * 1e3))
            at, own = now, now_own

    running = asyncio.create_task(neighbour())
    figures = await work_off(job, contender, tally)
    running.cancel()
    during = [gap for gap in gaps if tally.first <= gap.began and gap.ended <= tally.last] or gaps[-1:]
    before = [gap for gap in gaps if gap.began < tally.first]
    return {
        "gap_ms": max(gap.ms for gap in during),
        "own_ms": max(gap.own_ms for gap in during),
        "start_gap_ms": max((gap.ms for gap in before), default=0.0),
        "rate": figures["rate"],
    }
