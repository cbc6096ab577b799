"""The table: its cells, and how it is written in docs/reliability.md.

python -m tests.pairs.table docs/reliability.md
"""

from __future__ import annotations

import re
import sys
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from tests.pairs.traits import FAILOVER, TRAITS, Trait

HEADING = "## Pairs\n"
TESTED, ITSELF = "✓", "·"
NO_SENSE: dict[tuple[str, str], str] = {
    ("full cap", "many groups"): "each subscription has its own limit",
}
"""Why there is no test, by names of traits."""


class Cell(NamedTuple):
    """Two traits that meet."""

    left: Trait
    right: Trait

    @property
    def id(self) -> str:
        """As it is named in pytest: `deduplicate-drain`."""
        return f"{self.left.name}-{self.right.name}".replace(" ", "_")

    @property
    def names(self) -> tuple[str, str]:
        """Of its traits."""
        return self.left.name, self.right.name

    @property
    def needs_twins(self) -> bool:
        """Whether a primary is to fail over to its replica."""
        return FAILOVER in self

    @property
    def promises(self) -> list[str]:
        """Those that it is about."""
        return sorted({*self.left.promises, *self.right.promises}, key=lambda promise: int(promise[1:]))


PAIRS = [Cell(*pair) for pair in combinations(TRAITS, 2)]
CELLS = [cell for cell in PAIRS if cell.names not in NO_SENSE]
"""Those that are played."""


def table() -> str:
    """The table in Markdown: a row and a column for each trait, and the reasons of what has no test as footnotes."""
    reasons = list(dict.fromkeys(NO_SENSE.values()))
    lines = [
        _row("", "shows", *(f"{number}" for number, _ in enumerate(TRAITS, 1))),
        _row("---", "---", *(":-:" for _ in TRAITS)),
    ]
    for number, trait in enumerate(TRAITS, 1):
        cells = [_cell(trait, other, reasons) for other in TRAITS]
        lines.append(_row(f"{number} {trait.name}", ", ".join(trait.promises), *cells))
    notes = [f"[^p{number}]: No test: {reason}." for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def _cell(one: Trait, other: Trait, reasons: list[str]) -> str:
    if one is other:
        return ITSELF
    pair = (one, other) if TRAITS.index(one) < TRAITS.index(other) else (other, one)
    reason = NO_SENSE.get(Cell(*pair).names)
    return TESTED if reason is None else f"-[^p{reasons.index(reason) + 1}]"


def _row(*cells: str) -> str:
    return "|" + "|".join(cells) + "|" if "---" in cells else "| " + " | ".join(cells) + " |"


_TABLE = re.compile(r"^\| +\| shows \|.*?(?=\n## )", re.MULTILINE | re.DOTALL)


def of_page(page: str) -> str:
    """The table as it stands in a page, below its heading. Raises `ValueError` where it is not there."""
    found = _TABLE.search(page, page.find(HEADING))
    if HEADING not in page or found is None:
        raise ValueError(f"has no table below the heading {HEADING.strip()!r}")
    return found[0]


def main(path: str) -> None:
    """Write the table into the page."""
    file = Path(path)
    page = file.read_text(encoding="utf-8")
    file.write_text(page.replace(of_page(page), table()), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
