"""Count how many entries a subscription may ask for now.

There are two caps. **Entries that run or could run** fill the work of the handlers, and a buffer in front of them.
**Entries that wait** (for a retry, because their handler asked for it, or behind another entry of their lane) take no
room from these: up to `MOST_WAITING` may wait beside them, or as many as fit into `WAITING_BYTES`. Only where one lane
holds everything (`order="stream"`), reading on would be useless, so waiting entries fill the buffer there. Beyond their
cap, waiting entries are parked in Redis where their order allows it (`parking`).

Entries that are already pending, here or at consumers that are gone, are also taken when waiting entries fill their
cap: a waiting entry may wait for one of them, or for so long that nobody would take over from a dead consumer. This
adds at most as many entries as could run.

Acknowledgements that Redis does not accept take room beyond `MOST_UNWRITTEN`: a crash would repeat all these events.
"""

from __future__ import annotations

from ..handlers.subscription_options import SubscriptionOptions
from .intake.source import Source
from .parking import Parking
from .settle.acknowledgements import Acknowledgements
from .work.buffer_size import BufferSize, room
from .work.schedule import Schedule
from .work.workers import Workers

BUFFERED_BYTES = 8 * 1024 * 1024
"""The most bytes that wait for a worker."""
MOST_WAITING = 10_000
"""The most entries that wait beside those that could run."""
WAITING_BYTES = 64 * 1024 * 1024
"""The most bytes of entries that wait."""
MOST_UNWRITTEN = 1_000
"""The number of acknowledgements without an answer, beyond a full room, from which on they take room."""


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
        self._parking = Parking(source.holdings, schedule, options.order)
        self.buffer_size: BufferSize = BufferSize(buffer)
        self.asked: int = 0
        """The number of entries that were requested; their room is reserved until they arrive."""

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by delivery."""
        return self._workers.done

    @property
    def for_new(self) -> int:
        """The number of new entries to read."""
        return self._within(self._most_held - self._at_work)

    @property
    def for_more(self) -> int:
        """The number of new entries to read next, in the moment in which all that were requested arrive."""
        return self._within(self._most_held - self._at_work, arriving=self.asked)

    @property
    def for_old(self) -> int:
        """The number of pending entries to take; at first at most `few`."""
        could_run = self._schedule.runnable + self._workers.busy * self._size
        return self._within(min(self._most_held - could_run, 2 * self._most_held - self._at_work))

    @property
    def waiting(self) -> int:
        """The number of entries that wait for a time, or behind another entry of their lane."""
        return self._schedule.delayed + self._schedule.buffered - self._schedule.runnable

    @property
    def unwritten(self) -> int:
        """The number of acknowledgements that Redis has not confirmed yet."""
        return len(self._acks)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs, and nothing could run."""
        return not (self._workers.busy or self.asked or self._held > self.waiting)

    @property
    def due(self) -> float | None:
        """When the next waiting entry is due, on the broker's clock."""
        return self._schedule.next_due

    async def make(self) -> bool:
        """Park waiting entries in Redis if too many wait here; return whether there were any to park.

        Raises `RedisUnavailableError`.
        """
        most = self._most_waiting
        if self.waiting <= most or not await self._parking.park(max(1, most // 10)):
            return False
        self._workers.wake()  # copies may have waited behind a parked entry
        return True

    def startable_now(self, count: int) -> int:
        """Return the upper bound for entries taken over at once.

        An entry that killed another process may kill this one too. Such a crash counts one delivery for every entry
        held, so take over only as many as workers can start now.
        """
        return max(1, min(count, max(self._limit, self._concurrency - self._workers.busy)))

    @property
    def _limit(self) -> int:
        """The most entries in the buffer: as many as are handled in a moment, and not too many bytes."""
        return min(self.buffer_size.limit, self._handful.within(BUFFERED_BYTES))

    @property
    def _held(self) -> int:
        """The number of entries that are held and not settled."""
        return len(self._holdings) - len(self._acks)

    @property
    def _at_work(self) -> int:
        """The number of held entries, without the waiting ones that take no room."""
        if self._in_one_lane:
            return self._held
        return self._held - min(self.waiting, self._most_waiting)

    @property
    def _most_waiting(self) -> int:
        return min(MOST_WAITING, self._handful.within(WAITING_BYTES))

    def _within(self, free: int, *, arriving: int = 0) -> int:
        refused = max(0, len(self._acks) - self._most_held - MOST_UNWRITTEN)
        idle = (self._concurrency - self._workers.busy) * self._size
        # an entry behind another one of its lane is not work for a free worker; in stream order there is one lane
        buffered = self._schedule.buffered if self._in_one_lane else self._schedule.ready
        return min(
            self._handful.size,
            room(free=free - refused - self.asked, limit=self._limit, buffered=buffered + arriving, idle=idle),
        )
