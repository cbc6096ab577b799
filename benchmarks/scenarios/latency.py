"""From the call of publish to the handler, 200 events a second, publisher and handler in one event loop.

Open loop: an event is due when it is due, however long the one before it took.
"""

from __future__ import annotations

import asyncio
import time

from ..contenders import Contender, Handlers, Way
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import FIRST, Order, order, stream

VARIANTS = {"200 a second": ("raw", "ours", "faststream")}
ROUNDS = 0.6
_RATE = 200
_SECONDS = 5
_WARM_UP = 100
_PATIENCE = 10.0


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    with Stage() as stage:
        return run(bench.job(case, stage, events=_RATE * _SECONDS))


async def work(job: Job, contender: Contender) -> Figures:
    """Publish at the rate, and note how long each took."""
    took: list[int] = []
    done = asyncio.Event()

    async def handle(placed: Order) -> None:
        took.append(time.monotonic_ns() - placed.sent)
        if len(took) == job.events + _WARM_UP:
            done.set()

    async def many(_: list[Order]) -> None:
        """Nobody takes lists here."""

    await contender.open(job.url)
    await contender.consume([stream(0)], Handlers(handle, many), Way())
    await _publish(contender, job.events + _WARM_UP)
    try:
        async with asyncio.timeout(_PATIENCE):
            await done.wait()
    except TimeoutError:
        raise RuntimeError(f"{len(took)} of {job.events + _WARM_UP} events arrived") from None
    await contender.close()
    in_order = sorted(took[_WARM_UP:])
    return {f"p{part}_ms": in_order[len(in_order) * part // 100] / 1e6 for part in (50, 99)}


async def _publish(contender: Contender, events: int) -> None:
    began = time.monotonic()
    for index in range(events):
        await asyncio.sleep(began + index / _RATE - time.monotonic())
        await contender.publish(stream(0), order(FIRST + index, time.monotonic_ns()))
