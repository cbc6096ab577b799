"""`groups`: shows how far each consumer group has come, of some streams or of all."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from ...config import Settings
from ...connection import Connection, replies
from ...connection.replies import Answer
from ...connection.steps import controls
from ...consumer import ConsumerGroupManager
from ...events import keys
from ...exceptions import RedisStreamsError, StreamNotFoundError
from ...models import GroupInfo, LagReport, Pause
from ...monitoring import LagWatcher
from .. import show, tables
from ..finding import names_of_all
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, run, stream_named
from ..show import age, number, visible

COLUMNS = ("stream", "group", "consumers#", "pending#", "lag#", "oldest#", "dead#", "last delivered")


@click.command("groups")
@click.argument("streams", nargs=-1, metavar="[STREAM]...", callback=redis_name)
@json_option
@connection_options
def command(*, streams: tuple[str, ...], as_json: bool, settings: Settings) -> None:
    """Show consumer groups: consumers, pending, lag (`?` if unknown), age of the oldest entry, dead letters.

    Without STREAM: the groups of all streams.
    """
    rows = run(groups_of(settings, streams))
    if as_json:
        show.print_json(rows)
    elif rows:
        _print_table(rows)
    elif not streams:
        click.echo("no stream has a group", err=True)
    for stream in streams:
        if all(row.stream != stream for row in rows):
            click.echo(f"stream {stream!r} has no groups", err=True)


def _print_table(rows: Sequence[GroupRow]) -> None:
    tables.print_rows(show.console(), COLUMNS, (row.cells() for row in rows), heads=2)
    for row in rows:
        if row.paused is not None:
            click.echo(visible(f"{row.stream} / {row.group}: {row.paused}"))


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group, as the table shows it and as `--json` prints it."""

    stream: str
    group: str
    consumers: int
    pending: int
    lag: int | None
    oldest_age: float | None
    dead_letters: int | None
    last_delivered_id: str
    paused: Pause | None
    """Who has paused it, why, and since when; `None` if it is not paused, or that may not be read."""

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            visible(self.stream),
            visible(self.group),
            number(self.consumers),
            number(self.pending),
            number(self.lag),
            age(self.oldest_age),
            number(self.dead_letters),
            self.last_delivered_id,
        )


async def groups_of(settings: Settings, streams: tuple[str, ...]) -> list[GroupRow]:
    """Return all groups of the streams, or of all streams.

    Raises `StreamNotFoundError`, `StreamTypeError`, `PermissionDeniedError`, `RedisUnavailableError`.
    """
    async with connect(settings) as connection:
        return await rows_of(connection, streams)


async def rows_of(connection: Connection, streams: tuple[str, ...] = ()) -> list[GroupRow]:
    """Return all groups of the streams, or of all streams; see `groups_of`."""
    found = await found_groups(connection, streams)
    pairs = [(stream, group.name) for stream, group in found]
    watcher = LagWatcher(connection, pairs)
    await watcher.run_once()
    letters = await connection.call_many([("XLEN", keys.dead_letters(*pair)) for pair in pairs])
    told = await connection.call_many([controls.reading(*pair) for pair in pairs])
    return [
        _row(stream, group, watcher.reports.get((stream, group.name)), count, known)
        for (stream, group), count, known in zip(found, letters, told, strict=True)
    ]


async def found_groups(connection: Connection, streams: tuple[str, ...]) -> list[tuple[str, GroupInfo]]:
    """Return the groups of the streams, or of all streams: then without those that are deleted meanwhile."""
    manager = ConsumerGroupManager(connection)
    found = []
    for stream in streams or await names_of_all(connection):
        try:
            with stream_named(stream):
                found += [(stream, group) for group in await manager.list_groups(stream)]
        except StreamNotFoundError:
            if streams:
                raise
    return found


def _row(stream: str, group: GroupInfo, report: LagReport | None, letters: Answer, told: Answer) -> GroupRow:
    lag, oldest = (None, None) if report is None else (report.lag, report.oldest_age)
    return GroupRow(
        stream=stream,
        group=group.name,
        consumers=group.consumers,
        pending=group.pending,
        lag=lag,
        oldest_age=oldest,
        dead_letters=None if isinstance(letters, RedisStreamsError) else replies.integer(letters),
        last_delivered_id=group.last_delivered_id,
        paused=None if isinstance(told, RedisStreamsError) else controls.controls(told).paused,
    )
