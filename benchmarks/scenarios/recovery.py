"""2,000 events, handlers of 5 ms, ten at once; after 1,000 the process is killed, and another one goes on.

The lease is a second (raw, FastStream: what is pending for a second is claimed). Counted are events that were never
handled, those that were handled twice, and the time from the kill until all were handled; half a second of it is work.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from ..contenders import Contender, Handlers, Way
from ..job import Figures, Job
from ..runner import Bench, Case, Child
from ..stage import Stage
from ..workload import Order, stream

VARIANTS = {"killed half way": ("raw", "ours", "faststream")}
ROUNDS = 0.4
_EVENTS = 2_000
_WAY = Way(concurrency=10, lease=1.0)
_PATIENCE = 20.0


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    template = bench.template(case.contender)
    with Stage() as stage, tempfile.TemporaryDirectory() as folder:
        stage.fill(stream(0), template, _EVENTS)
        log = Path(folder) / "handled"
        log.touch()
        job = bench.job(case, stage, events=_EVENTS, way=_WAY, log=str(log))
        with Child(job) as first, Child(job) as second:
            first.go()
            _wait(log, _EVENTS // 2)
            first.kill()
            killed = time.monotonic()
            second.go()
            _wait(log, _EVENTS)
            seconds = time.monotonic() - killed
        handled = _handled(log)
        return {
            "seconds": seconds,
            "lost": _EVENTS - len(handled),
            "twice": sum(count - 1 for count in handled.values()),
        }


def _handled(log: Path) -> Counter[str]:
    return Counter(log.read_text().split())


def _wait(log: Path, events: int) -> None:
    """Until so many different ones were handled, or for as long as anyone would wait: the rest is lost."""
    deadline = time.monotonic() + _PATIENCE
    while len(_handled(log)) < events and time.monotonic() < deadline:
        time.sleep(0.02)


async def work(job: Job, contender: Contender) -> Figures:
    """Handle events until it is killed."""
    log = os.open(job.log, os.O_WRONLY | os.O_APPEND)

    async def handle(placed: Order) -> None:
        await asyncio.sleep(0.005)
        os.write(log, b"%d\n" % placed.number)

    async def many(_: list[Order]) -> None:
        """Nobody takes lists here."""

    await contender.open(job.url)
    await contender.consume([stream(0)], Handlers(handle, many), job.way)
    await asyncio.sleep(_PATIENCE * 3)
    raise RuntimeError("nobody has killed it")
