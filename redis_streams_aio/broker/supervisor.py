"""The supervisor: starts the parts of a broker, and stops them in order.

Every task lives below `run`, in two nested task groups. The outer one has the duties that go on until the last handler
has ended: leases, acknowledgements, checkpoints, lag. The inner one has the work: reading, reclaiming, handling.

The order of a start:

1. Connect.
2. Join every group.
3. Start the duties.
4. Start the work.

The order of a stop (a drain):

1. Reads end, no handler begins, and entries whose handler has not begun are released.
2. Running handlers finish, for at most `grace` seconds; then they are cancelled.
3. The duties end.
4. Fates that are not written yet are written, all other entries are released, and connections are closed.

A second stop cancels the handlers at once. An error other than a `RedisStreamsError` is our bug: it cancels everything
and comes out of `run`.

`run` is one task of its own, which `Host` starts and awaits: the cancel scopes of task groups must be left by the task
that entered them, and frameworks and test fixtures may well enter and leave a broker in two different tasks. All tasks
are in its own empty `contextvars` context, except the workers: each of these begins in a copy of the context in which
the broker was opened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextvars import Context, ContextVar

import anyio
from anyio.abc import TaskGroup

from ..checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from ..connection.backoff import delays
from ..consumer.holdings import Shared
from ..consumer.intake.leases import by_lease
from ..consumer.periodic import repeat
from ..consumer.subscription import Subscription
from ..exceptions import RedisUnavailableError
from ..handlers.routes import Plan
from ..monitoring import LagWatcher
from ..telemetry import Drained, StepFailed
from ..telemetry.logs import log
from . import duties
from .duties import Duty
from .lease_thread import LeaseThread, keep_leases
from .loop_watch import LoopWatch
from .parts import Parts

UNBLOCK_AGAIN = 0.05
"""Seconds between attempts to end the reads: one that had not yet begun is missed."""

READ_OVERDUE = 1.0
"""Seconds that a read may take longer than its block before a drain cancels it."""


current_supervisor: ContextVar[Supervisor | None] = ContextVar("current_supervisor", default=None)
"""The supervisor that the running task lives under, also in tasks that handlers start."""


class Supervisor:
    """Runs the subscriptions and the duties of one open broker, until `stop`."""

    def __init__(self, parts: Parts, plans: Sequence[Plan]) -> None:
        self._connection = connection = parts.connection
        self._plans = plans
        self._settings = settings = parts.settings
        self._telemetry = telemetry = parts.telemetry
        self._shared = Shared(connection, telemetry, parts.clock, parts.publisher.composer.command)
        self._stop = asyncio.Event()
        self._work: anyio.CancelScope | None = None
        self._crashed = False
        self._stopped_at = 0.0
        self._settled_before = 0
        self._handlers_context = Context()
        self.started: asyncio.Event = asyncio.Event()
        self.subscriptions: list[Subscription] = []
        groups = [(plan.options.stream, plan.options.group) for plan in plans]
        self.lag: LagWatcher = LagWatcher(
            connection, groups, high=settings.lag_high, low=settings.lag_low, telemetry=telemetry
        )

    @property
    def stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._stop.is_set()

    @property
    def ready(self) -> bool:
        """Whether it has started, is not stopping, and the reads of all subscriptions come back."""
        if not self.started.is_set() or self._stop.is_set() or self._crashed:
            return False
        return all(subscription.ready for subscription in self.subscriptions)

    def stop(self) -> None:
        """Begin the drain."""
        self._stop.set()

    def stop_now(self) -> None:
        """Begin the drain, or go on with it, and give handlers no more time."""
        self._stop.set()
        for subscription in self.subscriptions:
            subscription.stop()
        if self._work is not None:
            self._work.cancel()

    async def abandon(self) -> None:
        """Its event loop is closed, or was inherited by a fork: nothing of it runs, and nothing can be drained."""
        await self._connection.close()

    async def run(self, handlers_context: Context) -> None:
        """From connecting to the end of the drain. Raises what connecting and joining raise, and our own bugs.

        Handlers begin in copies of `handlers_context`.
        """
        current_supervisor.set(self)
        handlers_context.run(current_supervisor.set, self)
        self._handlers_context = handlers_context
        try:
            await self._run()
        finally:
            self._handlers_context = Context()  # it may be somebody's request

    async def _run(self) -> None:
        async with self._connection:
            settings, checkpoints = self._settings, self._checkpoint_store()
            self.subscriptions = [
                Subscription(plan, self._shared, settings, checkpoints, self._handlers_context) for plan in self._plans
            ]
            try:
                await self._open_subscriptions()
                async with anyio.create_task_group() as around:
                    self._start_duties(around)
                    await self._run_work()
                    self._check_stopped()
                    around.cancel_scope.cancel()
            except Exception:
                self._crashed = True  # nothing is released then: the event that brought us down must count its delivery
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await asyncio.gather(
                        *(subscription.close(release=not self._crashed) for subscription in self.subscriptions)
                    )
            self._tell_drained()

    def _tell_drained(self) -> None:
        released = sum(subscription.holdings.released for subscription in self.subscriptions)
        seconds = round(anyio.current_time() - self._stopped_at, 3)
        self._telemetry.emit(Drained(seconds=seconds, settled=self._settled - self._settled_before, released=released))

    @property
    def _settled(self) -> int:
        """Events settled since the start."""
        return sum(subscription.holdings.settled_count for subscription in self.subscriptions)

    async def _open_subscriptions(self) -> None:
        """Join every group, all at once: they share round trips, however far Redis is.

        Waits for a Redis that answers and refuses for now (LOADING, READONLY, ...).
        """
        if not self.subscriptions:
            log.info("no handlers: this broker publishes, and handles nothing")
        give_up = anyio.current_time() + (self._settings.connect_timeout or math.inf)
        try:
            async with anyio.create_task_group() as opening:
                for subscription in self.subscriptions:
                    opening.start_soon(self._open, subscription, give_up)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # one is enough to be told

    async def _open(self, subscription: Subscription, give_up: float) -> None:
        waits = delays()
        while True:
            try:
                await subscription.open()
                break
            except RedisUnavailableError as error:
                wait = next(waits)
                if anyio.current_time() + wait > give_up:
                    raise
                self._telemetry.emit(StepFailed.of(f"open {subscription.name}", error, wait))
                await anyio.sleep(wait)

    def _check_stopped(self) -> None:
        """Tasks that end by themselves would leave a broker that looks open and does nothing."""
        if not self._stop.is_set():
            raise RuntimeError("the broker's tasks ended, and nobody had stopped them")

    async def _run_work(self) -> None:
        async with anyio.create_task_group() as work:
            self._work = work.cancel_scope
            for duty in duties.of_reading(self._connection, self.subscriptions, self._settings):
                self._start(work, duty, self._stop)
            async with anyio.create_task_group() as reads:
                for subscription in self.subscriptions:
                    reads.start_soon(subscription.read)
                    for _ in range(subscription.options.concurrency):
                        self._start_worker(work, subscription)
                self.started.set()
                await self._stop.wait()
                now = self._stopped_at = anyio.current_time()
                self._settled_before = self._settled
                work.cancel_scope.deadline = now + self._settings.grace
                reads.cancel_scope.deadline = now + self._settings.block_ms / 1000 + READ_OVERDUE
                for subscription in self.subscriptions:
                    subscription.stop()
                    work.start_soon(subscription.release)
                await self._end_reads()
            if not self._stop.is_set():
                work.cancel_scope.cancel()

    async def _end_reads(self) -> None:
        """End the reads that are waiting; where Redis does not answer, they are cancelled a little after their time."""
        while reading := [subscription for subscription in self.subscriptions if subscription.reading]:
            for subscription in reading:
                await subscription.unblock()
            await anyio.sleep(UNBLOCK_AGAIN)

    def _start(self, tasks: TaskGroup, duty: Duty, stop: asyncio.Event | None = None) -> None:
        tasks.start_soon(repeat, duty.name, duty.step, duty.interval, self._telemetry.emit, stop)

    def _start_worker(self, work: TaskGroup, subscription: Subscription) -> None:
        """Start a worker in a context of its own."""
        self._handlers_context.copy().run(work.start_soon, self._work_in_context, work, subscription)

    async def _work_in_context(self, work: TaskGroup, subscription: Subscription) -> None:
        """One worker; when handlers have left something in its context, another one takes its place."""
        if await subscription.work():
            self._start_worker(work, subscription)

    def _start_duties(self, tasks: TaskGroup) -> None:
        """Start the duties that go on until the last handler has ended."""
        subscriptions, settings, telemetry = self.subscriptions, self._settings, self._telemetry
        for subscription in subscriptions:
            tasks.start_soon(subscription.write)
        if subscriptions:
            self._start_lease_keepers(tasks)
            routes = [route for plan in self._plans for route in plan.routes.all]
            tasks.start_soon(LoopWatch(subscriptions, routes, telemetry).run)
        lag = self.lag if subscriptions else None
        for duty in (
            *duties.of_handling(subscriptions, settings, telemetry),
            *duties.of_measuring(self._connection, lag, settings, telemetry),
        ):
            self._start(tasks, duty)

    def _start_lease_keepers(self, tasks: TaskGroup) -> None:
        holdings = [subscription.holdings for subscription in self.subscriptions]
        if self._settings.lease_thread:
            tasks.start_soon(LeaseThread(self._connection, holdings, self._telemetry).run)
            return
        for keeper in by_lease(self._connection, holdings):
            tasks.start_soon(keep_leases, keeper, self._telemetry.emit)

    def _checkpoint_store(self) -> CheckpointStore:
        return (
            InMemoryCheckpointStore()
            if self._settings.checkpoints == "memory"
            else RedisCheckpointStore(self._connection)
        )
