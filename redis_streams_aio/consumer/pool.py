"""The workers of one subscription: each takes deliveries from the schedule one after another, and carries out
their fates.

Between the schedule and the handler there is no queue object, no task and no timer for an event: a worker goes on
for as long as there are deliveries, and rests when there are none. A handler that never waits would keep the event
loop to itself, so a worker steps back every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..declaration import Unknown
from ..delivery import Delivery
from ..retry import Ack, DeadLetter, Discard, Retry
from ..routing import RouteTable
from .attempt import attempt, forget_cancellation, is_drain_over
from .schedule import Schedule
from .settlement import Settlement

LONGEST_RUN = 0.005
"""Seconds after which a worker lets the rest of the event loop run."""


class Pool:
    """See the module. `work` is run `concurrency` times at once, by whoever owns the tasks."""

    def __init__(
        self,
        schedule: Schedule,
        settlement: Settlement,
        routes: RouteTable,
        unknown: Unknown,
        on_done: Callable[[], None],
    ) -> None:
        self._schedule = schedule
        self._settlement = settlement
        self._routes = routes
        self._unknown = unknown
        self._on_done = on_done
        self._resting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.running: int = 0
        """Deliveries in their handler, or on the way out of it."""
        self.done: int = 0
        """Attempts that came to an end."""

    def wake(self, count: int) -> None:
        """There is something to do for `count` workers."""
        while count > 0 and self._resting:
            future = self._resting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def stop(self) -> None:
        """Workers end when they have finished what they are at; nothing new is begun."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self.wake(len(self._resting))

    async def work(self) -> None:
        """One worker.

        Only the end of a drain cancels it: user code that cancels its task cancels nothing else (P14).
        """
        while not self._stopping:
            try:
                await self._work()
            except asyncio.CancelledError:
                if is_drain_over():
                    raise
                forget_cancellation()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        step_back_at = now + LONGEST_RUN
        while not self._stopping:
            delivery = self._schedule.take(now)
            if delivery is None:
                await self._rest(loop)
                now = loop.time()
                step_back_at = now + LONGEST_RUN
                continue
            if self._resting and self._timer is None:
                self._set_timer(loop)  # more retries may be due than the one worker that was woken can begin
            self.running += 1
            try:
                await self._handle(delivery, loop)
            finally:
                self.running -= 1
                self.done += 1
                self._on_done()
            now = loop.time()
            if now > step_back_at:
                await asyncio.sleep(0)
                step_back_at = loop.time() + LONGEST_RUN

    async def _handle(self, delivery: Delivery, loop: asyncio.AbstractEventLoop) -> None:
        if delivery.lost:
            self._leave(delivery)
            return
        match await attempt(delivery, self._routes, self._unknown):
            case Ack() | Discard():
                self._settlement.ack(delivery)
                self._leave(delivery)
            case Retry() as fate:
                if await self._settlement.retry(delivery, fate):
                    self._schedule.delay(delivery, loop.time() + fate.delay)
                else:
                    self._leave(delivery)
            case DeadLetter() as fate:
                await self._settlement.dead_letter(delivery, fate)
                self._leave(delivery)

    def lost(self, delivery: Delivery) -> None:
        """A delivery that is not ours any more holds its lane no longer, if it was waiting for its retry."""
        if self._schedule.forget(delivery):
            self._leave(delivery)
        self._on_done()

    def _leave(self, delivery: Delivery) -> None:
        if self._schedule.leave(delivery):
            self.wake(1)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until there is something to do, or a retry is due."""
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
        """One timer for all workers: it wakes one when the next retry is due."""
        due = self._schedule.next_due
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else loop.call_at(due, self._retry_is_due)

    def _retry_is_due(self) -> None:
        self._timer = None
        self.wake(1)
