"""The flights: `data/flights.jsonl` as typed events (data/README.md says where they come from)."""

from __future__ import annotations

from datetime import datetime
from importlib import resources

import msgspec

FLIGHTS = 6_099
"""The number of flights."""
_PACKAGE = "redis_streams_aio.cli"


class FlightScheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A flight was put on the schedule."""

    position: int = -1
    """Its position among all flights, from 0."""
    published: float = 0.0
    """When `publish` was called, in epoch seconds; the latency counts from here."""
    scheduled: datetime
    carrier: str
    flight: int
    tail: str | None
    """The aircraft; `None` if the flight was cancelled because no aircraft was found."""
    origin: str
    dest: str
    departure_delay: int | None

    @property
    def aircraft(self) -> str:
        """The ordering key: the aircraft."""
        return self.tail or f"{self.carrier}{self.flight}"


def load(count: int) -> list[FlightScheduled]:
    """Return the first `count` flights, in the order of their departure."""
    text = resources.files(_PACKAGE).joinpath("data", "flights.jsonl").read_bytes()
    flights = msgspec.json.Decoder(FlightScheduled).decode_lines(text)
    return [msgspec.structs.replace(flight, position=place) for place, flight in enumerate(flights[:count])]


def failures_of(flight: FlightScheduled) -> int:
    """Return how often the ticket desk fails before it works. It depends only on the data, so it can be checked."""
    if flight.tail is None or flight.flight % 25:
        return 0
    return 1 if flight.flight % 100 else 2


def is_rejected(flight: FlightScheduled) -> bool:
    """Whether the ticket desk rejects the flight."""
    return flight.tail is None
