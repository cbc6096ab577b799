"""The table of failovers in Markdown: a row for each server, topology and fault, with the worst of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.failovers.faults import FAULTS
from tests.failovers.judge import Outcome

HEADING = "## Results\n"
HEADS = (
    "topology",
    "fault",
    "server",
    "servers took",
    "gap",
    "lost",
    "gone with Redis",
    "twice",
    "out of order",
    "others p99",
)


class Cell(NamedTuple):
    """What was gone through."""

    server: str
    topology: str
    fault: str


def write(page: Path, outcomes: Mapping[Cell, Sequence[Outcome]]) -> None:
    """Write the results into a page, below its heading. Raises `ValueError` when it has none."""
    before, heading, _ = page.read_text(encoding="utf-8").partition(HEADING)
    if not heading:
        raise ValueError(f"{page}: has no heading {HEADING.strip()!r}")
    page.write_text(f"{before}{heading}\n{table(outcomes)}", encoding="utf-8")


def table(outcomes: Mapping[Cell, Sequence[Outcome]]) -> str:
    """Return the table."""
    rows = [_row(*HEADS), "|---|---|---|" + "-:|" * (len(HEADS) - 3)]
    return "\n".join(rows + [_row(*_cells(cell, runs)) for cell, runs in outcomes.items()]) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(cell: Cell, runs: Sequence[Outcome]) -> list[str]:
    def all_of(field: str) -> str:
        return _spread([getattr(one, field) for one in runs])

    return [
        cell.topology,
        FAULTS[cell.topology][cell.fault].words,
        cell.server.replace("-", " "),
        f"{all_of('fault')} s",
        f"{all_of('gap')} s",
        *(str(max(getattr(one, field) for one in runs)) for field in ("lost", "gone", "twice", "disordered")),
        _others(runs),
    ]


def _spread(numbers: Sequence[float]) -> str:
    """The least and the most of some seconds; one number where they are nearly the same."""
    least, most = f"{min(numbers):.1f}", f"{max(numbers):.1f}"
    return least if least == most else f"{least}-{most}"


def _others(runs: Sequence[Outcome]) -> str:
    """The 99th percentile of other shards' events in milliseconds, before and after; nothing where all were hit."""
    if not any(one.others_before for one in runs):
        return "-"
    before, after = (max(getattr(one, f"others_{when}") for one in runs) * 1000 for when in ("before", "after"))
    return f"{before:.0f} → {after:.0f} ms"
