"""The words of the library: immutable records of events, entries and what Redis knows about them. No input or
output here.

Times are seconds (`float`) and ages are seconds; points in time are `datetime` in UTC.
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
    """The entry id that Redis gave, e.g. `1700000000000-0`; it grows along the stream."""
    stream: str
    event_type: str
    """What kind of event it is; `""` for entries written by others that name none."""
    payload: T
    key: str | None = None
    """The publisher's ordering key, e.g. a customer's id."""
    event_id: str | None = None
    """The publisher's own id for the event, the same in every copy of it."""
    headers: Mapping[str, str] = {}

    @property
    def timestamp(self) -> datetime:
        """When Redis took the entry, in UTC."""
        return entry_ids.timestamp(self.id)


class PendingMessage(msgspec.Struct, frozen=True):
    """An entry that was delivered to a consumer and is not acknowledged."""

    id: str
    consumer: str
    idle: float
    """Seconds since it was last delivered, or its lease was last renewed."""
    deliveries: int
    """How often Redis has handed it out."""


class History(msgspec.Struct, frozen=True):
    """What became of an event before it was replayed from the dead letters."""

    id: str
    """The entry id that it had first."""
    failures: int
    """How often handlers raised on it, in all its lives so far."""
    first_failure: float
    """When a handler first raised on it, in epoch seconds of Redis's clock; 0 when none ever did."""
    reason: str
    """Why it was dead-lettered last."""
    error: str
    replays: int
    """How often it was replayed."""


class DeadLetterMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up, as it stands among the dead letters."""

    id: str
    """The dead letter's own id."""
    reason: str
    """One word: `failures`, `gave_up`, `deadline`, `rejected`, `deliveries`, `undecodable`, `unhandled`; `""` for an
    entry that is no dead letter of ours.
    """
    error: str
    traceback: str
    failures: int
    """How often handlers raised on it, in all its lives."""
    deliveries: int
    """How often Redis had handed it out."""
    first_failure: datetime | None
    replays: int
    """How often it had been replayed before."""
    stream: str
    group: str
    consumer: str
    """Who gave it up."""
    entry_id: str
    """The id that the event had in its stream."""
    event_type: str
    key: str | None
    event_id: str | None
    headers: Mapping[str, str]
    fields: tuple[bytes, ...]
    """The event as it was: names and values in turn."""

    @property
    def timestamp(self) -> datetime:
        """When it was given up, in UTC."""
        return entry_ids.timestamp(self.id)

    @property
    def payload(self) -> bytes | None:
        """The payload as it was published; `None` for entries that have no field `payload`."""
        return wire_format.payload_of(list(self.fields))


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay did, or with `dry_run` would do."""

    in_place: int
    """Events that are still in their stream: handled again under their own id."""
    copied: int
    """Events that are in their stream no more: added again at its end, for this group alone."""
    gone: int
    """Dead letters that somebody else replayed or purged meanwhile."""

    @property
    def replayed(self) -> int:
        """Events that are handled again."""
        return self.in_place + self.copied


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream, as `XINFO STREAM` describes it."""

    name: str
    length: int
    """Number of entries now in the stream."""
    groups: int
    first_id: str | None
    last_id: str | None
    last_generated_id: str
    """The highest id ever given, also when that entry is gone."""
    entries_added: int


class GroupInfo(msgspec.Struct, frozen=True):
    """A consumer group, as `XINFO GROUPS` describes it."""

    name: str
    consumers: int
    pending: int
    last_delivered_id: str
    entries_read: int | None
    lag: int | None
    """Entries not yet delivered, as Redis counts them.

    `None` where Redis does not know. `LagWatcher` has the corrected number.
    """


class ConsumerInfo(msgspec.Struct, frozen=True):
    """A consumer of a group, as `XINFO CONSUMERS` describes it."""

    name: str
    pending: int
    idle: float
    """Seconds since its last attempt to read (on Redis 7.0: since its last read that brought something)."""
    inactive: float | None
    """Seconds since it last got an entry; `None` on Redis 7.0 and when it never did."""


class LagReport(msgspec.Struct, frozen=True):
    """How far a group is behind its stream."""

    stream: str
    group: str
    lag: int | None
    """Entries not yet delivered; `None`: unknown (never reported as 0)."""
    pending: int
    """Entries delivered and not yet settled."""
    oldest_age: float | None
    """Age in seconds of the oldest entry not yet settled; `None` when there is none."""

    @property
    def behind(self) -> int:
        """Entries not yet settled: lag (0 where unknown) + pending."""
        return (self.lag or 0) + self.pending
