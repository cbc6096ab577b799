"""Does the cost of an event stay what it is, when there is more of everything?

The rate at which the first events are handled: where more and more of them wait; where they are spread over more
subscriptions of one process; behind more and more entries that a dead consumer left pending; by more processes of one
group.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..consuming import work_off
from ..contenders import Contender
from ..job import Figures, Job
from ..runner import Bench, Case, Child, run
from ..stage import Stage
from ..workload import FIRST, stream

AXES = {
    "waiting events": (10_000, 100_000, 1_000_000),
    "subscriptions": (1, 10, 100),
    "pending entries of a dead consumer": (0, 1_000, 100_000),
    "processes of one group": (1, 4, 8),
}
VARIANTS = {f"{count} {axis}": ("raw", "ours") for axis, counts in AXES.items() for count in counts}
ROUNDS = 0.4
_PATIENCE = 60.0


def point(variant: str) -> tuple[str, int]:
    """A variant's axis, and its place there."""
    count, _, axis = variant.partition(" ")
    return axis, int(count)


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    axis, count = point(case.variant)
    template = bench.template(case.contender)
    with Stage() as stage:
        return _MEASURES[axis](case, bench, stage, template, count)


def _waiting(case: Case, bench: Bench, stage: Stage, template: list[bytes], count: int) -> Figures:
    stage.fill(stream(0), template, count)
    return run(bench.job(case, stage, events=count, enough=min(count, bench.options.events)))


def _subscriptions(case: Case, bench: Bench, stage: Stage, template: list[bytes], count: int) -> Figures:
    each = max(1, bench.options.events // count)
    for index in range(count):
        stage.fill(stream(index), template, each, first=FIRST + index * each)
    return run(bench.job(case, stage, events=each * count, streams=count))


def _pending(case: Case, bench: Bench, stage: Stage, template: list[bytes], count: int) -> Figures:
    events = bench.options.events
    stage.fill(stream(0), template, count, first=FIRST + events)
    stage.leave_pending(stream(0), count)
    stage.fill(stream(0), template, events)
    return run(bench.job(case, stage, events=events))


def _processes(case: Case, bench: Bench, stage: Stage, template: list[bytes], count: int) -> Figures:
    events = bench.options.events
    stage.make_group(stream(0))
    job = bench.job(case, stage, events=events, shared=True)
    with ExitStack() as opened:
        children = [opened.enter_context(Child(job)) for _ in range(count)]
        for child in children:
            child.go()
        stage.wait_for_consumers(stream(0), count, _PATIENCE)
        began = time.monotonic()
        stage.fill(stream(0), template, events)
        stage.wait_until_left(stream(0), 0, _PATIENCE)
        seconds = time.monotonic() - began
        each = [child.figures() for child in children]
    if (handled := sum(figures["count"] for figures in each)) != events:
        raise RuntimeError(f"{handled:.0f} events were handled instead of {events}")
    return {"steady_rate": events / seconds}


_MEASURES = {
    "waiting events": _waiting,
    "subscriptions": _subscriptions,
    "pending entries of a dead consumer": _pending,
    "processes of one group": _processes,
}


async def work(job: Job, contender: Contender) -> Figures:
    """Handle them."""
    return await work_off(job, contender)
