"""`top`: shows all groups live: rates, lag and how it went, pending, dead letters; sorted, filtered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import click
from rich.console import Console

from ...config import Settings
from ...exceptions import RedisStreamsError
from ...monitoring.rates import LEAST
from .. import show, tables
from ..live.measuring import COLUMNS, LiveRow, Measuring, sparkline
from ..live.screen import Screen
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, one_line, run

BARS = 12
"""The last lags that are drawn."""
SORTS: dict[str, Callable[[LiveRow], float]] = {
    "behind": lambda row: row.behind if row.lag is not None else float("inf"),
    "in": lambda row: row.rate_in or 0.0,
    "out": lambda row: row.rate_out or 0.0,
    "age": lambda row: row.oldest_age or 0.0,
    "dead": lambda row: row.dead_letters or 0,
    "name": lambda _: 0.0,
}
"""Orders of the table, the largest first; groups that are equal are in the order of their names."""
_ESCAPE, _BACKSPACE = "\x1b", "\x7f\b"


@click.command("top")
@click.argument("streams", nargs=-1, metavar="[STREAM]...", callback=redis_name)
@click.option("--sort", type=click.Choice(tuple(SORTS)), default="behind", show_default=True, help="What comes first.")
@click.option("--filter", "part", default="", metavar="TEXT", help="Only groups whose stream or name contains this.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two measurements.",
)
@click.option("--once", is_flag=True, help="Measure for a second, print a table, and end.")
@json_option
@connection_options
def command(
    *,
    streams: tuple[str, ...],
    sort: str,
    part: str,
    interval: float,
    once: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show all groups live: rates, lag and how it went, pending, the oldest entry, dead letters.

    Keys: `s` sorts by the next column, `/` filters (Enter ends, Esc clears), `q` quits. Without a terminal, or with
    --json, it is as with --once.
    """
    view = View(sort, part)
    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        rows = view.chosen(run(_once(settings, streams)))
        _print(rows, as_json=as_json)
    else:
        run(_live(settings, streams, view, interval))


class View:
    """The choice of the person who looks: order and filter."""

    def __init__(self, sort: str, part: str) -> None:
        self.sort: str = sort
        self.part: str = part
        self.is_typing: bool = False
        self.ended: bool = False

    def chosen(self, rows: list[LiveRow]) -> list[LiveRow]:
        """Return the rows that are shown, in their order."""
        shown = (row for row in rows if self.part.casefold() in f"{row.stream} / {row.group}".casefold())
        return sorted(shown, key=lambda row: (-SORTS[self.sort](row), row.stream, row.group))

    def press(self, key: str) -> None:
        """Do what a key says."""
        if self.is_typing:
            self._type(key)
        elif key == "q":
            self.ended = True
        elif key == "s":
            names = [*SORTS]
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "/":
            self.is_typing = True

    def _type(self, key: str) -> None:
        if key in "\r\n":
            self.is_typing = False
        elif key == _ESCAPE:
            self.is_typing, self.part = False, ""
        elif key in _BACKSPACE:
            self.part = self.part[:-1]
        elif key.isprintable():
            self.part += key

    def heading(self, rows: int, problem: str) -> str:
        """Return the first line of the screen."""
        asked = f"  filter: {self.part}{'_' if self.is_typing else ''}" if self.part or self.is_typing else ""
        told = problem or f"{rows:,} groups  sorted by {self.sort}{asked}"
        return f"{told}   s sort  / filter  q quit"


async def steady(measuring: Measuring) -> list[LiveRow]:
    """Measure twice, so that rates are known."""
    await measuring.measure()
    await asyncio.sleep(LEAST + 0.1)
    return await measuring.measure()


async def _once(settings: Settings, streams: tuple[str, ...]) -> list[LiveRow]:
    async with connect(settings) as connection:
        return await steady(Measuring(connection, streams))


def _print(rows: list[LiveRow], *, as_json: bool) -> None:
    if as_json:
        show.print_json(rows)
    elif rows:
        tables.print_rows(show.console(), COLUMNS[:-1], (row.cells()[:-1] for row in rows), heads=2)
    else:
        click.echo("there are no groups to show", err=True)


async def _live(settings: Settings, streams: tuple[str, ...], view: View, interval: float) -> None:
    screen = Screen()
    async with connect(settings) as connection:
        measuring = Measuring(connection, streams)
        rows = await measuring.measure()
        problem = ""
        with screen.shown():
            while not view.ended:
                chosen = view.chosen(rows)
                console = show.console()
                lines = [view.heading(len(chosen), problem), *_lines(console, measuring, chosen)]
                screen.draw(_fitting(lines, len(chosen), console.height), console.height)
                if await _keys(screen, view, interval):
                    continue  # drawn again at once, with what is known
                try:
                    rows, problem = await measuring.measure(), ""
                except RedisStreamsError as error:
                    problem = f"OLD FIGURES: {one_line(error)}"


async def _keys(screen: Screen, view: View, seconds: float) -> bool:
    """Wait for a key, and return whether one was pressed."""
    try:
        async with asyncio.timeout(seconds):
            view.press(await screen.pressed.get())
    except TimeoutError:
        return False
    return True


def _lines(console: Console, measuring: Measuring, rows: list[LiveRow]) -> list[str]:
    cells = [row.cells(sparkline(measuring.lags(row), BARS)) for row in rows]
    with console.capture() as captured:
        if cells:
            tables.print_rows(console, COLUMNS, cells, heads=2)
    return captured.get().splitlines()


def _fitting(lines: list[str], rows: int, height: int) -> list[str]:
    """Return the lines that fit the screen; the last of them says that there are more."""
    if len(lines) <= height:
        return lines
    return [*lines[: height - 1], f"... {rows:,} groups do not fit: filter them (/), or make the window larger"]
