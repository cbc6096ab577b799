"""The workers of one subscription: each takes what there is to handle, one unit after another.

A unit is a delivery, or a batch of them; what is done with it is `handling`'s and `batches`'. Between the schedule
and the handler there is no queue object, no task and no timer for an event: a worker goes on for as long as there
are deliveries, and rests when there are none. A handler that never waits would keep the event loop to itself, so a
worker steps back every few milliseconds.

One worker is woken for what has come, however much it is. Others follow only if it is held up, by a handler that
waits, before all is begun: the event loop gets to `_spread` only then. Handlers that never wait thus cost one wakeup
for a whole read, whatever the concurrency.

A worker in whose context a handler has left something ends, and another one takes its place: see `contexts`. It looks
for work itself when it begins, so nothing is lost between the two.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import Generic

from ...events.delivery import Delivery
from ..clock import Clock, Timer
from .attempt import forget_cancellation, is_drain_over
from .contexts import Beginning
from .single import Unit, Work, Worker

LONGEST_RUN = 0.005
"""Seconds after which a worker lets the rest of the event loop run."""


class Pool(Generic[Unit]):
    """Workers that share what there is to do.

    `run_worker` is run `concurrency` times at once, by whoever owns the tasks, and again wherever it says so.

    `freed` is set whenever a unit has ended.
    """

    def __init__(self, work: Work[Unit], freed: asyncio.Event, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._now = clock.now
        self._freed = freed
        self._resting: deque[asyncio.Future[None]] = deque()
        self._spreading: asyncio.Handle | None = None
        self._timer: Timer | None = None
        self._nowhere = Context()  # a timer that keeps its worker's context would keep what a handler has set there
        self._stopping = False
        self.busy: int = 0
        """Workers that are handling something, or carrying its fate out."""

    def wake(self) -> None:
        """There is something to do."""
        if self._resting:
            self._wake_one()
            self._spread_soon()

    def stop(self) -> None:
        """Workers end when they have finished what they are at; nothing new is begun."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        while self._resting:
            self._wake_one()

    def lost(self, delivery: Delivery) -> None:
        """A delivery is not ours any more."""
        self._work.lost(delivery)
        self._freed.set()
        self.wake()

    async def run_worker(self) -> bool:
        """Work until `stop`, or until the context is not as it was; whether another worker is to take its place.

        Only the end of a drain cancels it: user code that cancels its task cancels nothing else (P14).
        """
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101  # a coroutine that runs has one
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
            now = self._now()
            unit = self._work.take(now)
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

    async def _work_off(self, unit: Unit | None, worker: Worker, beginning: Beginning, now: float) -> bool:
        """Handle this unit and those that follow; whether it is time to step back, and there may be more."""
        work, freed, until = self._work, self._freed, now + LONGEST_RUN
        time = self._now
        while unit is not None:
            if self._resting:
                self._spread_soon()
            try:
                await work.handle(unit, worker, now)
            except asyncio.CancelledError:
                if not is_drain_over():
                    work.abandon(unit)
                raise
            freed.set()
            now = time()
            if now > until or self._stopping or beginning.has_changed():
                return True
            unit = work.take(now)
        return False

    def _spread_soon(self) -> None:
        """Once whoever works is held up, or at its end, see whether there is something left for those who rest."""
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
            if not future.done():  # else it is cancelled
                future.set_result(None)
                return

    async def _rest(self) -> None:
        """Until there is something to do, or something is due."""
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
        """One timer for all workers: it wakes one when the next unit is due."""
        if self._timer is not None:
            self._timer.cancel()
        due = self._work.next_due()
        self._timer = None
        if due is not None:
            self._timer = self._clock.call_at(due, self._is_due, context=self._nowhere)

    def _is_due(self) -> None:
        self._timer = None
        self.wake()
