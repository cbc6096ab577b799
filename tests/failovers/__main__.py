"""`python -m tests.failovers`: go through all faults, three times each, and write the table of docs/failovers.md.

The exit code is 1 when an event was lost that Redis still has, or one was handled out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.failovers.faults import FAULTS
from tests.failovers.judge import Outcome
from tests.failovers.run import run
from tests.failovers.table import Cell, write

SERVERS = ("valkey-9.1", "redis-7.0")


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    options = _options(arguments)
    outcomes: dict[Cell, list[Outcome]] = {}
    for cell in _cells(options):
        for number in range(options.runs):
            outcome = asyncio.run(run(cell.topology, cell.server, cell.fault))
            outcomes.setdefault(cell, []).append(outcome)
            sys.stdout.write(f"{' '.join(cell)} {number + 1}: {outcome}\n")
            sys.stdout.flush()
    if options.page is not None:
        write(options.page, outcomes)
    return int(any(one.lost or one.disordered for each in outcomes.values() for one in each))


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
    parser.add_argument("--page", type=Path, help="write the table into this page, below its heading Results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
