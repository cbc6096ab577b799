"""`Holdings`: the names of a consumer, and the deliveries that it holds.

Only this module knows which entries this process holds: running, buffered, waiting for a retry, or settled with the
write still under way. The fetcher and the reclaimer add deliveries; settlement and lost leases remove them; the lease
keeper renews them. Each id is in it at most once, however often Redis delivers the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypedDict

from ..connection import Connection
from ..connection.backoff import Gate
from ..connection.packing import Command
from ..connection.replies import IdAndFields
from ..connection.steps import records
from ..connection.steps.consumer import Consumer
from ..events.delivery import Delivery, Origin
from ..events.outgoing import Compose
from ..events.replays import FOR_ANOTHER_GROUP, FOR_GROUP, unwrap
from ..events.wire_format import Fields, event_type_of
from ..handlers.error_texts import shortened
from ..handlers.subscription_options import SubscriptionOptions
from ..telemetry import EntriesVanished, LeaseLost, Settled, Telemetry
from .clock import LOOP_CLOCK, Clock


class About(TypedDict):
    """The fields that facts about an event share."""

    stream: str
    group: str
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
    """The deliveries that one consumer holds, by entry id."""

    def __init__(self, shared: Shared, options: SubscriptionOptions, consumer: str) -> None:
        self.connection: Connection = shared.connection
        self.telemetry: Telemetry = shared.telemetry
        self.clock: Clock = shared.clock
        """By which deliveries wait: their `due` and `failing_since`."""
        self.stream: str = options.stream
        self.origin: Origin = Origin(options.stream, shared.compose)
        self.group: str = options.group
        self.consumer = consumer
        self.lease: float = options.lease
        """Seconds without renewal after which another consumer may take over an entry."""
        self.by_id: dict[bytes, Delivery] = {}
        self.uncertain: dict[bytes, bool] = {}
        """Entries whose claim was not answered yet, so that they may be pending for this consumer; the value tells
        whether the delivery must still be counted."""
        self.gate: Gate = Gate()
        """Whether Redis accepts writes now."""
        self.settled_count: int = 0
        """The number of entries settled so far."""
        self.released: int = 0
        """The number of entries released to other consumers so far."""
        self.vanished: int = 0
        """The number of entries that were deleted or trimmed while they were pending, so far."""
        self.handler_of: Callable[[Fields], str] = _no_handler
        """Returns the name of the handler of an entry; empty if there is none."""
        self.on_lost: Callable[[Delivery], None] = _nothing
        """Called with each delivery that is lost: no longer held, although it is not settled."""

    def __len__(self) -> int:
        return len(self.by_id)

    def take(self, entries: Iterable[IdAndFields]) -> list[Delivery]:
        """Hold entries from Redis, and return the new deliveries. Skips entries already held, and deleted entries."""
        origin, held = self.origin, self.by_id
        taken: list[Delivery] = []
        for raw_id, fields in entries:
            if fields is not None and raw_id not in held:
                delivery = held[raw_id] = Delivery(origin, raw_id, fields)
                if fields and fields[0] == FOR_GROUP:
                    self._unwrap(delivery)
                taken.append(delivery)
        return taken

    def _unwrap(self, delivery: Delivery) -> None:
        replay = unwrap(delivery.fields)
        if replay is None:
            return  # fields of another program
        if replay.group == self.group:
            delivery.fields, delivery.history = replay.fields, replay.history
        else:
            delivery.refusal, delivery.prepared = FOR_ANOTHER_GROUP, True

    @property
    def who(self) -> Consumer:
        """The consumer as the steps at Redis need it."""
        return Consumer(self.stream, self.group, self.consumer)

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return max(1, round(self.lease * 1000))

    def leave(self, delivery: Delivery) -> None:
        """Drop a delivery and leave its entry pending: it is delivered again when its lease expires."""
        self.drop(delivery)
        self.uncertain[delivery.raw_id] = True

    def drop(self, delivery: Delivery) -> None:
        """Drop a delivery: it is no longer held."""
        if self.by_id.get(delivery.raw_id) is delivery:
            del self.by_id[delivery.raw_id]

    def settled(self, deliveries: Sequence[Delivery]) -> None:
        """Drop deliveries whose fates are written."""
        held = self.by_id
        for delivery in deliveries:
            if held.get(delivery.raw_id) is delivery:
                del held[delivery.raw_id]
        self.settled_count += len(deliveries)
        if self.telemetry.active:
            self.telemetry.emit(Settled(stream=self.stream, group=self.group, count=len(deliveries)))

    def lose(self, delivery: Delivery) -> None:
        """Drop a delivery that another consumer has now, or that is gone; its handler sees `delivery.lost`."""
        if not delivery.lost and not delivery.settled:
            self.telemetry.emit(LeaseLost(**self.about(delivery)))
        self._let_go(delivery)

    def about(self, delivery: Delivery) -> About:
        """Return the fields that every fact about an event has."""
        return {
            "stream": self.stream,
            "group": self.group,
            "id": delivery.id,
            "event_type": shortened(event_type_of(delivery.fields).decode("utf-8", "replace")),
            "handler": self.handler_of(delivery.fields),
        }

    def vanish(self, deliveries: Iterable[Delivery]) -> None:
        """Drop deliveries whose entries were deleted or trimmed, and report them."""
        gone = tuple(deliveries)
        self.report_vanished(delivery.raw_id for delivery in gone)
        for delivery in gone:
            self._let_go(delivery)

    def _let_go(self, delivery: Delivery) -> None:
        self.drop(delivery)
        if not delivery.lost:
            delivery.lost = True
            self.on_lost(delivery)

    def forget_command(self, ids: Iterable[bytes]) -> Command:
        """Return the command that deletes records of failures and replays of entries that are settled or gone."""
        return records.forget(self.who, ids)

    def report_vanished(self, ids: Iterable[bytes]) -> None:
        """Report entries that were deleted or trimmed while they were pending."""
        gone = tuple(entry_id.decode() for entry_id in ids)
        self.vanished += len(gone)
        if gone:
            self.telemetry.emit(EntriesVanished(stream=self.stream, group=self.group, ids=gone))


def _no_handler(_: Fields) -> str:
    return ""


def _nothing(_: Delivery) -> None:
    """Do nothing."""
