"""`pending`: shows the entries of a group that were delivered and not settled, with their failures."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ..config import Settings
from ..connection.steps.records import FailureRecord, failure_records
from ..consumer import ConsumerGroupManager, StreamConsumer
from ..models import PendingMessage
from .session import connect, stream_named
from .show import NONE, age, local_time, number, visible

COLUMNS = ("id", "consumer", "idle#", "deliveries#", "failures#", "retry due", "last error")


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
