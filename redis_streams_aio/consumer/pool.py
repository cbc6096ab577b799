"""The workers of one subscription: each takes what there is to handle, one unit after another.

A unit is a delivery, or a batch of them; what is done with it is `handling`'s and `batches`'. Between the schedule
and the handler there is no queue object, no task and no timer for an event: a worker goes on for as long as there
are deliveries, and rests when there are none. A handler that never waits would keep the event loop to itself, so a
worker steps back every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic

from ..delivery import Delivery
from .attempt import forget_cancellation, is_drain_over
from .handling import Unit, Work, Worker

LONGEST_RUN = 0.005
"""Seconds after which a worker lets the rest of the event loop run."""


class Pool(Generic[Unit]):
    """See the module. `run_worker` is run `concurrency` times at once, by whoever owns the tasks."""

    def __init__(self, work: Work[Unit], on_done: Callable[[], None]) -> None:
        self._work = work
        self._on_done = on_done
        self._resting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.busy: int = 0
        """Workers that are handling something, or carrying its fate out."""

    def wake(self, count: int) -> None:
        """There is something to do for `count` workers."""
        while count > 0 and self._resting:
            future = self._resting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def advance(self, seconds: float) -> None:
        """Let time pass: what is due by then is begun."""
        self._work.advance(seconds)
        self.wake(len(self._resting))

    def stop(self) -> None:
        """Workers end when they have finished what they are at; nothing new is begun."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake(len(self._resting))

    def lost(self, delivery: Delivery) -> None:
        """A delivery is not ours any more."""
        self.wake(self._work.lost(delivery))
        self._on_done()

    async def run_worker(self) -> None:
        """One worker.

        Only the end of a drain cancels it: user code that cancels its task cancels nothing else (P14).
        """
        worker = asyncio.current_task()
        assert worker is not None  # noqa: S101  # a coroutine that runs has one
        while not self._stopping:
            try:
                await self._run(worker)
            except asyncio.CancelledError:
                if is_drain_over():
                    raise
                forget_cancellation()

    async def _run(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        step_back_at = now + LONGEST_RUN
        while not self._stopping:
            unit = self._work.take(now)
            if unit is None:
                await self._rest(loop)
                now = loop.time()
                step_back_at = now + LONGEST_RUN
                continue
            if self._resting and self._timer is None:
                self._set_timer(loop)  # more retries may be due than the one worker that was woken can begin
            self.busy += 1
            try:
                if woken := await self._work.handle(unit, worker):
                    self.wake(woken)
            except asyncio.CancelledError:
                if not is_drain_over():
                    self.wake(self._work.abandon(unit))
                raise
            finally:
                self.busy -= 1
                self._on_done()
            now = loop.time()
            if now > step_back_at:
                await asyncio.sleep(0)
                step_back_at = loop.time() + LONGEST_RUN

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until there is something to do, or something is due."""
        self._set_timer(loop)
        future: asyncio.Future[None] = loop.create_future()
        self._resting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future in self._resting:
                self._resting.remove(future)
            raise

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all workers: it wakes one when the next unit is due."""
        due = self._work.next_due()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else loop.call_at(due, self._is_due)

    def _is_due(self) -> None:
        self._timer = None
        self.wake(1)
