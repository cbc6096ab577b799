"""`Holdings`: the names of a consumer, and the entries that it holds.

Only this module knows which entries this process holds: running, buffered, waiting for a retry, or with their fate on
the way to Redis. The fetcher and the reclaimer add entries; settlement and lost leases remove them; the lease keeper
renews them. Each id is in it at most once, however often Redis delivers the entry.

A lost entry is no longer held, but its handler may still be running (`strays`). If Redis delivers it to this process
again meanwhile, it is regained: the handler goes on, and the event is not handled a second time beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..connection import Connection
from ..connection.backoff import SharedBackoff
from ..connection.packing import Command
from ..connection.replies import IdAndFields
from ..connection.steps import records
from ..connection.steps.consumer import Consumer
from ..events.outgoing import Compose
from ..events.replays import FOR_ANOTHER_GROUP, FOR_GROUP, unwrap
from ..events.wire_format import Fields
from ..handlers.subscription_options import SubscriptionOptions
from ..telemetry import EntriesVanished, LeaseLost, Settled, Telemetry
from .clock import LOOP_CLOCK, Clock
from .entry import WRITING, Entry
from .outcomes import Here, Outcomes, type_of
from .page import Page


class About(Here):
    """The fields that facts about an event share."""

    id: str
    event_type: str
    handler: str


class Shared(NamedTuple):
    """The means that all consumers of a broker work with, or one that has them for itself."""

    connection: Connection
    telemetry: Telemetry
    clock: Clock = LOOP_CLOCK
    """By which entries wait for their retry, their copy, or a full batch."""
    compose: Compose | None = None
    """Makes the command of an event that a handler publishes; `None`: there is no producer, and handlers cannot."""


class Holdings:
    """The entries that one consumer holds, by entry id."""

    def __init__(self, shared: Shared, options: SubscriptionOptions, consumer: str) -> None:
        self.connection: Connection = shared.connection
        self.telemetry: Telemetry = shared.telemetry
        self.clock: Clock = shared.clock
        """By which entries wait: their `until` and `failing_since`."""
        self.stream: str = options.stream
        self.compose: Compose | None = shared.compose
        """Makes the command of an event that a handler publishes."""
        self.group: str = options.group
        self.consumer: str = consumer
        self.here: Here = {"stream": options.stream, "group": options.group, "consumer": consumer}
        """The fields that every fact about the group has."""
        self.outcomes: Outcomes = Outcomes(shared.telemetry, self.here)
        """Attempts whose outcomes are not known yet."""
        self._tells_of_settled = shared.telemetry.wants(Settled)
        self.lease: float = options.lease
        """Seconds without renewal after which another consumer may take over an entry."""
        self.by_id: dict[bytes, Entry | Page] = {}
        """The entries; a row of a page has the page in its place."""
        self.strays: dict[bytes, Entry] = {}
        """Lost entries whose handlers are still running."""
        self.uncertain: dict[bytes, bool] = {}
        """Entries whose claim was not answered yet, so that they may be pending for this consumer; the value tells
        whether the entry must still be counted."""
        self.backoff: SharedBackoff = SharedBackoff()
        """Whether Redis accepts writes now."""
        self.settled_count: int = 0
        """The number of entries settled so far."""
        self.released: int = 0
        """The number of entries released to other consumers so far."""
        self.vanished: int = 0
        """The number of entries that were deleted or trimmed while they were pending, so far."""
        self.handler_of: Callable[[Fields], str] = _no_handler
        """Returns the name of the handler of an entry; empty if there is none."""
        self.on_lost: Callable[[Entry], None] = _nothing
        """Called with each entry that is lost: no longer held, although it is not settled."""
        self.unfold: Callable[[bytes], Entry | None] = _no_row
        """Makes an entry of a row of a page; `None` if the row is handled, and its acknowledgement on the way."""

    def __len__(self) -> int:
        return len(self.by_id)

    def take(self, entries: Iterable[IdAndFields]) -> list[Entry]:
        """Hold entries from Redis, and return the new ones. Skips deleted entries, and entries that are already here.

        A stray is held again, but it is not new: its handler is still running.
        """
        stream, held = self.stream, self.by_id
        taken: list[Entry] = []
        for raw_id, fields in entries:
            if fields is not None and raw_id not in held:
                if self.strays and raw_id in self.strays:
                    self._regain(self.strays.pop(raw_id))
                    continue
                entry = held[raw_id] = Entry(stream, raw_id, fields)
                if fields and fields[0] == FOR_GROUP:
                    self._unwrap(entry)
                taken.append(entry)
        return taken

    def take_page(self, page: Page) -> list[Entry] | None:
        """Hold all rows of a page. If some of its entries are here already, return the others as new entries."""
        if self.by_id.keys().isdisjoint(page.ids) and not (self.strays and self.strays.keys() & set(page.ids)):
            page.hold(self.by_id)
            return None
        return self.take((raw_id, page.shown(raw_id).fields) for raw_id in page.ids)

    def entries(self) -> list[Entry]:
        """Return everything that nobody has handled yet, as entries. Call it when no worker runs any more."""
        held = [
            each.entry_of(raw_id) if isinstance(each, Page) and not each.has_begun(raw_id) else each
            for raw_id, each in tuple(self.by_id.items())
        ]
        return [each for each in held if isinstance(each, Entry)]

    def entry_of(self, raw_id: bytes) -> Entry | None:
        """Return the held entry with this id, also if it is a row of a page that is not handled yet."""
        held = self.by_id.get(raw_id)
        return self.unfold(raw_id) if isinstance(held, Page) else held

    def _regain(self, entry: Entry) -> None:
        entry.regain()
        self.by_id[entry.raw_id] = entry

    def _unwrap(self, entry: Entry) -> None:
        replay = unwrap(entry.fields)
        if replay is None:
            return  # fields of another program
        if replay.group == self.group:
            entry.fields, entry.history = replay.fields, replay.history
        else:
            entry.refusal, entry.prepared = FOR_ANOTHER_GROUP, True

    @property
    def who(self) -> Consumer:
        """The consumer as the steps at Redis need it."""
        return Consumer(self.stream, self.group, self.consumer)

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return max(1, round(self.lease * 1000))

    def leave(self, entry: Entry) -> None:
        """Stop holding an entry, which stays pending: it is delivered again when its lease expires."""
        self.drop(entry)
        self.uncertain[entry.raw_id] = True

    def drop(self, entry: Entry) -> None:
        """Stop holding an entry."""
        if self.by_id.get(entry.raw_id) is entry:
            del self.by_id[entry.raw_id]

    def settled(self, ids: Sequence[bytes]) -> None:
        """Stop holding entries whose fates are written, and count them."""
        held = self.by_id
        if all(isinstance(each, Page) for each in set(map(held.get, ids))):
            deque(map(held.pop, ids), 0)
        else:
            self._settle_each(ids)
        self.settled_count += len(ids)
        if self._tells_of_settled:
            self.telemetry.emit(Settled(**self.here, count=len(ids)))

    def _settle_each(self, ids: Sequence[bytes]) -> None:
        held = self.by_id
        for raw_id in ids:
            entry = held.get(raw_id)
            if isinstance(entry, Page):
                del held[raw_id]
            elif entry is not None and entry.state is WRITING:
                del held[raw_id]
                entry.settle()

    def lose(self, entry: Entry) -> None:
        """Drop an entry that another consumer has now, or that is gone; its handler sees that it is lost."""
        if not entry.lost:
            self.telemetry.emit(LeaseLost(**self.about(entry)))
        self._let_go(entry)

    def about(self, entry: Entry) -> About:
        """Return the fields that every fact about an event has."""
        return {
            **self.here,
            "id": entry.raw_id.decode(),
            "event_type": type_of(entry),
            "handler": self.handler_of(entry.fields),
        }

    def vanish(self, entries: Iterable[Entry]) -> None:
        """Drop entries that were deleted or trimmed, and report them."""
        gone = tuple(entries)
        self.report_vanished(entry.raw_id for entry in gone)
        for entry in gone:
            entry.is_gone = True
            self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        self.drop(entry)
        if not entry.lost:
            entry.lose()
            self.on_lost(entry)
        self.outcomes.tell((entry.raw_id,), "lost")

    def forget_command(self, ids: Iterable[bytes]) -> Command:
        """Return the command that deletes records of failures and replays of entries that are settled or gone."""
        return records.forget(self.who, ids)

    def report_vanished(self, ids: Iterable[bytes]) -> None:
        """Report entries that were deleted or trimmed while they were pending."""
        gone = tuple(entry_id.decode() for entry_id in ids)
        self.vanished += len(gone)
        if gone:
            self.telemetry.emit(EntriesVanished(**self.here, ids=gone))


def _no_handler(_: Fields) -> str:
    return ""


def _no_row(_: bytes) -> Entry | None:
    return None


def _nothing(_: Entry) -> None:
    """Do nothing."""
