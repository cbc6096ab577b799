"""`python -m tests.chaos`: one run, its report, and the exit code (1: a promise was not kept)."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

from redis_streams_aio.testing.servers import DEFAULT, KINDS, binary
from tests.chaos import history, picture, report, verdict
from tests.chaos.run import run
from tests.chaos.schedule import KINDS_ON


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    options = _options(arguments)
    try:
        binary(options.server)
    except LookupError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    folder = options.out or Path(f"chaos-{time.strftime('%Y%m%d-%H%M%S')}-{options.seed}")
    folder.mkdir(parents=True)
    where = options.server if options.topology == "one" else f"{options.server} ({options.topology})"
    sys.stdout.write(f"seed {options.seed}, {options.minutes:g} minutes of {where}; notes in {folder}\n")
    asyncio.run(run(options.seed, options.minutes, options.server, folder, options.topology))
    return judge(folder, f"chaos, seed {options.seed}, {options.minutes:g} minutes, {where}")


def judge(folder: Path, headline: str) -> int:
    """Write report and picture beside the histories, show the report, and return the exit code."""
    records = history.read(folder)
    found = verdict.judge(records)
    written = report.text(found, headline, records[0].at)
    (folder / "report.txt").write_text(written, encoding="utf-8")
    (folder / "timeline.svg").write_text(picture.draw(records, found, headline), encoding="utf-8")
    sys.stdout.write(written)
    return 0 if found.passed else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults go on (0.4: each kind once)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="the same seed, the same schedule")
    parser.add_argument("--server", choices=KINDS, default=DEFAULT)
    parser.add_argument("--topology", choices=list(KINDS_ON), default="one")
    parser.add_argument("--out", type=Path, help="a folder to be made, for histories, report.txt and timeline.svg")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
