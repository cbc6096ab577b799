"""`python -m tests.soak [--minutes 20] [--events 5000000] [--picture soak.svg]`: a table, a verdict, an exit code.

It ends when both the minutes are over and the events are published.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from tests.soak.course import Plan, Report, run
from tests.soak.picture import draw
from tests.soak.verdict import LIMITS, MIB, Sample

_SHORT = {
    "memory of the process": "process",
    "memory of the server": "server",
    "file descriptors": "fds",
    "connections": "conns",
    "failure records": "failures",
    "dead letters": "dead",
}


def shown(measure: str, value: float) -> str:
    """A figure with its unit."""
    return f"{value / MIB:.1f}M" if measure.startswith("memory") else f"{value:.0f}"


def heading() -> str:
    return "".join(f"{_SHORT.get(name, name):>10}" for name in ("seconds", "handled", *LIMITS))


def line(sample: Sample) -> str:
    return "".join(f"{shown(name, sample[name]):>10}" for name in ("at", "handled", *LIMITS))


def verdict(report: Report) -> str:
    rows = [f"{'':24}{'after warm-up':>15}{'at the end':>15}{'may grow by':>15}"]
    for trend in report.trends:
        name = trend.measure
        figures = "".join(f"{shown(name, value):>15}" for value in (trend.first, trend.last, trend.allowed))
        rows.append(f"{name:24}{figures}{'' if trend.is_flat else '  GROWS'}")
    if report.grown:
        rows.append("objects: " + ", ".join(f"{name} +{more}" for name, more in report.grown))
    rows.append("facts: " + ", ".join(f"{name} {count:,}" for name, count in sorted(report.facts.items())))
    rows.append(
        f"{report.published:,} events published, {report.handled:,} handled in {report.seconds:.0f} s, "
        f"{report.lost} lost: {'PASSED' if report.passed else 'FAILED'}"
    )
    return "\n".join(rows)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--turn", type=float, default=5.0, help="seconds that a guest stays")
    parser.add_argument("--picture", type=Path, help="where to draw the samples, as SVG")
    options = parser.parse_args()
    logging.getLogger("redis_streams_aio").setLevel(logging.CRITICAL)  # failures are part of the work
    say(heading())
    plan = Plan(options.minutes * 60, options.events, options.turn)
    report = asyncio.run(run(plan, lambda sample: say(line(sample))))
    say(verdict(report))
    if options.picture:
        options.picture.write_text(draw(report.samples, report.trends), encoding="utf-8")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
