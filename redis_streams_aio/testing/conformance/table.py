"""The table of results: a row for each test of the suite, a column for each server that it was run on.

python -m redis_streams_aio.testing.conformance.table PAGE.md REPORT.xml ...

The reports are those of `pytest --junitxml`; the page is written again below its heading "Results". The
rows come from the suite itself, so that a test that no report knows is seen. Several reports of one server are one
column, and a test that failed in any of them has failed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

HEADING = "## Results\n"
PASSED, FAILED, UNKNOWN = "✓", "**failed**", "?"

_NAME = re.compile(r"test_(\d\d)_(\w+)")
_PROMISES = re.compile(r"\((P\d+(?:, P\d+)*)\)\.$")


class Case(NamedTuple):
    """One test of the suite."""

    number: int
    name: str
    title: str
    promises: str
    """The promises that it shows, as its docstring names them at its end."""


class Report(NamedTuple):
    """One run of the suite."""

    server: str
    outcomes: dict[str, str]
    """By test: `PASSED`, `FAILED`, or why it was skipped."""


def suite() -> list[Case]:
    """The tests of the suite, by their numbers."""
    rooms = Path(__file__).parent.glob("test_*.py")
    return sorted(test for room in rooms for test in _tests_of(ast.parse(room.read_text(encoding="utf-8"))))


def _tests_of(room: ast.Module) -> Iterator[Case]:
    for node in room.body:
        if isinstance(node, ast.AsyncFunctionDef) and (match := _NAME.fullmatch(node.name)):
            promises = _PROMISES.search(ast.get_docstring(node) or "")
            title = match[2].replace("_", " ").replace("redis", "Redis")
            yield Case(int(match[1]), node.name, title[0].upper() + title[1:], promises[1] if promises else "")


def read(path: str | Path) -> Report:
    """A report of `pytest --junitxml`. Raises `ValueError` when it is not one of this suite."""
    root = ET.parse(path).getroot()  # noqa: S314  # the user's own report
    server = root.find(".//property[@name='server']")
    if server is None:
        raise ValueError(f"{path}: names no server; is it a report of the conformance suite?")
    cases = root.iter("testcase")
    return Report(server.get("value", ""), {case.get("name", ""): _outcome(case) for case in cases})


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED
    skipped = case.find("skipped")
    return PASSED if skipped is None else skipped.get("message", "")


def table(reports: Iterable[Report]) -> str:
    """The table in Markdown, with the reasons of what was skipped as footnotes."""
    columns = _columns(reports)
    reasons: list[str] = []

    def cell(outcome: str) -> str:
        if outcome in (PASSED, FAILED, UNKNOWN):
            return outcome
        if outcome not in reasons:
            reasons.append(outcome)
        return f"-[^{reasons.index(outcome) + 1}]"

    lines = [_row("", "test", "shows", *columns), _row("-:", "---", "---", *(":-:" for _ in columns))]
    for test in suite():
        cells = [cell(outcomes.get(test.name, UNKNOWN)) for outcomes in columns.values()]
        lines.append(_row(test.number, test.title, test.promises, *cells))
    notes = [f"[^{number}]: Skipped: {reason}." for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def _row(*cells: object) -> str:
    return "|" + "|".join(map(str, cells)) + "|" if "---" in cells else "| " + " | ".join(map(str, cells)) + " |"


def _columns(reports: Iterable[Report]) -> dict[str, dict[str, str]]:
    columns: dict[str, dict[str, str]] = {}
    for report in reports:
        column = columns.setdefault(report.server, {})
        failed = {name: FAILED for name, outcome in column.items() if outcome == FAILED}
        column.update({**report.outcomes, **failed})
    return columns


def main(page: str, *reports: str) -> None:
    """Write the results into the page."""
    file = Path(page)
    before, heading, _ = file.read_text(encoding="utf-8").partition(HEADING)
    if not heading:
        raise ValueError(f"{page}: has no heading {HEADING.strip()!r}")
    file.write_text(f"{before}{heading}\n{table(map(read, reports))}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
