"""`Holdings`: who a consumer is, and the deliveries it answers for.

The one place that knows which entries this process holds: running, buffered, waiting for a retry, or settled with
the write still under way. The fetcher and the reclaimer add to it, settlement and lost leases take away; the lease
keeper renews what is in it. An id is in it at most once, however often Redis hands the entry out.
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
    """See the module."""

    def __init__(self, shared: Shared, *, stream: str, group: str, consumer: str, lease: float) -> None:
        self.connection: Connection = shared.connection
        self.telemetry: Telemetry = shared.telemetry
        self.clock: Clock = shared.clock
        """By which deliveries wait: their `due` and `failing_since`."""
        self.stream = stream
        self.origin: Origin = Origin(stream, shared.compose)
        self.group = group
        self.consumer = consumer
        self.lease = lease
        """Seconds without renewal after which another consumer may take an entry over."""
        self.by_id: dict[bytes, Delivery] = {}
        self.uncertain: dict[bytes, bool] = {}
        """Entries that may be pending for this consumer, as the answer to a claim of them was lost or is awaited; and
        whether the delivery is still to be counted."""
        self.gate: Gate = Gate()
        """Whether Redis takes what is written of deliveries."""
        self.settled_count: int = 0
        """Entries settled so far."""
        self.released: int = 0
        """Entries released to other consumers so far."""
        self.vanished: int = 0
        """Entries that were deleted or trimmed while they were pending, so far."""
        self.handler_of: Callable[[Fields], str] = _no_handler
        """The name of the handler for an entry; empty where there is none."""
        self.on_lost: Callable[[Delivery], None] = _nothing
        """Told of each delivery that is held no longer though it is not settled."""

    def __len__(self) -> int:
        return len(self.by_id)

    def take(self, entries: Iterable[IdAndFields]) -> list[Delivery]:
        """Hold entries that Redis handed over; those held already, and those whose content is gone, are left out."""
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
            return  # somebody else's fields
        if replay.group == self.group:
            delivery.fields, delivery.history = replay.fields, replay.history
        else:
            delivery.refusal, delivery.prepared = FOR_ANOTHER_GROUP, True

    @property
    def who(self) -> Consumer:
        """Who asks for steps at Redis."""
        return Consumer(self.stream, self.group, self.consumer)

    @property
    def lease_ms(self) -> int:
        """The lease as Redis takes it."""
        return max(1, round(self.lease * 1000))

    def leave(self, delivery: Delivery) -> None:
        """Hold it no longer, and leave it pending: it is delivered once more when its lease has run out."""
        self.drop(delivery)
        self.uncertain[delivery.raw_id] = True

    def drop(self, delivery: Delivery) -> None:
        """Hold it no longer."""
        if self.by_id.get(delivery.raw_id) is delivery:
            del self.by_id[delivery.raw_id]

    def settled(self, deliveries: Sequence[Delivery]) -> None:
        """Hold them no longer: their fates are written."""
        held = self.by_id
        for delivery in deliveries:
            if held.get(delivery.raw_id) is delivery:
                del held[delivery.raw_id]
        self.settled_count += len(deliveries)
        if self.telemetry.active:
            self.telemetry.emit(Settled(stream=self.stream, group=self.group, count=len(deliveries)))

    def lose(self, delivery: Delivery) -> None:
        """Hold it no longer, as it is another consumer's now, or gone; its handler can see that (P4)."""
        if not delivery.lost and not delivery.settled:
            self.telemetry.emit(LeaseLost(**self.about(delivery)))
        self._let_go(delivery)

    def about(self, delivery: Delivery) -> About:
        """What every fact about an event says of it."""
        return {
            "stream": self.stream,
            "group": self.group,
            "id": delivery.id,
            "event_type": shortened(event_type_of(delivery.fields).decode("utf-8", "replace")),
            "handler": self.handler_of(delivery.fields),
        }

    def vanish(self, deliveries: Iterable[Delivery]) -> None:
        """Hold entries no longer that were deleted or trimmed in our hands (P20)."""
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
        """The command that forgets what Redis knows of the failures and replays of entries that are settled or gone."""
        return records.forget(self.who, ids)

    def report_vanished(self, ids: Iterable[bytes]) -> None:
        """Tell of entries that were deleted or trimmed while they were pending (P20)."""
        gone = tuple(entry_id.decode() for entry_id in ids)
        self.vanished += len(gone)
        if gone:
            self.telemetry.emit(EntriesVanished(stream=self.stream, group=self.group, ids=gone))


def _no_handler(_: Fields) -> str:
    return ""


def _nothing(_: Delivery) -> None:
    """Nobody wants to know."""
