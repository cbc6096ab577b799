"""The words of the library: immutable records of events, of entries, and of the state of streams and groups.

Durations and ages are seconds (`float`); points in time are `datetime` in UTC. Pure: no input or output.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from .events import entry_ids, wire_format

T = TypeVar("T")


class EventMessage(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One event as it was published, with its payload decoded."""

    id: str
    """The entry id that Redis assigned, e.g. `1700000000000-0`. Later entries have greater ids."""
    stream: str
    event_type: str
    """The kind of event; `""` if another program wrote the entry and named none."""
    payload: T
    key: str | None = None
    """The publisher's ordering key, e.g. the id of a customer."""
    event_id: str | None = None
    """The publisher's own id of the event, the same in every copy."""
    headers: Mapping[str, str] = {}

    @property
    def timestamp(self) -> datetime:
        """When Redis took the entry, in UTC."""
        return entry_ids.timestamp(self.id)


class PendingMessage(msgspec.Struct, frozen=True):
    """An entry that was delivered to a consumer and is not acknowledged yet."""

    id: str
    consumer: str
    idle: float
    """Seconds since the entry was last delivered, or its lease was last renewed."""
    deliveries: int
    """How often Redis has delivered the entry."""


class History(msgspec.Struct, frozen=True):
    """The history of an event before it was replayed from the dead letters."""

    id: str
    """The event's first entry id."""
    failures: int
    """How often handlers failed on the event, before and after all replays."""
    first_failure: float
    """When a handler first failed on the event, in epoch seconds of Redis's clock; 0 if none did."""
    reason: str
    """Why the event was last dead-lettered."""
    error: str
    replays: int
    """How often the event was replayed."""


class DeadLetterMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the library gave up on, with the reason and the event itself."""

    id: str
    """The dead letter's own id."""
    reason: str
    """One word: `failures`, `gave_up`, `deadline`, `rejected`, `deliveries`, `undecodable` or `unhandled`; `""` if
    another program wrote the entry.
    """
    error: str
    traceback: str
    failures: int
    """How often handlers failed on the event, before and after all replays."""
    deliveries: int
    """How often Redis had delivered the entry."""
    first_failure: datetime | None
    replays: int
    """How often the event had been replayed before."""
    stream: str
    group: str
    consumer: str
    """The consumer that gave up on the event."""
    entry_id: str
    """The event's entry id in its stream."""
    event_type: str
    key: str | None
    event_id: str | None
    headers: Mapping[str, str]
    fields: tuple[bytes, ...]
    """The event's own fields, unchanged: names and values in turn."""

    @property
    def timestamp(self) -> datetime:
        """When the event was dead-lettered, in UTC."""
        return entry_ids.timestamp(self.id)

    @property
    def payload(self) -> bytes | None:
        """The payload as it was published; `None` if the entry has no field `payload`."""
        return wire_format.payload_of(list(self.fields))


class DeadLetterKind(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters that have the same cause."""

    fingerprint: str
    """Eight hexadecimal digits that stand for reason, error type and place."""
    reason: str
    error_type: str
    """The class of the error; empty if no handler raised one."""
    place: str
    """File and function of the last frame of user code: `shop/orders.py in bill`; empty without a traceback."""
    count: int
    event_types: tuple[str, ...]
    first: datetime
    """When the oldest was dead-lettered, in UTC."""
    last: datetime
    """When the newest was dead-lettered, in UTC."""
    newest_id: str
    """The dead letter's own id."""
    newest_error: str


class ReplayReport(msgspec.Struct, frozen=True):
    """The result of a replay, or with `dry_run` the result it would have."""

    in_place: int
    """Events that are still in their stream: they are handled again under their own id."""
    copied: int
    """Events that are no longer in their stream: a copy was added at its end, for this group alone."""
    gone: int
    """Dead letters that somebody else replayed or purged in the meantime."""

    @property
    def replayed(self) -> int:
        """The number of events that are handled again."""
        return self.in_place + self.copied


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream, as `XINFO STREAM` describes it."""

    name: str
    length: int
    """The number of entries that are in the stream now."""
    groups: int
    first_id: str | None
    last_id: str | None
    last_generated_id: str
    """The greatest id ever assigned, even if that entry was deleted."""
    entries_added: int


class GroupInfo(msgspec.Struct, frozen=True):
    """A consumer group, as `XINFO GROUPS` describes it."""

    name: str
    consumers: int
    pending: int
    last_delivered_id: str
    entries_read: int | None
    lag: int | None
    """Entries not yet delivered, as Redis counts them; `None` if Redis does not know.

    `LagWatcher` reports the corrected number.
    """


class GroupUse(msgspec.Struct, frozen=True):
    """Who uses a consumer group now."""

    pending: int
    """Entries that were delivered and are not settled."""
    living: tuple[str, ...]
    """Consumers that asked for entries within their lease."""


class SeekReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of moving a group, or the result that it would have."""

    stream: str
    group: str
    before: str
    """The id that the group had delivered last."""
    position: str
    """The id after which it reads on."""
    again: int
    """Entries of the stream that are delivered again."""
    skipped: int
    """Entries of the stream that are not delivered any more."""
    pending_again: int
    """Entries that were pending, and are delivered again as new ones. They are part of `again`."""
    is_exact: bool
    """Whether all entries were counted; if not, there are at least as many."""


class ConsumerInfo(msgspec.Struct, frozen=True):
    """A consumer of a group, as `XINFO CONSUMERS` describes it."""

    name: str
    pending: int
    idle: float
    """Seconds since its last attempt to read (on Redis 7.0: since its last read that returned entries)."""
    inactive: float | None
    """Seconds since it last got an entry; `None` on Redis 7.0, or if it never got one."""


class Pause(msgspec.Struct, frozen=True):
    """Who has paused a group or a subscription, why, and since when."""

    by: str
    """A person, or a program; `""` if unknown."""
    why: str
    since: datetime | None
    """When it was paused, by the clock of Redis; `None` if unknown."""

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        since = "" if self.since is None else f" since {self.since.isoformat(' ', 'seconds')[:19]} UTC"
        return f"paused{by}{since}" + (f": {self.why}" if self.why else "")


class LagReport(msgspec.Struct, frozen=True):
    """How far a group is behind its stream."""

    stream: str
    group: str
    lag: int | None
    """Entries not yet delivered; `None` if unknown. An unknown lag is never reported as 0."""
    pending: int
    """Entries delivered and not yet settled."""
    oldest_age: float | None
    """Age in seconds of the oldest entry that is not settled; `None` if all are settled."""
    rate_in: float | None = None
    """Events added a second, over the measurements of the last minute; `None` if unknown, as at the first one."""
    rate_out: float | None = None
    """Events settled a second, over the measurements of the last minute; `None` if unknown."""
    time_to_drain: float | None = None
    """Seconds until all is settled, if both rates stay; `None` if unknown, or if the group falls further behind."""

    @property
    def behind(self) -> int:
        """Entries not yet settled: lag (0 if unknown) + pending."""
        return (self.lag or 0) + self.pending
