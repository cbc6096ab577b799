"""The reclaimer: takes over entries of consumers that are gone (P2), also on a stream where nothing new arrives.

An entry whose lease ran out (idle for longer than `lease`) is claimed with `XAUTOCLAIM`. It looks at ten pending
entries for each that it may claim, and may return nothing and not be at the end: so a script goes on by its cursor,
as far as one step may keep Redis busy (a few milliseconds), and the cursor is kept between steps. It claims no more
than there is room for, and entries that this process holds are left as they are, though a late renewal may have let
them be scanned.
"""

from __future__ import annotations

import math

from ..connection import replies
from ..connection.scripts import RECLAIM
from ..delivery import Delivery
from ..telemetry import Reclaimed
from .history import take_pending
from .holdings import Holdings

BEGINNING = "0-0"
MOST_LOOKED_AT = 10_000
"""Pending entries looked at in one step; where more are pending, the next step goes on."""
LOOKED_AT_FOR_ONE = 10
"""`XAUTOCLAIM` looks at so many entries for each that it may claim."""


class Reclaimer:
    """Claims with `XAUTOCLAIM`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._cursor = BEGINNING

    async def run_once(self, room: int) -> list[Delivery]:
        """One look; what is taken over, up to `room` entries.

        Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
        """
        if room <= 0:
            return []
        holdings = self._holdings
        idle_ms = round(holdings.lease * 1000)
        scans = math.ceil(MOST_LOOKED_AT / (room * LOOKED_AT_FOR_ONE))
        reply = await holdings.connection.run(
            RECLAIM, holdings.stream, holdings.group, holdings.consumer, idle_ms, self._cursor, room, scans
        )
        self._cursor, claimed, gone = replies.claimed(reply)
        holdings.report_vanished(gone)
        if gone:
            await holdings.connection.call(*holdings.forget_command(gone))
        taken = await take_pending(holdings, claimed)
        if taken:
            holdings.telemetry.emit(Reclaimed(stream=holdings.stream, group=holdings.group, count=len(taken)))
        return taken
