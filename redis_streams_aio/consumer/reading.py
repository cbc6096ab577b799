"""Reading: a subscription asks for entries, oldest first, whenever there is room for them.

*Oldest first*: own pending entries, then those that consumers which are gone have left, then new ones. So a consumer
that is restarted, or had lost an answer, goes on where it was.

`run` reads until the subscription halts; beside it, abandoned entries are searched, also where nothing new arrives. A
read that waits in Redis at the halt is ended by the server (`unblock`). A read that is cancelled strands the entries of
its answer in the own pending list, so only a read that is overdue is cancelled.

While entries wait in Redis, the next read leaves as soon as the answer to the last one is here, if there is room for
both: Redis works on it while these entries are taken in and handled. The step that follows waits for it. An answer that
is not full ends this, so acknowledgements of few events leave with the next read.

A read that follows an empty one waits ten times as long, where the server lets us end it. Redis is heard meanwhile by
the search for released entries, so silence is noticed as soon as with short reads.

When things fail: a failed step is repeated with backoff, and its subscription is not `ready` meanwhile. The next read
begins with the own pending entries, because a lost answer may have left some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio

from ..exceptions import RedisStreamsError, RedisUnavailableError, StreamNotFoundError
from ..telemetry import ReadingAgain
from .consumer_options import ConsumerOptions
from .entry import Entry
from .intake.source import Source, TakeNew
from .page import Page
from .periodic import repeat, wait_for
from .progress import Progress
from .room import Room
from .starvation import Starvation

UNBLOCK_AGAIN = 0.05
"""Seconds between attempts to end a read: one that had not yet begun is missed."""

LONGER = 10
"""A read that follows an empty one waits for as many blocks."""

LONGEST_WAIT = 30.0
"""Seconds, unless a block is longer."""

AGAIN = 0.5
"""The most seconds between two reads that fail: a failover ends without notice. Connecting has a backoff of its own."""

READ_OVERDUE = 1.0
"""Seconds that a read may take longer than its block before a halt cancels it."""


class RefusedError(Exception):
    """Redis refuses, and trying again does not help; its cause says why."""


async def unless_refused(step: Callable[[], Awaitable[object]]) -> None:
    """Run a step. Raises `RefusedError` for an error that does not pass by itself."""
    try:
        await step()
    except (RedisUnavailableError, StreamNotFoundError):
        raise
    except RedisStreamsError as error:
        raise RefusedError from error


def refusal_in(error: BaseException | None) -> BaseException | None:
    """Return the cause of a `RefusedError` in the errors of a task group; `None` if there is none."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := refusal_in(each)) is not None), None)
    return error.__cause__ if isinstance(error, RefusedError) else None


