"""Release entries whose handler has not begun, while a subscription is halted: paused, or draining.

Handlers that run go on. Entries that wait behind them, for a retry, for a copy or for a full batch, are released at
once, so that another consumer handles them. So are entries that turn up later: the answer of a read that was under way,
or an event whose handler fails during the halt. A fate that is decided and could not be written is tried again, and its
entry stays here until it is written.

When things fail: a release or a fate that Redis refused is tried again each second. Entries that are left at the end
are returned to the subscription, which writes and releases them when it closes, or goes on with them after a resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..connection.backoff import LONGEST
from ..exceptions import RedisStreamsError, RedisUnavailableError
from .entry import Entry
from .periodic import wait_for
from .settle.settlement import Settlement, decided
from .work.schedule import Schedule

LONGEST_TRY = 2.0
"""Seconds after which a try is given up, so that a silent Redis does not delay the end of a halt."""


async def release_waiting(
    schedule: Schedule,
    settlement: Settlement,
    *,
    freed: asyncio.Event,
    is_over: Callable[[], bool],
    failed: Callable[[RedisStreamsError], None],
) -> list[Entry]:
    """Release the entries of the schedule, and those that come into it, until the halt `is_over`.

    Returns the entries that are still here. `freed` is set whenever an entry may have come, or the halt may be over;
    `failed` is called with the error of a try that failed.
    """
    left: list[Entry] = []
    while True:
        freed.clear()
        left += schedule.clear()
        left, error = await _try(left, settlement)
        if error is not None:
            failed(error)
        if is_over() and (error is not None or not freed.is_set()):
            return left
        await wait_for(freed, LONGEST)


async def _try(left: list[Entry], settlement: Settlement) -> tuple[list[Entry], RedisStreamsError | None]:
    """Write fates, release the other entries, and return the entries that are left, with the error if Redis refused."""
    error: RedisStreamsError | None = None
    try:
        async with asyncio.timeout(LONGEST_TRY):
            await settlement.write(left)
            if undecided := [entry for entry in left if decided(entry) is None]:
                await settlement.release(undecided)
            left = [entry for entry in left if decided(entry) is not None]
    except RedisStreamsError as refused:
        error = refused
    except TimeoutError:
        error = RedisUnavailableError("no answer")
    return left, error
