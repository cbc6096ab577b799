"""Release entries whose handler has not begun, at the beginning of a drain.

Handlers that run go on, for up to `grace` seconds. Entries that wait behind them, for a retry, for a copy or for a full
batch, are released at once, so that another consumer handles them. So are entries that turn up later: the answer of a
read that was under way, or an event whose handler fails during the drain. Fates that are decided and could not be
written stay until the end.

When things fail: a release that Redis refused is tried again each second, and once more when the broker closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..connection.backoff import LONGEST
from ..events.delivery import Delivery
from ..exceptions import RedisStreamsError, RedisUnavailableError
from ..handlers.fates import Complete, DeadLetter, Retry
from .periodic import wait_for
from .settle.settlement import Settlement
from .work.schedule import Schedule

LONGEST_TRY = 2.0
"""Seconds after which a try is postponed to the end of the drain, so that a silent Redis does not delay the drain."""


async def release_waiting(
    schedule: Schedule,
    settlement: Settlement,
    *,
    freed: asyncio.Event,
    has_ended: Callable[[], bool],
    failed: Callable[[RedisStreamsError], None],
) -> None:
    """Release the entries of the schedule, and those that come into it, until no more can come.

    `freed` is set whenever an entry may have come; `failed` is called with the error of a failed release.
    """
    left: list[Delivery] = []
    while True:
        freed.clear()
        left += [delivery for delivery in schedule.clear() if not _is_decided(delivery)]
        error = await _failure_to_release(left, settlement)
        if error is None:
            left = []
        else:
            failed(error)
        if has_ended() and (error is not None or not freed.is_set()):
            return
        await wait_for(freed, LONGEST)


async def _failure_to_release(left: list[Delivery], settlement: Settlement) -> RedisStreamsError | None:
    """Release entries, and return the error if Redis refused."""
    if not left:
        return None
    try:
        async with asyncio.timeout(LONGEST_TRY):
            await settlement.release(left)
    except RedisStreamsError as error:
        return error
    except TimeoutError:
        return RedisUnavailableError("no answer")
    return None


def _is_decided(delivery: Delivery) -> bool:
    return isinstance(delivery.fate, Complete | DeadLetter | Retry)
