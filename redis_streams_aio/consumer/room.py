"""How many entries a subscription may ask for now (P6).

Held = running + buffered + delayed. New entries are read into what is free of that, so whatever waits is backpressure.
Entries that are pending already, here or at consumers that are gone, are let in beside what only waits: that may be
waiting for one of them, or for so long that whoever is gone would not be replaced. What is held grows by no more than
as much again.
"""

from __future__ import annotations

from typing import Any

from ..connection.handful import Handful
from ..handlers.routes import SubscriptionOptions
from .holdings import Holdings
from .settle.acknowledgements import Acknowledgements
from .work.pace import Pace, room
from .work.pool import Pool
from .work.schedule import Schedule

BUFFERED_BYTES = 8 * 1024 * 1024
"""How much may wait for a worker."""


class Room:
    """Counts what is held against what may be."""

    def __init__(
        self,
        options: SubscriptionOptions,
        count: int,
        *,
        handful: Handful,
        holdings: Holdings,
        acks: Acknowledgements,
        schedule: Schedule,
        pool: Pool[Any],
    ) -> None:
        self._size = options.batch or 1
        self._concurrency = options.concurrency
        self._in_one_lane = options.order == "stream"
        self._handful = handful
        self._most_held = options.concurrency * self._size + 2 * count
        self._holdings = holdings
        self._acks = acks
        self._schedule = schedule
        self._pool = pool
        self.pace: Pace = Pace(2 * count)
        self.asked: int = 0
        """Entries that are asked for: until they are here, the room they will take is nobody else's."""

    @property
    def for_new(self) -> int:
        """How many new entries to read."""
        return self._within(self._most_held - self._held)

    @property
    def for_old(self) -> int:
        """How many of those to take that are pending: at first no more than `few`."""
        could_run = self._schedule.ready + self._pool.busy * self._size
        return self._within(min(self._most_held - could_run, 2 * self._most_held - self._held))

    def few(self, count: int) -> int:
        """Of what was in other hands, no more than can be begun one by one: it may kill this process too, and then
        counts as delivered whatever is held beside it.
        """
        return max(1, min(count, max(self._limit, self._concurrency - self._pool.busy)))

    @property
    def _limit(self) -> int:
        """How many may be buffered: what is handled in a moment, and not too many bytes."""
        return min(self.pace.limit, self._handful.within(BUFFERED_BYTES))

    @property
    def _held(self) -> int:
        """What is held and not settled."""
        return len(self._holdings) - len(self._acks)

    def _within(self, free: int) -> int:
        idle = (self._concurrency - self._pool.busy) * self._size
        # what is behind another one of its lane is no work for a free worker; in stream order all is in one
        buffered = self._schedule.buffered if self._in_one_lane else self._schedule.ready
        return min(
            self._handful.size,
            room(free=free - self.asked, limit=self._limit, buffered=buffered, idle=idle),
        )
