"""`streams`: shows all streams of a Redis, with what they take and who reads them."""

from __future__ import annotations

from collections.abc import Callable

import click
import msgspec

from ...config import Retention, Settings
from ...connection import replies
from ...events import entry_ids
from ...monitoring.finding import FoundStream, find_streams
from .. import show, tables
from ..finding import names_of_all
from ..parameters import connection_options, json_option
from ..session import connect, run
from ..show import age, number, size, visible

COLUMNS = ("stream", "kind", "length#", "memory#", "groups#", "last event#", "bound#", "last id")


class StreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, as the table shows it and as `--json` prints it."""

    stream: str
    kind: str
    length: int
    memory: int | None
    groups: int
    last_age: float | None
    max_length: int | None
    first_id: str | None
    last_id: str | None
    entries_added: int

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            visible(self.stream),
            self.kind,
            number(self.length),
            size(self.memory),
            number(self.groups),
            age(self.last_age),
            show.NONE if self.max_length is None else number(self.max_length),
            self.last_id or show.NONE,
        )


SORTS: dict[str, Callable[[StreamRow], tuple[float, str]]] = {
    "name": lambda row: (0, row.stream),
    "length": lambda row: (-row.length, row.stream),
    "memory": lambda row: (-(row.memory or 0), row.stream),
    "age": lambda row: (float("inf") if row.last_age is None else row.last_age, row.stream),
}


@click.command("streams")
@click.option("--match", default="*", metavar="PATTERN", help="Only names like this, e.g. 'orders*'.")
@click.option("--sort", type=click.Choice(tuple(SORTS)), default="name", show_default=True, help="What comes first.")
@json_option
@connection_options
def command(*, match: str, sort: str, as_json: bool, settings: Settings) -> None:
    """Show all streams: whose entries, length, memory, groups, and how long ago the last event came.

    Streams of other programs are shown too. The kind is `events` for events of this library, `dead letters`,
    `FastStream`, `other`, or `empty`.
    """
    rows = sorted(run(streams_of(settings, match)), key=SORTS[sort])
    if as_json:
        show.print_json(rows)
    elif rows:
        tables.print_rows(show.console(), COLUMNS, (row.cells() for row in rows))
    else:
        click.echo("there are no streams" + (f" like {match!r}" if match != "*" else ""), err=True)


async def streams_of(settings: Settings, pattern: str) -> list[StreamRow]:
    """Return all streams that match. Raises `PermissionDeniedError`, `RedisUnavailableError`."""
    async with connect(settings) as connection:
        found = await find_streams(connection, await names_of_all(connection, pattern))
        now = replies.clock(await connection.call("TIME"))
    return [_row(each, now, settings.stream(each.info.name).retention) for each in found]


def _row(found: FoundStream, now: float, retention: Retention | None) -> StreamRow:
    info = found.info
    return StreamRow(
        stream=info.name,
        kind=found.kind,
        length=info.length,
        memory=found.memory,
        groups=info.groups,
        last_age=None if info.last_id is None else max(0.0, round(now - entry_ids.parse(info.last_id)[0] / 1000, 3)),
        max_length=None if retention is None else retention.max_length,
        first_id=info.first_id,
        last_id=info.last_id,
        entries_added=info.entries_added,
    )
