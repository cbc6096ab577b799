"""`consumers`: shows who is in a group, what they hold, and who is gone."""

from __future__ import annotations

import click
import msgspec

from ...config import Settings
from ...connection import Connection
from ...connection.steps.consumer import Consumer
from ...connection.steps.leases import known_leases
from ...consumer import ConsumerGroupManager
from ...events import keys
from ...exceptions import RedisStreamsError
from ...models import ConsumerInfo
from .. import show, tables
from ..parameters import connection_options, json_option, meanings, redis_name
from ..session import connect, run, stream_named
from ..show import age, number, visible

COLUMNS = ("consumer", "state", "pending#", "idle#", "last entry#", "lease#")
RESERVED = {keys.RELEASED: "released", keys.PARKED: "parked"}
"""Names that hold entries and belong to no process."""
STATES = {
    "alive": "It read, or renewed what it holds, within its lease (within a minute, if it never said its lease).",
    "gone": "It holds entries, and has not renewed them for a lease: others take them over by themselves.",
    "idle": "It holds nothing and has not read: stopped, or paused. On Redis 7.0: or nothing new has come.",
    "unknown": "It holds entries, and never said its lease: a consumer of another program.",
    "released": "Not a process: it has the entries that a drain has released, until another consumer takes them.",
    "parked": "Not a process: it has the entries that wait in Redis until they are due.",
}
_RECENT = 60.0
"""Seconds within which a consumer that never said its lease counts as alive."""


@click.command("consumers", epilog=meanings(STATES))
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@json_option
@connection_options
def command(*, stream: str, group: str, as_json: bool, settings: Settings) -> None:
    """Show the consumers of a group: what they hold, how long they have been idle, and whether they are alive."""
    rows = run(consumers_of(settings, stream, group))
    if as_json:
        show.print_json(rows)
    elif rows:
        title = f"{visible(stream)} / {visible(group)}"
        tables.print_rows(show.console(), COLUMNS, (row.cells() for row in rows), title=title)
    else:
        click.echo(f"group {group!r} of stream {stream!r} has no consumers: nobody has read from it yet", err=True)


class ConsumerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer, as the table shows it and as `--json` prints it."""

    consumer: str
    state: str
    pending: int
    idle: float
    inactive: float | None
    lease: float | None

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            visible(self.consumer),
            self.state,
            number(self.pending),
            age(self.idle),
            age(self.inactive),
            age(self.lease),
        )


async def consumers_of(settings: Settings, stream: str, group: str) -> list[ConsumerRow]:
    """Return the consumers of a group. Raises `GroupNotFoundError`, `StreamTypeError`, `RedisUnavailableError`."""
    async with connect(settings) as connection:
        with stream_named(stream):
            await ConsumerGroupManager(connection).get_group_info(stream, group)  # its errors are clearer
            return await rows_of(connection, stream, group)


async def rows_of(connection: Connection, stream: str, group: str) -> list[ConsumerRow]:
    """Return the consumers of a group that exists."""
    found = await ConsumerGroupManager(connection).list_consumers(stream, group)
    leases = await leases_of(connection, stream, group)
    return [_row(each, leases.get(each.name)) for each in found]


async def leases_of(connection: Connection, stream: str, group: str) -> dict[str, float]:
    """Return the leases that consumers have noted; none where the user may not read them."""
    try:
        return await known_leases(connection, Consumer(stream, group, ""))
    except RedisStreamsError:
        return {}


def state_of(consumer: ConsumerInfo, lease: float | None) -> str:
    """Return whether a consumer is alive, as far as Redis can tell."""
    if consumer.name in RESERVED:
        return RESERVED[consumer.name]
    if consumer.idle < (_RECENT if lease is None else lease):
        return "alive"
    if not consumer.pending:
        return "idle"
    return "unknown" if lease is None else "gone"


def _row(consumer: ConsumerInfo, lease: float | None) -> ConsumerRow:
    return ConsumerRow(
        consumer=consumer.name,
        state=state_of(consumer, lease),
        pending=consumer.pending,
        idle=consumer.idle,
        inactive=consumer.inactive,
        lease=lease,
    )
