"""The reclaimer: takes over entries of consumers that are gone (P2), also on a stream where nothing new arrives.

An entry whose lease ran out (idle for longer than `lease`) is claimed with `XAUTOCLAIM`. The scan goes by its
cursor, which is kept between steps: a scan may return nothing and not be at its end. It claims no more than there
is room for, and entries that this process holds are left as they are, though a late renewal may have let them be
scanned.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..connection import replies
from ..delivery import Delivery
from ..telemetry import Reclaimed
from .history import take_pending
from .holdings import Holdings

BEGINNING = "0-0"
LOOKED_AT_ONCE = 10_000
"""Pending entries looked at in one step, however little room there is; where more are pending, the next one goes on."""
LOOKED_AT_FOR_ONE = 10
"""`XAUTOCLAIM` looks at so many entries for each that it may claim."""


class Reclaimer:
    """Claims with `XAUTOCLAIM`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._cursor = BEGINNING

    async def run_once(self, room: int) -> AsyncIterator[list[Delivery]]:
        """A few scans, until the end or until `room` is full: what is taken over, part by part, as each part is
        held at once.

        Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
        """
        looked_at = 0
        while room > 0 and looked_at < LOOKED_AT_ONCE:
            looked_at += room * LOOKED_AT_FOR_ONE
            taken = await self._scan(room)
            room -= len(taken)
            yield taken
            if self._cursor == BEGINNING:
                return

    async def _scan(self, count: int) -> list[Delivery]:
        holdings = self._holdings
        idle_ms = round(holdings.lease * 1000)
        reply = await holdings.connection.call(
            "XAUTOCLAIM", holdings.stream, holdings.group, holdings.consumer, idle_ms, self._cursor, "COUNT", count
        )
        self._cursor, claimed, gone = replies.claimed(reply)
        holdings.report_vanished(gone)
        if gone:
            await holdings.connection.call(*holdings.forget_command(gone))
        taken = await take_pending(holdings, claimed)
        if taken:
            holdings.telemetry.emit(Reclaimed(stream=holdings.stream, group=holdings.group, count=len(taken)))
        return taken
