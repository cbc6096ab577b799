"""The demo's handlers, written as a user of the library would write them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ...broker import Broker
from ...events.delivery import Delivery
from ...exceptions import Reject
from ...handlers.retry import RetryPolicy
from .flights import FlightScheduled, failures_of, is_rejected
from .tally import Logbook, Tally

GROUPS = {
    "board": "stream order, one at a time, as fast as it goes",
    "aircraft": "order per aircraft, 64 at once, one in ten takes 0.3 s",
    "tickets": "fails on some flights, refuses a few",
    "mail": "slow: 20 ms each, 16 at once; one of its workers dies",
}
"""The groups, and the feature that each one shows."""

MAIL_LEASE = 2.0
"""Seconds after which the flights of the dead worker are taken over."""


class SeatMapMissingError(Exception):
    """The ticket desk failed."""


def declare(broker: Broker, stream: str, tallies: Mapping[str, Tally], logbook: Logbook) -> None:
    """Declare one handler for each group."""

    @broker.handler(stream, group="board", middleware=[tallies["board"].watch])
    async def show_on_board(flight: FlightScheduled) -> None:
        """Return at once."""

    @broker.handler(
        stream,
        group="aircraft",
        concurrency=64,
        key=lambda flight: flight.aircraft,
        middleware=[tallies["aircraft"].watch],
    )
    async def prepare_aircraft(flight: FlightScheduled) -> None:
        logbook.begin(flight)
        await asyncio.sleep(0.005 if flight.position % 10 else 0.3)
        logbook.end(flight)

    retry = RetryPolicy(max_failures=5, base=0.05, cap=0.5)

    @broker.handler(stream, group="tickets", concurrency=16, retry=retry, middleware=[tallies["tickets"].watch])
    async def sell_tickets(flight: FlightScheduled, delivery: Delivery) -> None:
        if is_rejected(flight):
            raise Reject("cancelled, it has no aircraft")
        if delivery.failures < failures_of(flight):
            raise SeatMapMissingError(flight.aircraft)

    @broker.handler(stream, group="mail", concurrency=16, lease=MAIL_LEASE, middleware=[tallies["mail"].watch])
    async def mail_passengers(_: FlightScheduled) -> None:
        await asyncio.sleep(0.02)
