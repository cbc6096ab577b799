"""`pending`: shows the entries of a group that were delivered and not settled, with their failures."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from ...config import Settings
from ...connection.steps.records import FailureRecord, failure_records
from ...consumer import ConsumerGroupManager, StreamConsumer
from ...models import PendingMessage
from .. import show
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, run, stream_named
from ..show import NONE, age, local_time, number, visible

COLUMNS = ("id", "consumer", "idle#", "deliveries#", "failures#", "retry due", "last error")


@click.command("pending")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show at most N, the oldest first.",
)
@click.option("--consumer", callback=redis_name, help="Only entries of this consumer.")
@json_option
@connection_options
def command(
    *,
    stream: str,
    group: str,
    count: int,
    consumer: str | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show entries that were delivered and not settled, with their failures."""
    found = run(pending_of(settings, stream, group, count=count, consumer=consumer))
    if as_json:
        show.print_json(found.rows)
        return
    title = f"{show.visible(stream)} / {show.visible(group)}: {len(found.rows):,} shown of {found.total:,} pending"
    show.console().print(show.table(COLUMNS, (row.cells() for row in found.rows), title=title))


class PendingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pending entry, as the table shows it and as `--json` prints it."""

    id: str
    consumer: str
    idle: float
    """Seconds since the entry was delivered, or its lease was renewed."""
    deliveries: int
    failures: int = 0
    first_failure: datetime | None = None
    retry_due: datetime | None = None
    error: str | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            self.id,
            visible(self.consumer),
            age(self.idle),
            number(self.deliveries),
            number(self.failures),
            local_time(self.retry_due),
            NONE if self.error is None else visible(self.error),
        )


class PendingEntries(msgspec.Struct, frozen=True):
    """The oldest pending entries of a group."""

    total: int
    """The number of pending entries in the group, shown or not."""
    rows: list[PendingRow]


async def pending_of(
    settings: Settings, stream: str, group: str, *, count: int, consumer: str | None
) -> PendingEntries:
    """Return the oldest `count` pending entries of the group, of all consumers or of one. Raises
    `GroupNotFoundError`, `StreamTypeError`, `RedisUnavailableError`.
    """
    async with connect(settings) as connection:
        with stream_named(stream):
            info = await ConsumerGroupManager(connection).get_group_info(stream, group)
        reader: StreamConsumer[object] = StreamConsumer(connection, stream, group, payload_type=object)
        messages = await reader.get_pending(count, consumer=consumer)
        records = await failure_records(connection, stream, group, [message.id for message in messages])
    return PendingEntries(info.pending, list(map(_row, messages, records)))


def _row(message: PendingMessage, known: FailureRecord | None) -> PendingRow:
    """Return the row for an entry, with its failure record if there is one."""
    row = PendingRow(id=message.id, consumer=message.consumer, idle=message.idle, deliveries=message.deliveries)
    if known is None:
        return row
    return msgspec.structs.replace(
        row,
        failures=known.failures,
        first_failure=datetime.fromtimestamp(known.first_ms / 1000, UTC),
        retry_due=datetime.fromtimestamp(known.due_ms / 1000, UTC),
        error=known.error,
    )
