"""The workers of one subscription: each handles one unit of work after another.

A unit is an entry, or a batch; `single` and `batches` handle them. Between the schedule and the handler there is no
queue object, no task and no timer for an event: a worker continues as long as there are entries, and rests when
there are none. A handler that never waits would block the event loop, so a worker yields to the loop every few
milliseconds.

However many entries arrive, one worker is woken. Others follow only if that worker waits in a handler before
everything has begun, because only then the event loop runs `_spread`. So handlers that never wait cost one wakeup for a
whole read, whatever the concurrency.

If a handler leaves a variable in a worker's context, the worker ends and a new one replaces it: see `contexts`. The new
worker looks for work when it begins, so nothing is lost in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import Generic, Protocol, TypeVar

from ..clock import Clock, Timer
from ..entry import Entry
from .attempt import forget_cancellation, is_drain_over
from .contexts import Beginning
from .turns import Turn, Turns, Worker
from .workers import InHandlers

WorkUnit = TypeVar("WorkUnit")


class WorkSource(InHandlers, Protocol[WorkUnit]):
    """The work of a subscription's workers: `OneByOne`, or `Batches`."""

    size: int
    """The most entries that a worker takes at once."""
    stopping: bool
    """Whether no handler may begin any more; set by the pool. Entries that have not begun return to the schedule."""

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by entry."""
        ...

    def take(self, now: float, /) -> WorkUnit | None:
        """Return the next unit to handle; `None` if there is none now."""
        ...

    def startable(self, now: float) -> int:
        """Return how many workers would find work; at least 1 as long as there is any."""
        ...

    def next_due(self) -> float | None:
        """Return when to look for work again, even if nothing new came."""
        ...

    async def handle(self, unit: WorkUnit, turn: Turn) -> None:
        """Handle a unit to its end, or until the turn is over. Only the end of a drain cancels it."""
        ...

    def abandon(self, unit: WorkUnit) -> None:
        """Drop the unit without settling it. Another consumer takes it over when the lease expires."""
        ...

    def lost(self, entry: Entry) -> None:
        """Note that another consumer has an entry now."""
        ...


class Pool(Generic[WorkUnit]):
    """Workers that share the work of one subscription.

    The owner of the tasks runs `run_worker` `concurrency` times in parallel, and again whenever it returns true.

    `freed` is set whenever a unit has ended.
    """

    def __init__(self, work: WorkSource[WorkUnit], freed: asyncio.Event, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._now = clock.now
        self._freed = freed
        self._resting: deque[asyncio.Future[None]] = deque()
        self._spreading: asyncio.Handle | None = None
        self._timer: Timer | None = None
        self._turns = Turns(clock.now)
        self._nowhere = Context()  # else a timer would keep its worker's context, with variables of handlers
        self._stopping = False
        self._halted = False  # paused, or stopping
        self.busy: int = 0
        """The number of workers that are handling a unit or writing its fate."""

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by delivery."""
        return self._work.done

    def wake(self) -> None:
        """Wake a worker, because there is work."""
        if self._resting and not self._halted:
            self._wake_one()
            self._spread_soon()

    def pause(self) -> None:
        """Begin no unit until `resume`; units that have begun are handled to their end."""
        self._halted = self._work.stopping = True
        self._set_timer()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._halted = self._work.stopping = False
        self.wake()

    def stop(self) -> None:
        """Let workers end after their current unit; nothing new begins, ever."""
        self.pause()
        self._stopping = True
        while self._resting:
            self._wake_one()

    def lost(self, entry: Entry) -> None:
        """Note that another consumer has an entry now."""
        self._work.lost(entry)
        self._freed.set()
        self.wake()

    async def run_worker(self) -> bool:
        """Work until `stop`, or until the context has changed; return whether a new worker must replace this one.

        Only the end of a drain cancels it. User code that cancels its own task does not stop the worker.
        """
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101  # a running coroutine has a task
        beginning = Beginning()
        while not self._stopping and not beginning.is_over:
            try:
                await self._run(worker, beginning)
            except asyncio.CancelledError:
                if is_drain_over():
                    raise
                forget_cancellation()
        return not self._stopping

    async def _run(self, worker: Worker, beginning: Beginning) -> None:
        while not self._stopping:
            if not self._turns.begin():
                await asyncio.sleep(0)
                continue
            now = self._now()
            unit = None if self._halted else self._work.take(now)
            if unit is None:
                await self._rest()
                continue
            self.busy += 1
            try:
                stepped_back = await self._work_off(unit, worker, beginning, now)
            finally:
                self.busy -= 1
                self._freed.set()
            if stepped_back:
                if beginning.is_over:
                    return
                await asyncio.sleep(0)

    async def _work_off(self, unit: WorkUnit | None, worker: Worker, beginning: Beginning, now: float) -> bool:
        """Handle this unit and the following ones; return whether to yield to the loop, with more work possible."""
        work, freed, time = self._work, self._freed.set, self._now
        turn = Turn(worker, now, self._turns.ends, beginning.has_changed, freed)
        while unit is not None:
            if self._resting:
                self._spread_soon()
            try:
                await work.handle(unit, turn)
            except asyncio.CancelledError:
                if not is_drain_over():
                    work.abandon(unit)
                raise
            freed()
            now = turn.began = time()
            if now > turn.until or self._halted or beginning.has_changed():
                return True
            unit = work.take(now)
        return False

    def _spread_soon(self) -> None:
        """When the working worker waits or ends, check whether there is work for resting workers."""
        if self._spreading is None:
            self._spreading = asyncio.get_running_loop().call_soon(self._spread)

    def _spread(self) -> None:
        self._spreading = None
        for _ in range(min(len(self._resting), self._work.startable(self._now()))):
            self._wake_one()
        if self._resting:
            self._set_timer()

    def _wake_one(self) -> None:
        while self._resting:
            future = self._resting.popleft()
            if not future.done():  # a finished future was cancelled
                future.set_result(None)
                return

    async def _rest(self) -> None:
        """Wait until there is work, or something is due."""
        self._set_timer()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future in self._resting:
                self._resting.remove(future)
            raise

    def _set_timer(self) -> None:
        """Set the timer that all workers share: it wakes one when the next unit is due."""
        if self._timer is not None:
            self._timer.cancel()
        due = None if self._halted else self._work.next_due()
        self._timer = None
        if due is not None:
            self._timer = self._clock.call_at(due, self._is_due, context=self._nowhere)

    def _is_due(self) -> None:
        self._timer = None
        self.wake()