class Reading:
    """Asks for the entries of one subscription.

    `freed` is set whenever a unit of work has ended; `halt` while nothing may be read.
    """

    def __init__(
        self,
        source: Source,
        take: TakeNew,
        room: Room,
        *,
        freed: asyncio.Event,
        halt: asyncio.Event,
        settings: ConsumerOptions,
    ) -> None:
        self._source = source
        self._take = take
        self._room = room
        self._freed = freed
        self._halt = halt
        self._block = settings.block
        self._interval = settings.reclaim_interval
        self._ends_when_refused = settings.ends_when_refused
        self._sent = 0
        """The number of entries that a read asks for which has left, and which nobody waits for yet."""
        self._is_idle = False
        """Whether the last read brought nothing."""
        holdings = source.holdings
        self._stream, self._group, self._telemetry = holdings.stream, holdings.group, holdings.telemetry
        self._more_to_reclaim = True
        self._look = asyncio.Event()
        self._taking_over = asyncio.Lock()
        self._looks = 0
        self._taken_over = 0
        """The number of entries that the last look has taken over."""
        self.progress: Progress = Progress()
        self._starvation = Starvation(holdings, room)
        self._came_at = 0.0
        self.is_active: bool = False
        """Whether a read may be under way."""

    async def run(self) -> None:
        """Read whenever there is room, and search for abandoned entries, until halted."""
        self._more_to_reclaim = True  # entries that were released in a pause are older than new ones
        async with anyio.create_task_group() as steps:
            steps.start_soon(self._read)
            search = self._step(self._search_once)
            steps.start_soon(repeat, "reclaim", search, self._interval, self._telemetry.emit, self._halt)
            await self._halt.wait()
            steps.cancel_scope.deadline = anyio.current_time() + self._block + READ_OVERDUE
            while self.is_active:
                await self._source.unblock()
                await anyio.sleep(UNBLOCK_AGAIN)

    async def _read(self) -> None:
        self.is_active = True
        try:
            read = self._step(self._read_once)
            await repeat(f"read {self._stream}/{self._group}", read, 0, self._telemetry.emit, self._halt, longest=AGAIN)
            if self._sent:
                await self._read_on()
        except RedisStreamsError:
            pass  # of a read that was under way at the halt: its entries are pending
        finally:
            self._room.asked -= self._sent
            self._sent = 0
            self.is_active = False
            self._freed.set()

    def _step(self, step: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        return partial(unless_refused, step) if self._ends_when_refused else step

    @property
    def trouble(self) -> str:
        """Why reads do not come back, or do not begin, and since when; empty: all is well. Any thread may ask."""
        trouble = self.progress.trouble
        return f"its read {trouble}" if trouble else self._starvation.trouble

    def search_soon(self) -> None:
        """Search for abandoned entries now, because entries were released, or may have been, or it is halted."""
        self._look.set()

    # -- inside -----------------------------------------------------------------------------------------------

    async def _search_once(self) -> None:
        """Take over all abandoned entries, as there is room for them."""
        await self._until_somebody_may_be_gone()
        self._more_to_reclaim = True
        if not self._source.has_all_own_entries:
            await self._source.unblock()  # a lost answer may have left own entries: not after the read, but now
        while self._more_to_reclaim and self._source.has_all_own_entries and not self._halt.is_set():
            if count := self._room.for_old:
                await self._take_over(self._room.startable_now(count))
            else:
                await self._wait_freed()

    async def _until_somebody_may_be_gone(self) -> None:
        """Wait until a consumer can be gone, or `search_soon` is called because entries were released."""
        wait = self._source.next_look - asyncio.get_running_loop().time()
        if wait > 0 and not self._halt.is_set():
            await wait_for(self._look, wait)
        self._look.clear()

    async def _read_once(self) -> None:
        await (self._read_on() if self._sent else self._read_into_room())

    async def _read_into_room(self) -> None:
        """Wait for room, and read into it.

        The time of the wait, in which work was always there, measures how much to buffer.
        """
        loop = asyncio.get_running_loop()
        began, done = loop.time(), self._room.done
        waited = False
        while not self._halt.is_set() and not (count := self._room_to_read()):
            waited = True
            await self._make_room()
        self._end_starvation()
        if self._halt.is_set():
            return
        if waited and self._room.done > done:
            self._room.buffer_size.measured(self._room.done - done, loop.time() - began)
            count = self._room_to_read() or count
        failing_since = self.progress.failing_since
        wait = self._wait
        with self.progress.step(wait, silence=self._block):
            await self._read_into(count, wait)
        if failing_since is not None:
            seconds = round(loop.time() - failing_since, 3)
            self._telemetry.emit(ReadingAgain(**self._source.holdings.here, seconds=seconds))

    def _end_starvation(self) -> None:
        """End a starvation, unless there is only room for entries that are pending already."""
        if self._halt.is_set() or self._room.for_new:
            self._starvation.end(reads=not self._halt.is_set())

    async def _read_on(self) -> None:
        """Wait for the read that left when the last answer came."""
        count, self._sent = self._sent, 0
        self._room.asked -= count  # it is reserved again
        with self.progress.step(self._block, silence=self._block):
            await self._fetch(count, self._block)

    def _more(self) -> int:
        """Return how many entries to ask for beside those that arrive now, and reserve their room."""
        if self._halt.is_set() or self._more_to_reclaim or not self._source.has_all_own_entries:
            return 0
        self._sent = self._room.for_more
        self._room.asked += self._sent
        return self._sent

    async def _make_room(self) -> None:
        """Park entries that wait, or wait until an entry has ended."""
        if await self._room.make():
            self._freed.set()  # also for take-overs
            self._look.set()  # to learn when the next parked entry is due
        else:
            await self._starvation.wait(self._freed)

    @property
    def _wait(self) -> float:
        """Seconds that the next read may wait: long where nothing comes, it can be ended, and Redis is heard anyway."""
        is_heard = self.progress.is_heard and self._interval <= self._block
        if self._is_idle and self._source.may_unblock and is_heard:
            return max(self._block, min(self._block * LONGER, LONGEST_WAIT))
        return self._block

    async def _read_into(self, count: int, wait: float) -> None:
        """Read the oldest entries first: own pending ones, then abandoned ones, then new ones."""
        if not self._source.has_all_own_entries and await self._ask_for(
            self._room.startable_now(count), self._source.own
        ):
            return
        if self._more_to_reclaim and await self._take_over(self._room.startable_now(count)):
            return
        if count := min(count, self._room.for_new):
            await self._fetch(count, wait)

    async def _fetch(self, count: int, wait: float) -> None:
        done = self._room.done
        self._is_idle = False  # after a failure a short read shows soon that Redis is back
        came = await self._ask_for(count, partial(self._source.fetch, wait=wait, more=self._more))
        self._is_idle = not came
        if came and self._room.done - done >= came:  # all were handled in the turn in which they came
            self._room.buffer_size.measured(came, asyncio.get_running_loop().time() - self._came_at)
        elif 0 < came < count:
            await asyncio.sleep(0)  # no more entries wait in Redis: let workers run before the next read

    async def _take_over(self, count: int) -> int:
        looks = self._looks
        async with self._taking_over:  # two at once would hold one entry more than has begun: see `Room.startable_now`
            if self._halt.is_set():
                return 0
            if looks == self._looks:  # else the other one has just looked
                self._taken_over = await self._ask_for(count, self._source.abandoned)
                self._more_to_reclaim = self._taken_over == count
                self._looks += 1
        return self._taken_over

    async def _ask_for(self, count: int, ask: Callable[[int, TakeNew], Awaitable[int]]) -> int:
        """Request entries; their room is reserved until they arrive."""
        self._room.asked += count
        try:
            return await ask(count, self._accept)
        finally:
            self._room.asked -= count
            self._freed.set()  # room of entries that did not come is free again, also for other waits

    def _accept(self, taken: Page | Sequence[Entry]) -> None:
        self._came_at = asyncio.get_running_loop().time()
        self._take(taken)

    def _room_to_read(self) -> int:
        return self._room.for_new if self._source.has_all_own_entries else self._room.for_old

    async def _wait_freed(self) -> None:
        """Wait until an entry has ended, or the subscription halts."""
        self._freed.clear()
        await self._freed.wait()
