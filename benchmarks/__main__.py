"""`python -m benchmarks consume publish --rounds 5 --events 50000 --json out.json`: tables, and the figures as JSON.

Without names it measures everything. `--docs` also writes docs/performance.md's tables and pictures, and measures with
uvloop what that makes a difference to; `--read out.json` shows or writes what was measured before. Its exit code is 1
when a measurement had a problem.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from . import machine, pages, scenarios
from .contenders import NAMES
from .report import report
from .results import Results
from .runner import Bench, Case, Measurement, Options, measure, take_processors

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_WITH_UVLOOP = ("consume", "publish", "io")
_OF_UVLOOP = ("raw", "ours")


class Record(msgspec.Struct):
    """What `--json` keeps."""

    machine: str
    measurements: list[Measurement]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and show it."""
    asked = _parser().parse_args(arguments)
    record = msgspec.json.decode(asked.read.read_bytes(), type=Record) if asked.read else _measured(asked)
    if asked.json:
        asked.json.write_bytes(msgspec.json.encode(record))
    results = Results(record.measurements)
    sys.stdout.write(f"\n{record.machine}\n\n{report(results)}")
    if asked.docs:
        pages.write(PAGE, results, record.machine)
    return 1 if results.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(scenarios.NAMES))
    parser.add_argument("--rounds", type=int, default=3, help="of most scenarios; those that take long get fewer")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--contenders", default=",".join(NAMES), help="some of them, with commas between")
    parser.add_argument("--uvloop", action="store_true", help="all of it with uvloop")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    parser.add_argument("--read", type=Path, help="figures that were kept, instead of measuring")
    return parser


def _measured(asked: argparse.Namespace) -> Record:
    names = asked.scenarios or scenarios.NAMES
    if unknown := {*names} - {*scenarios.NAMES}:
        raise SystemExit(f"no such scenario: {', '.join(unknown)}; there are {', '.join(scenarios.NAMES)}")
    options = Options(asked.rounds, asked.events, tuple(asked.contenders.split(",")), asked.uvloop)
    cpus = take_processors()
    bench = Bench(options, cpus)
    with_uvloop = Bench(msgspec.structs.replace(options, uvloop=True), cpus) if asked.docs else None
    return Record(machine.described(), list(_run(names, bench, with_uvloop)))


def _run(names: Sequence[str], bench: Bench, with_uvloop: Bench | None) -> Iterator[Measurement]:
    for name in names:
        began = time.monotonic()
        rounds = scenarios.rounds(name, bench.options.rounds)
        yield from measure(list(_cases(name, bench, with_uvloop)), rounds, scenarios.load(name).measure)
        sys.stderr.write(f"{name}: {rounds} rounds, {time.monotonic() - began:.0f} s\n")


def _cases(name: str, bench: Bench, with_uvloop: Bench | None) -> Iterator[tuple[Case, Bench]]:
    """What is measured in a round; with uvloop right after it was measured without."""
    for case in scenarios.cases(name, bench.options.contenders):
        yield case, bench
        if with_uvloop is not None and name in _WITH_UVLOOP and case.contender in _OF_UVLOOP:
            yield case, with_uvloop


def _interrupt(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that servers and processes are ended on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
