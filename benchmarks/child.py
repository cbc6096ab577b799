"""The process that is measured: `python -m benchmarks.child JOB`.

It imports what it needs, says so with a line, waits for a line, works, and says its figures. What a library prints goes
to the standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys

import msgspec

from .contenders import make
from .job import Job


def main() -> None:
    """Run the job of the command line."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.argv[1], type=Job)
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    scenario = importlib.import_module(f".scenarios.{job.scenario}", __package__)
    contender = make(job.contender)
    with asyncio.Runner(loop_factory=_loop_factory(job)) as runner:
        print("ready", file=said, flush=True)
        os.read(0, 1)
        figures = runner.run(scenario.work(job, contender))
        print(msgspec.json.encode(figures).decode(), file=said, flush=True)


def _loop_factory(job: Job) -> type[asyncio.AbstractEventLoop] | None:
    if not job.uvloop:
        return None
    import uvloop  # noqa: PLC0415  # only where it is asked for

    return uvloop.Loop


if __name__ == "__main__":
    main()
