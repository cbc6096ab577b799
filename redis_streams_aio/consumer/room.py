"""Count how many entries a subscription may ask for now.

Held = running + buffered + delayed. New entries are read only into free room, so waiting entries cause backpressure.
Entries that are already pending, here or at consumers that are gone, are also taken when waiting entries fill the room:
a waiting entry may wait for one of them, or for so long that nobody would take over from a dead consumer. This at most
doubles the number of held entries.
"""

from __future__ import annotations

from ..handlers.subscription_options import SubscriptionOptions
from .intake.source import Source
from .settle.acknowledgements import Acknowledgements
from .work.handling import Workers
from .work.pace import Pace, room
from .work.schedule import Schedule

BUFFERED_BYTES = 8 * 1024 * 1024
"""The most bytes that wait for a worker."""


class Room:
    """Compares the number of held entries with the limit."""

    def __init__(
        self,
        options: SubscriptionOptions,
        buffer: int,
        source: Source,
        *,
        acks: Acknowledgements,
        schedule: Schedule,
        workers: Workers,
    ) -> None:
        self._size = options.batch or 1
        self._concurrency = options.concurrency
        self._in_one_lane = options.order == "stream"
        self._handful = source.handful
        self._most_held = options.concurrency * self._size + buffer
        self._holdings = source.holdings
        self._acks = acks
        self._schedule = schedule
        self._workers = workers
        self.pace: Pace = Pace(buffer)
        self.asked: int = 0
        """The number of entries that were requested; their room is reserved until they arrive."""

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by delivery."""
        return self._workers.done

    @property
    def for_new(self) -> int:
        """The number of new entries to read."""
        return self._within(self._most_held - self._held)

    @property
    def for_old(self) -> int:
        """The number of pending entries to take; at first at most `few`."""
        could_run = self._schedule.ready + self._workers.busy * self._size
        return self._within(min(self._most_held - could_run, 2 * self._most_held - self._held))

    def few(self, count: int) -> int:
        """Return the upper bound for entries taken over at once.

        An entry that killed another process may kill this one too. Such a crash counts one delivery for every entry
        held, so take over only as many as workers can start now.
        """
        return max(1, min(count, max(self._limit, self._concurrency - self._workers.busy)))

    @property
    def _limit(self) -> int:
        """The most entries in the buffer: as many as are handled in a moment, and not too many bytes."""
        return min(self.pace.limit, self._handful.within(BUFFERED_BYTES))

    @property
    def _held(self) -> int:
        """The number of entries that are held and not settled."""
        return len(self._holdings) - len(self._acks)

    def _within(self, free: int) -> int:
        idle = (self._concurrency - self._workers.busy) * self._size
        # an entry behind another one of its lane is not work for a free worker; in stream order there is one lane
        buffered = self._schedule.buffered if self._in_one_lane else self._schedule.ready
        return min(
            self._handful.size,
            room(free=free - self.asked, limit=self._limit, buffered=buffered, idle=idle),
        )
