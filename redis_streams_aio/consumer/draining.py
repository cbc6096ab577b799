"""Release what has not begun, at the beginning of a drain (P27).

Handlers that run go on, for up to `grace` seconds; what waits behind them, for a retry, for a copy or for a batch to be
full is another consumer's at once. So is what turns up later: the answer of a read that was under way, or an event
whose handler fails during the drain. Fates that are decided and could not be written stay until the end.

When things fail: a release that Redis did not take is tried again each second, and once more when the broker closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..connection.backoff import LONGEST
from ..events.delivery import Delivery
from ..exceptions import RedisStreamsError, RedisUnavailableError
from ..handlers.retry import Complete, DeadLetter, Retry
from .periodic import wait_for
from .settle.settlement import Settlement
from .work.schedule import Schedule

LONGEST_TRY = 2.0
"""Seconds after which one try is left to the end of the drain: a Redis that does not answer must not hold that up."""


async def give_back(
    schedule: Schedule,
    settlement: Settlement,
    *,
    freed: asyncio.Event,
    has_ended: Callable[[], bool],
    failed: Callable[[RedisStreamsError], None],
) -> None:
    """Give back what the schedule has, and what comes into it, until nothing can come any more.

    `freed` is set whenever something may have come; `failed` is told why a release failed.
    """
    left: list[Delivery] = []
    while True:
        freed.clear()
        left += [delivery for delivery in schedule.clear() if not _is_decided(delivery)]
        has_failed = False
        if left:
            try:
                async with asyncio.timeout(LONGEST_TRY):
                    await settlement.release(left)
                left = []
            except (RedisStreamsError, TimeoutError) as error:
                has_failed = True
                failed(error if isinstance(error, RedisStreamsError) else RedisUnavailableError("no answer"))
        if has_ended() and (has_failed or not freed.is_set()):
            return
        await wait_for(freed, LONGEST)


def _is_decided(delivery: Delivery) -> bool:
    return isinstance(delivery.fate, Complete | DeadLetter | Retry)
