"""Events wait in a stream, and are handled by handlers that do nothing.

From the call that begins to consume to the last handler; then nothing may be left unacknowledged. All ways of ours are
compared with the raw loop that handles one event after another: it is the fastest where handlers wait for nothing.
"""

from __future__ import annotations

from ..consuming import work_off
from ..contenders import Contender, Way
from ..job import Figures, Job
from ..runner import Bench, Case, run
from ..stage import Stage
from ..workload import stream

WAYS = {
    "one by one": Way(),
    "100 at once": Way(concurrency=100),
    "100 at once, ordered per key": Way(concurrency=100, keyed=True),
    "batches of 100": Way(batch=100),
    "one by one, with an observer": Way(observed=True),
}
VARIANTS = {
    "one by one": ("raw", "ours", "faststream"),
    "100 at once": ("ours", "faststream"),
    "100 at once, ordered per key": ("ours",),
    "batches of 100": ("ours", "faststream"),
    "one by one, with an observer": ("ours",),
}
ROUNDS = 1.0


def measure(case: Case, bench: Bench) -> Figures:
    """One run."""
    events, template = bench.events(case.contender), bench.template(case.contender)
    with Stage() as stage:
        stage.fill(stream(0), template, events)
        figures = run(bench.job(case, stage, way=WAYS[case.variant]))
        if left := stage.left(stream(0)):
            raise RuntimeError(f"{left} events were not acknowledged")
        return figures


async def work(job: Job, contender: Contender) -> Figures:
    """Handle all of them."""
    return await work_off(job, contender)
