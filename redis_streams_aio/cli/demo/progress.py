"""Show the progress of the demo: bars in a terminal, otherwise a plain line every two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .publishing import Publishing
from .tally import Tally

LINE_EVERY = 2.0
"""Seconds between two lines."""

Update = Callable[[], None]
"""Shows the current progress; called repeatedly while the demo runs."""


@contextmanager
def progress(console: Console, total: int, publishing: Publishing, tallies: Iterable[Tally]) -> Iterator[Update]:
    """Show the progress until the end of the block."""
    of_groups = list(tallies)
    if not console.is_terminal:
        yield _lines(console, publishing, of_groups)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[lag]}"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bars:
        yield _bars(bars, total, publishing, of_groups)


def _bars(bars: Progress, total: int, publishing: Publishing, tallies: list[Tally]) -> Update:
    published = bars.add_task("published", total=total, lag="")
    handled = {tally.group: bars.add_task(tally.group, total=total, lag="") for tally in tallies}

    def update() -> None:
        bars.update(published, completed=publishing.count)
        for tally in tallies:
            bars.update(handled[tally.group], completed=tally.settled, lag=_lag(tally))
        bars.refresh()

    return update


def _lines(console: Console, publishing: Publishing, tallies: list[Tally]) -> Update:
    began = time.monotonic()
    due = began + LINE_EVERY

    def update() -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + LINE_EVERY
            groups = "; ".join(f"{tally.group} {tally.settled:,} ({_lag(tally)})" for tally in tallies)
            console.print(f"{now - began:4.1f} s: published {publishing.count:,}; {groups}")

    return update


def _lag(tally: Tally) -> str:
    return "lag ?" if tally.lag is None else f"lag {tally.lag:,}"
