"""Release deliveries of this consumer, so that another consumer can take them over at once.

They are parked under the reserved consumer name `keys.RELEASED`, where they can be claimed at once. A release takes
back the count of the delivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...connection.steps import releasing as steps
from ...connection.steps.sending import send_one
from ...events.delivery import Delivery
from ...exceptions import StreamNotFoundError
from ...telemetry import Released
from ..holdings import Holdings

AT_ONCE = 250
"""Entries in one script: two commands each, less than a millisecond of the server's time."""


async def release(holdings: Holdings, deliveries: Sequence[Delivery]) -> int:
    """Release deliveries that are not settled, and return how many this consumer still had.

    Raises `RedisUnavailableError`, `ServerError`, after every part was tried; deliveries that were not released are
    held as before.
    """
    before = holdings.released
    parts = _parts([delivery for delivery in deliveries if not delivery.settled and not delivery.lost])
    try:
        outcomes = await asyncio.gather(*(_release_part(holdings, part) for part in parts), return_exceptions=True)
    finally:  # releases are reported even if there is no time to wait for the other parts
        if released := holdings.released - before:
            holdings.telemetry.emit(Released(stream=holdings.stream, group=holdings.group, count=released))
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return released


def _parts(unsettled: Sequence[Delivery]) -> list[Sequence[Delivery]]:
    return [unsettled[start : start + AT_ONCE] for start in range(0, len(unsettled), AT_ONCE)]


async def _release_part(holdings: Holdings, part: Sequence[Delivery]) -> None:
    """Release a part in one step. It counts as settled meanwhile, so that the lease keeper does not find it lost."""
    entries = [(delivery.raw_id, max(0, delivery.deliveries - 1)) for delivery in part]
    for delivery in part:
        delivery.settled = True
    try:
        done = await send_one(holdings.connection.link("settle", holdings.stream), steps.release(holdings.who, entries))
    except StreamNotFoundError:
        done = steps.Released(0, [])  # the group is gone, and its pending list with it
    except BaseException:
        for delivery in part:
            delivery.settled = False
        raise
    holdings.released += done.count
    for delivery in part:
        holdings.drop(delivery)
        delivery.settled = False
    if done.gone:
        holdings.report_vanished(done.gone)
        await holdings.connection.call(*holdings.forget_command(done.gone), purpose="settle")
