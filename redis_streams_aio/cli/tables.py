"""Tables for people: names and ids stay whole at any width.

Where a table fits the terminal, it is a table. Where it does not, columns that say nothing in any row are left out; if
that is not enough, each row becomes a record: a line with its names, and below it what is known of them. Nothing is
cut, so that whatever is shown can be copied into the next command.

A column's name may end in `#` (a number, right-aligned) or in `~` (text, which may take several lines).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from .show import NONE, table

_GAP = 2
_LEAST_TEXT = 20
"""The width that a column of text needs at least, if its texts are longer."""
_INDENT = "    "

Row = Sequence[str]


def print_rows(console: Console, columns: Row, rows: Iterable[Row], *, heads: int = 1, title: str = "") -> None:
    """Print rows as a table, or as records headed by their first `heads` columns."""
    found = list(rows)
    if title:
        _print(console, title)
    for shown in (range(len(columns)), _telling(found)):
        names, cells = _only(columns, shown), [_only(row, shown) for row in found]
        if _width(names, cells) <= console.width:
            made = table(names, cells)
            for name, column in zip(names, made.columns, strict=True):
                column.no_wrap = not name.endswith("~")
            console.print(made)
            return
    for row in found:
        _print(console, " / ".join(row[:heads]), style="bold")
        for line in _known(columns[heads:], row[heads:], console.width):
            _print(console, line)


def _print(console: Console, line: str, style: str = "") -> None:
    """Print a line. Where it is too long, it goes on between words; a word that is too long is left to the terminal."""
    has_long_word = any(cell_len(word) > console.width for word in line.split())
    console.print(Text(line, style=style), soft_wrap=has_long_word)


def _telling(rows: Sequence[Row]) -> list[int]:
    """Return the columns in which at least one row says something."""
    return [at for at, cells in enumerate(zip(*rows, strict=True)) if any(cell != NONE for cell in cells)]


def _only(row: Row, shown: Iterable[int]) -> list[str]:
    return [row[at] for at in shown]


def _width(columns: Row, rows: Sequence[Row]) -> int:
    """Return the width that the table needs."""
    widths = []
    for name, *cells in zip(columns, *rows, strict=True):
        longest = max(map(cell_len, cells), default=0)
        wanted = min(longest, _LEAST_TEXT) if name.endswith("~") else longest
        widths.append(max(cell_len(name.rstrip("#~")), wanted))
    return sum(widths) + _GAP * (len(widths) - 1)


def _known(columns: Row, row: Row, width: int) -> Iterator[str]:
    """Yield lines with the names and values of a row, as many to a line as there is room for."""
    line = _INDENT
    for pair in (f"{name.rstrip('#~')} {cell}" for name, cell in zip(columns, row, strict=True) if cell != NONE):
        if line != _INDENT and cell_len(line) + _GAP + cell_len(pair) > width:
            yield line
            line = _INDENT
        line += pair if line == _INDENT else " " * _GAP + pair
    if line != _INDENT:
        yield line
