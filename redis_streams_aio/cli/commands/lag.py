"""`lag`: shows how far groups are behind, once or again and again, as lines."""

from __future__ import annotations

import asyncio

import click
import msgspec

from ...config import Settings
from .. import show, tables
from ..live.measuring import COLUMNS, LiveRow, Measuring
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, run
from .top import steady

_SHOWN = slice(None, -1)
"""All columns but the line of lags, which needs a screen."""


@click.command("lag")
@click.argument("streams", nargs=-1, metavar="[STREAM]...", callback=redis_name)
@click.option("--watch", is_flag=True, help="Measure again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3_600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two measurements.",
)
@json_option
@connection_options
def command(*, streams: tuple[str, ...], watch: bool, interval: float, as_json: bool, settings: Settings) -> None:
    """Show how far groups are behind, how fast events come and are settled, and when nothing will wait.

    Without STREAM: all groups. Rates need two measurements, a second apart. With --watch, each measurement adds a line
    for each group.
    """
    run(_lag(settings, streams, interval=interval, watch=watch, as_json=as_json))


async def _lag(settings: Settings, streams: tuple[str, ...], *, interval: float, watch: bool, as_json: bool) -> None:
    async with connect(settings) as connection:
        measuring = Measuring(connection, streams)
        if not watch:
            _print(await steady(measuring), as_json=as_json)
            return
        while True:
            for row in await measuring.measure():
                click.echo(msgspec.json.encode(row) if as_json else _line(row))
            await asyncio.sleep(interval)


def _print(rows: list[LiveRow], *, as_json: bool) -> None:
    if as_json:
        show.print_json(rows)
    elif rows:
        cells = (row.cells()[_SHOWN] for row in rows)
        tables.print_rows(show.console(), COLUMNS[_SHOWN], cells, heads=2)
    else:
        click.echo("there are no groups to show", err=True)


def _line(row: LiveRow) -> str:
    """Return a measurement as a line."""
    stream, group, *cells = row.cells()[_SHOWN]
    pairs = zip(COLUMNS[2:], cells, strict=False)
    known = "  ".join(f"{name.rstrip('#')} {cell}" for name, cell in pairs)
    return f"{show.local_time(row.time)[11:19]}  {stream} / {group}  {known}"
