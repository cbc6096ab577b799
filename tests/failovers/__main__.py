"""`python -m tests.failovers`: go through all faults, three times each, and write the table of docs/failovers.md.

Outcomes are added to a file, so the table may be made in parts: `--runs 0 --page docs/failovers.md` only writes it.
The exit code is 1 when an event was lost that Redis still has, or one was handled out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.failovers.faults import FAULTS
from tests.failovers.judge import Outcome
from tests.failovers.run import run
from tests.failovers.table import Cell, write

SERVERS = ("valkey-9.1", "redis-7.0")


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    options = _options(arguments)
    for cell in _cells(options):
        for number in range(options.runs):
            outcome = asyncio.run(run(cell.topology, cell.server, cell.fault))
            sys.stdout.write(f"{' '.join(cell)} {number + 1}: {outcome}\n")
            sys.stdout.flush()
            with options.outcomes.open("ab") as file:
                file.write(msgspec.json.encode((cell, outcome)) + b"\n")
    outcomes = _read(options.outcomes)
    if options.page is not None:
        write(options.page, outcomes)
    return int(any(one.lost or one.disordered for each in outcomes.values() for one in each))


def _read(file: Path) -> dict[Cell, list[Outcome]]:
    """All outcomes of a file, in the order of the table."""
    found: dict[Cell, list[Outcome]] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        cell, outcome = msgspec.json.decode(line, type=tuple[Cell, Outcome])
        found.setdefault(cell, []).append(outcome)
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _place(cell: Cell) -> tuple[int, int, int]:
    return list(FAULTS).index(cell.topology), list(FAULTS[cell.topology]).index(cell.fault), SERVERS.index(cell.server)


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    for server in options.server:
        for topology in options.topology:
            for name, kind in FAULTS[topology].items():
                if server.startswith(kind.servers) and name in (options.fault or name):
                    yield Cell(server, topology, name)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.failovers", description=__doc__)
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--topology", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--fault", nargs="+", help="some faults only", default=[])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--outcomes", type=Path, default=Path("failovers.jsonl"), help="the file of outcomes to add to")
    parser.add_argument("--page", type=Path, help="write the table into this page, below its heading Results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
