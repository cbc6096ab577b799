"""`Delivery`: one entry in the hands of this process, and what a handler is told about it.

A delivery is born when Redis hands the entry to this consumer, and ends when it is settled (acknowledged,
dead-lettered, released) or lost to another consumer. It is the one mutable word of the library: `failures` grows,
`lost` may become true.
"""

from __future__ import annotations

from .entries import Fields, attributes
from .models import EventMessage


class Delivery:
    """What a handler may ask for beside the payload: `async def bill(order: OrderPlaced, delivery: Delivery)`."""

    __slots__ = (
        "deliveries",
        "due",
        "failing_since",
        "failures",
        "fields",
        "first_failure",
        "lane",
        "lost",
        "payload",
        "prepared",
        "raw_id",
        "recorded",
        "refusal",
        "settled",
        "stream",
    )

    def __init__(self, stream: str, raw_id: bytes, fields: Fields, deliveries: int = 1) -> None:
        self.stream: str = stream
        self.raw_id: bytes = raw_id
        """The entry id as Redis sent it."""
        self.fields: Fields = fields
        """The entry's field names and values in turn, as they are in Redis."""
        self.deliveries: int = deliveries
        """How often Redis has handed the entry out, this time included."""
        self.failures: int = 0
        """How often a handler has raised on it, over all consumers and restarts."""
        self.first_failure: float = 0.0
        """When a handler first raised on it, in epoch seconds of Redis's clock; 0 before that."""
        self.failing_since: float = 0.0
        """The same moment on the event loop's clock."""
        self.recorded: bool = False
        """Whether Redis has a failure record of it."""
        self.due: float = 0.0
        """When its retry is due, on the event loop's clock; 0: at once."""
        self.lost: bool = False
        """True once the lease was lost: another consumer may be handling this event now."""
        self.settled: bool = False
        """True once its fate is decided; only the write to Redis may still be under way."""
        self.lane: object = None
        """Deliveries of one lane are handled one after another; `None` waits for no other (see `consumer.schedule`)."""
        self.prepared: bool = False
        """Whether it was decoded: `payload` or `refusal` is set."""
        self.payload: object = None
        """The decoded payload."""
        self.refusal: BaseException | None = None
        """Why it could not be decoded, or what its key function raised."""

    @property
    def id(self) -> str:
        """The entry id."""
        return self.raw_id.decode()

    @property
    def event(self) -> EventMessage[object]:
        """The event: id, type, headers, key, payload. Made when it is asked for."""
        known = attributes(self.fields)
        return EventMessage(
            id=self.id,
            stream=self.stream,
            event_type=known.event_type,
            payload=self.payload,
            key=known.key,
            event_id=known.event_id,
            headers=known.headers,
        )

    def __repr__(self) -> str:
        lost = ", lost" if self.lost else ""
        return f"<Delivery {self.stream} {self.id}: delivery {self.deliveries}, {self.failures} failures{lost}>"
