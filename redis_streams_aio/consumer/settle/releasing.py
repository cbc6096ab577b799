"""Release deliveries that this consumer holds, so that another one has them at once (P27).

They are parked under the reserved consumer name `keys.RELEASED`, claimable at once; a delivery that came to
nothing is not counted (P10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...connection.steps.releasing import Parked, park
from ...events.delivery import Delivery
from ...exceptions import StreamNotFoundError
from ...telemetry import Released
from ..holdings import Holdings

AT_ONCE = 250
"""Entries in one script: two commands each, less than a millisecond of the server's time."""


async def release(holdings: Holdings, deliveries: Sequence[Delivery]) -> int:
    """Give back what is held and not settled; how many were still ours.

    Raises `RedisUnavailableError`, `ServerError`, when every part was tried; what was not released is held as before.
    """
    before = holdings.released
    unsettled = [delivery for delivery in deliveries if not delivery.settled and not delivery.lost]
    parts = [unsettled[start : start + AT_ONCE] for start in range(0, len(unsettled), AT_ONCE)]
    try:
        outcomes = await asyncio.gather(*(_release_part(holdings, part) for part in parts), return_exceptions=True)
    finally:  # what was released is told, also when there is no time to wait for the rest
        if released := holdings.released - before:
            holdings.telemetry.emit(Released(stream=holdings.stream, group=holdings.group, count=released))
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return released


async def _release_part(holdings: Holdings, part: Sequence[Delivery]) -> None:
    """Give a part back in one step. It counts as settled meanwhile: the lease keeper must not take it for lost."""
    entries = [(delivery.raw_id, max(0, delivery.deliveries - 1)) for delivery in part]
    for delivery in part:
        delivery.settled = True
    try:
        parked = await park(holdings.connection, holdings.who, entries)
    except StreamNotFoundError:
        parked = Parked(0, [])  # the group is gone, and its pending list with it
    except BaseException:
        for delivery in part:
            delivery.settled = False
        raise
    holdings.released += parked.count
    for delivery in part:
        holdings.drop(delivery)
        delivery.settled = False
    if parked.gone:
        holdings.report_vanished(parked.gone)
        await holdings.connection.call(*holdings.forget_command(parked.gone), purpose="settle")
