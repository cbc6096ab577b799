"""The long run: `python -m tests.fuzz --inputs 1000000 --seed 1 [--only NAME]`."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import resource
import sys
import time

from tests.fuzz.running import FoundError, Target, run
from tests.fuzz.targets import TARGETS

STUCK = 120.0
"""Seconds without an end of a hundred inputs after which the run says where it stands, and ends."""


def main() -> int:
    """Run all targets, each with its share of the inputs; the number of targets that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only targets whose name has this in it")
    asked = parser.parse_args()
    logging.disable()  # what is refused is logged, a million times
    chosen = [target for target in TARGETS if asked.only in target.name]
    shares = sum(target.share for target in chosen)
    began = time.monotonic()
    counts = [max(1, round(asked.inputs * target.share / shares)) for target in chosen]
    failed = sum(not _ran(target, asked.seed, count) for target, count in zip(chosen, counts, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    taken = time.monotonic() - began
    print(f"{sum(counts):,} inputs, seed {asked.seed}, {taken:.0f} s, {peak} MiB at most; {failed} failed")
    return failed


def _ran(target: Target, seed: int, count: int) -> bool:
    began, slowest = time.monotonic(), 0.0
    try:
        for start in range(0, count, 100):
            faulthandler.dump_traceback_later(STUCK, exit=True)
            slowest = max(slowest, run(target, seed, range(start, min(count, start + 100))))
    except FoundError as found:
        print(
            f"{target.name:24} FAILED: {found}\n  {type(found.__cause__).__name__}: {found.__cause__!s:.500}",
            flush=True,
        )
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    taken = time.monotonic() - began
    print(f"{target.name:24} {count:9,} inputs {taken:8.1f} s, slowest {slowest * 1000:7.1f} ms", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
