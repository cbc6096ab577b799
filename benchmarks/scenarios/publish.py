"""Publishing: one awaited call after another, a hundred tasks at once, the call for many with a hundred at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from ..consuming import cpu_seconds
from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import FIRST, Order, order, stream

VARIANTS = {
    "one at a time": ("raw", "ours", "faststream"),
    "100 tasks at once": ("raw", "ours", "faststream"),
    "100 in a call": ("raw", "ours", "faststream"),
}
ROUNDS = 1.0
_FEWER = {"one at a time": 5, "100 tasks at once": 5}
"""Calls that may have a round trip each get so many times fewer events."""


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    events = bench.events(case.contender) // _FEWER.get(case.variant, 1)
    with Stage() as stage:
        figures = run(bench.job(case, stage, events=events))
        if (length := stage.length(stream(0))) != events:
            raise RuntimeError(f"{length} entries instead of {events}")
        return figures


async def work(job: Job, contender: Contender) -> Figures:
    """Publish them all."""
    await contender.open(job.url)
    publish, warm_up = _HOW[job.variant], max(1, job.events // 10)
    orders = [order(FIRST + index) for index in range(job.events)]
    await publish(contender, orders[:warm_up])  # who has a connection for each task opens them here
    orders = orders[warm_up:]
    used, began = cpu_seconds(), time.monotonic()
    await publish(contender, orders)
    seconds, used = time.monotonic() - began, cpu_seconds() - used
    await contender.close()
    return {"rate": len(orders) / seconds, "cpu_us": used / max(len(orders), 1) * 1e6}


async def _one_at_a_time(contender: Contender, orders: Sequence[Order]) -> None:
    for placed in orders:
        await contender.publish(stream(0), placed)


async def _tasks(contender: Contender, orders: Sequence[Order]) -> None:
    waiting = iter(orders)

    async def publish() -> None:
        for placed in waiting:
            await contender.publish(stream(0), placed)

    await asyncio.gather(*(publish() for _ in range(100)))


async def _many(contender: Contender, orders: Sequence[Order]) -> None:
    for begin in range(0, len(orders), 100):
        await contender.publish_many(stream(0), orders[begin : begin + 100])


_HOW: dict[str, Callable[[Contender, Sequence[Order]], Awaitable[None]]] = {
    "one at a time": _one_at_a_time,
    "100 tasks at once": _tasks,
    "100 in a call": _many,
}
