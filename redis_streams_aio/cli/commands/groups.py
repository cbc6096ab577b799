"""`groups`: shows how far each consumer group of a stream has come."""

from __future__ import annotations

import click
import msgspec

from ...config import Settings
from ...connection import Connection
from ...consumer import ConsumerGroupManager
from ...models import GroupInfo, LagReport
from ...monitoring import LagWatcher
from .. import show
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, run, stream_named
from ..show import age, number, visible

COLUMNS = ("stream", "group", "consumers#", "pending#", "lag#", "oldest#", "last delivered")


@click.command("groups")
@click.argument("streams", nargs=-1, required=True, metavar="STREAM...", callback=redis_name)
@json_option
@connection_options
def command(
    *,
    streams: tuple[str, ...],
    as_json: bool,
    settings: Settings,
) -> None:
    """Show the consumer groups of streams: consumers, pending, lag (`?` if unknown), age of the oldest entry."""
    rows = run(groups_of(settings, streams))
    if as_json:
        show.print_json(rows)
    elif rows:
        show.console().print(show.table(COLUMNS, (row.cells() for row in rows)))
    for stream in streams:
        if all(row.stream != stream for row in rows):
            click.echo(f"stream {stream!r} has no groups", err=True)


class GroupRow(msgspec.Struct, frozen=True):
    """A group, as the table shows it and as `--json` prints it."""

    stream: str
    group: str
    consumers: int
    pending: int
    lag: int | None
    """Entries not yet delivered; `None` if unknown."""
    oldest_age: float | None
    """Seconds since the oldest unsettled entry was published; `None` if all are settled."""
    last_delivered_id: str

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            visible(self.stream),
            visible(self.group),
            number(self.consumers),
            number(self.pending),
            number(self.lag),
            age(self.oldest_age),
            self.last_delivered_id,
        )


async def groups_of(settings: Settings, streams: tuple[str, ...]) -> list[GroupRow]:
    """Return all groups of the streams. Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`."""
    async with connect(settings) as connection:
        found = [(stream, group) for stream in streams for group in await _groups(connection, stream)]
        watcher = LagWatcher(connection, ((stream, group.name) for stream, group in found))
        await watcher.run_once()
        return [_row(stream, group, watcher.reports.get((stream, group.name))) for stream, group in found]


async def _groups(connection: Connection, stream: str) -> list[GroupInfo]:
    with stream_named(stream):
        return await ConsumerGroupManager(connection).list_groups(stream)


def _row(stream: str, group: GroupInfo, report: LagReport | None) -> GroupRow:
    lag, oldest = (None, None) if report is None else (report.lag, report.oldest_age)
    return GroupRow(stream, group.name, group.consumers, group.pending, lag, oldest, group.last_delivered_id)
