"""Show tables, ages, times, and text that cannot disturb a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

UNKNOWN = "?"
NONE = "-"
_WIDE = 10_000
"""The width without a terminal: so large that lines in a file or a pipe are not broken."""
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES = ((1024**3, "GB"), (1024**2, "MB"), (1024, "kB"))


def console() -> Console:
    """Return the console for standard output: plain text of any width if it is not a terminal."""
    plain = Console(markup=False, highlight=False, emoji=False)
    return plain if plain.is_terminal else Console(markup=False, highlight=False, emoji=False, width=_WIDE)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """Make a table. A column's name may end in `#` (numbers, right-aligned) or in `~` (text in several lines)."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for name in columns:
        is_number = name.endswith("#")
        made.add_column(name.rstrip("#~"), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        made.add_row(*row)
    return made


def print_json(rows: Iterable[msgspec.Struct]) -> None:
    """Print each record as one line of JSON."""
    for row in rows:
        click.echo(msgspec.json.encode(row))


def visible(text: str) -> str:
    """Return the text without control characters, which a terminal might obey."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def number(value: int | None) -> str:
    """Return a number such as `6,099`; `?` if it is unknown."""
    return UNKNOWN if value is None else f"{value:,}"


def size(count: int | None) -> str:
    """Return bytes such as `512 B`, `3.4 kB` or `1.2 GB`; `?` if they are unknown."""
    if count is None:
        return UNKNOWN
    return next((f"{count / each:.1f} {unit}" for each, unit in _SIZES if count >= each), f"{count} B")


def age(seconds: float | None) -> str:
    """Return an age such as `1.2 s`, `3.4 min`, `5.6 h` or `7.8 d`; `-` for none."""
    if seconds is None:
        return NONE
    return next((f"{seconds / each:.1f} {unit}" for each, unit in _TIMES if seconds >= each), f"{seconds:.1f} s")


def local_time(moment: datetime | None) -> str:
    """Return a point in time in this machine's time zone, to the millisecond."""
    if moment is None:
        return NONE
    try:
        return moment.astimezone().isoformat(" ", "milliseconds")[:23]
    except OverflowError:  # the last day there is, and it is tomorrow here
        return moment.isoformat(" ", "milliseconds")[:23]
