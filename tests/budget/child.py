"""The process in which is counted: `python -m tests.budget.child PORT [--marks]` says its figures as JSON.

For each way it warms up, then does so many events, and twice as many. With `--marks` it counts nothing, and marks the
beginning and the end of each by a call of `sched_yield`, where callgrind writes down what it has counted (`callgrind`).
It stops the clock of its process as soon as it is imported, so nothing else imports it.
"""

from __future__ import annotations

from .canned import Clock, Loop, Server  # first: the clock is put in its place before anything imports the other

CLOCK = Clock()
CLOCK.install()

import asyncio  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402

from .counting import CountsRequests, Instructions  # noqa: E402
from .ways import EVENTS, MARKED, WARM_UP, WAYS, Steps  # noqa: E402


class CountingLoop(CountsRequests, Loop):
    """The canned loop, counting."""


async def count(url: str, server: Server) -> dict[str, object]:
    """The figures of each way: bytecode instructions by module, and what the loop was asked for."""
    figures = {}
    for name, way in WAYS.items():
        async with way(url, server) as steps:
            await _warm_up(steps)
            _, few, many = [await _counted(steps, events) for events in (1, EVENTS, 2 * EVENTS)]  # 3.12 begins late
        figures[name] = {each: _difference(few[each], many[each]) for each in few}
    return figures


async def _warm_up(steps: Steps) -> None:
    """Until reads ask for as many entries as they ever do."""
    for _ in range(3):
        await steps(WARM_UP)()


async def _counted(steps: Steps, events: int) -> dict[str, Counter[str]]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    step = steps(events)
    loop.asked.clear()
    with Instructions() as instructions:
        await step()
    return {"bytecodes": instructions.by_module, "loop": Counter(loop.asked)}


def _difference(few: Counter[str], many: Counter[str]) -> dict[str, float]:
    return {name: (many[name] - few[name]) / EVENTS for name in sorted(many)}


async def mark(url: str, server: Server) -> None:
    """Do the same, with a call of `sched_yield` around what counts."""
    for way in MARKED.values():
        async with way(url, server) as steps:
            await _warm_up(steps)
            for events in (EVENTS, 2 * EVENTS):
                step = steps(events)
                os.sched_yield()
                await step()
                os.sched_yield()


def main() -> None:
    """Count, or mark."""
    server = Server(port := int(sys.argv[1]))
    url = f"redis://127.0.0.1:{port}/0"
    marks = "--marks" in sys.argv
    random.seed(0)
    gc.disable()
    with asyncio.Runner(loop_factory=lambda: (Loop if marks else CountingLoop)(CLOCK, server)) as runner:
        print(json.dumps(runner.run((mark if marks else count)(url, server))))


if __name__ == "__main__":
    main()
