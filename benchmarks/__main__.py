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
from .runner import Bench, Measurement, Options, measure

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_WITH_UVLOOP = ("consume", "publish", "io")
_OF_UVLOOP = ("raw", "ours")
_PART_FOR_UVLOOP = 0.6
"""Of the rounds."""


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
    found = list(_run(names, options))
    if asked.docs:
        few = max(1, int(asked.rounds * _PART_FOR_UVLOOP))
        with_uvloop = msgspec.structs.replace(options, rounds=few, contenders=_OF_UVLOOP, uvloop=True)
        found += _run([name for name in names if name in _WITH_UVLOOP], with_uvloop)
    return Record(machine.described(), found)


def _run(names: Sequence[str], options: Options) -> Iterator[Measurement]:
    bench = Bench(options)
    for name in names:
        began = time.monotonic()
        rounds = scenarios.rounds(name, options.rounds)
        cases = scenarios.cases(name, options.contenders)
        yield from measure(cases, rounds, bench, scenarios.load(name).measure)
        sys.stderr.write(f"{name}: {rounds} rounds, {time.monotonic() - began:.0f} s\n")


def _interrupt(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that servers and processes are ended on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
