"""Working off what waits in streams, and the books on it: each event once, how fast, at what price."""

from __future__ import annotations

import asyncio
import os
import resource
import time

from .contenders import Contender, Handlers
from .job import Figures, Job
from .workload import FIRST, Order, stream

_PATIENCE = 100.0


class Tally:
    """Counts events by their numbers; knows when all were handled, or enough of them."""

    def __init__(self, events: int, enough: int = 0) -> None:
        self.seen = bytearray(events)
        self.enough = enough or events
        self.count = 0
        self.twice = 0
        self.first = self.last = 0.0
        self.done = asyncio.Event()

    def add(self, order: Order) -> None:
        """One was handled."""
        index = order.number - FIRST
        if self.seen[index]:
            self.twice += 1
            return
        self.seen[index] = 1
        self.count += 1
        if self.count == 1:
            self.first = time.monotonic()
        if self.count == self.enough:
            self.end()

    def end(self) -> None:
        """Enough were handled."""
        if not self.done.is_set():
            self.last = time.monotonic()
            self.done.set()


def handlers(tally: Tally, seconds: float = 0.0) -> Handlers:
    """Handlers that do nothing but count, after a while where one is given."""

    async def at_once(order: Order) -> None:
        tally.add(order)

    async def after_a_while(order: Order) -> None:
        await asyncio.sleep(seconds)
        tally.add(order)

    async def many(orders: list[Order]) -> None:
        for order in orders:
            tally.add(order)

    return Handlers(after_a_while if seconds else at_once, many)


def cpu_seconds() -> float:
    """What this process has used so far, with all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _end_with_the_input(tally: Tally) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            tally.end()

    loop.add_reader(0, end)


async def work_off(job: Job, contender: Contender, tally: Tally | None = None) -> Figures:
    """Handle what waits in the job's streams. Raises `RuntimeError` when something was handled twice, or too little.

    `rate` is from the call to the last event, `steady_rate` from the first event to the last.
    """
    tally = tally or Tally(job.events, job.enough)
    if job.shared:
        _end_with_the_input(tally)
    await contender.open(job.url)
    used, began = cpu_seconds(), time.monotonic()
    names = [stream(index) for index in range(job.streams)]
    await contender.consume(names, handlers(tally, job.seconds), job.way)
    try:
        async with asyncio.timeout(_PATIENCE):
            await tally.done.wait()
    except TimeoutError:
        raise RuntimeError(f"{tally.count} of {job.events} events were handled in {_PATIENCE:.0f} s") from None
    count, seconds, used = tally.count, tally.last - began, cpu_seconds() - used
    await contender.close()
    if tally.twice:
        raise RuntimeError(f"{tally.twice} events were handled twice")
    return {
        "rate": count / seconds,
        "steady_rate": count / max(tally.last - tally.first, 1e-6),
        "start_ms": (tally.first - began) * 1e3,
        "cpu_us": used / max(count, 1) * 1e6,
        "count": count,
    }
