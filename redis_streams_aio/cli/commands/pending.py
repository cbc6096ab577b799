"""`pending`: shows the entries of a group that were delivered and not settled, with their failures.

Redis stores who holds an entry, since when, and when its retry is due. Whether a handler is running on it, or it waits
in its consumer's buffer, is known in that process only: both are shown as `held`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from ...config import Settings
from ...connection import Connection, replies
from ...connection.steps.consumer import Consumer
from ...connection.steps.parking import due_times
from ...connection.steps.pending import pending
from ...connection.steps.records import FailureRecord, failure_records
from ...consumer import ConsumerGroupManager
from ...events import keys
from ...exceptions import RedisStreamsError
from ...models import PendingMessage
from .. import show, tables
from ..parameters import connection_options, json_option, meanings, redis_name
from ..session import connect, run, stream_named
from ..show import NONE, age, local_time, number, visible
from .consumers import RESERVED, leases_of

COLUMNS = ("id", "state", "consumer", "idle#", "deliveries#", "failures#", "due", "last error~")
STATES = {
    "held": "Its consumer handles it, or has it in its buffer: Redis does not know which.",
    "waiting": "Its handler failed, and its consumer waits until the retry is due.",
    "parked": "It waits in Redis until it is due; any consumer takes it then.",
    "released": "A drain has released it; any consumer takes it at once.",
    "abandoned": "Its consumer has not renewed it for a lease; another consumer takes it over.",
}


@click.command("pending", epilog=meanings(STATES))
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
    tables.print_rows(show.console(), COLUMNS, (row.cells() for row in found.rows), title=title)


class PendingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pending entry, as the table shows it and as `--json` prints it."""

    id: str
    state: str
    consumer: str
    idle: float
    deliveries: int
    failures: int = 0
    first_failure: datetime | None = None
    due: datetime | None = None
    error: str | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            self.id,
            self.state,
            visible(self.consumer),
            age(self.idle),
            number(self.deliveries),
            number(self.failures),
            local_time(self.due),
            NONE if self.error is None else visible(self.error),
        )


class PendingEntries(msgspec.Struct, frozen=True):
    """The oldest pending entries of a group."""

    total: int
    """The number of pending entries in the group, shown or not."""
    rows: list[PendingRow]


class Known(msgspec.Struct, frozen=True):
    """Facts about pending entries beside `XPENDING`."""

    now_ms: float
    """The server's time."""
    leases: dict[str, float]
    parked: dict[str, float]
    """When parked entries are due, in milliseconds of the server's clock."""


async def pending_of(
    settings: Settings, stream: str, group: str, *, count: int, consumer: str | None
) -> PendingEntries:
    """Return the oldest `count` pending entries of the group, of all consumers or of one. Raises
    `GroupNotFoundError`, `StreamTypeError`, `RedisUnavailableError`.
    """
    async with connect(settings) as connection:
        with stream_named(stream):
            info = await ConsumerGroupManager(connection).get_group_info(stream, group)
        messages = await pending(connection, stream, group, count, consumer=consumer)
        return PendingEntries(info.pending, await rows_of(connection, stream, group, messages))


async def rows_of(connection: Connection, stream: str, group: str, messages: list[PendingMessage]) -> list[PendingRow]:
    """Return what is known of pending entries."""
    records = await failure_records(connection, stream, group, [message.id for message in messages])
    known = Known(
        now_ms=replies.clock(await connection.call("TIME")) * 1000,
        leases=await leases_of(connection, stream, group),
        parked=await _parked(connection, stream, group, messages),
    )
    return [_row(message, record, known) for message, record in zip(messages, records, strict=True)]


async def _parked(connection: Connection, stream: str, group: str, messages: list[PendingMessage]) -> dict[str, float]:
    """Return when parked entries are due; nothing where the user may not read it."""
    ids = [message.id for message in messages if message.consumer == keys.PARKED]
    if not ids:
        return {}
    try:
        scores = replies.rows(
            await connection.call(*due_times(Consumer(stream, group, ""), [each.encode() for each in ids]))
        )
    except RedisStreamsError:
        return {}
    return {each: float(score) for each, score in zip(ids, scores, strict=True) if isinstance(score, bytes)}


def _row(message: PendingMessage, record: FailureRecord | None, known: Known) -> PendingRow:
    """Return the row for an entry, with its failure record if there is one."""
    due_ms = known.parked.get(message.id, 0 if record is None else record.due_ms)
    row = PendingRow(
        id=message.id,
        state=_state(message, due_ms, known),
        consumer=message.consumer,
        idle=message.idle,
        deliveries=message.deliveries,
        due=_moment(due_ms),
    )
    if record is None:
        return row
    first = _moment(record.first_ms)
    return msgspec.structs.replace(row, failures=record.failures, first_failure=first, error=record.error)


def _state(message: PendingMessage, due_ms: float, known: Known) -> str:
    if message.consumer in RESERVED:
        return RESERVED[message.consumer]
    lease = known.leases.get(message.consumer)
    if lease is not None and message.idle >= lease:
        return "abandoned"
    return "waiting" if due_ms > known.now_ms else "held"


def _moment(ms: float) -> datetime | None:
    """Return a time of Redis's clock; `None` for none, and for what no clock says."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC) if ms > 0 else None
    except (OverflowError, OSError, ValueError):
        return None
