"""The supervisor: starts what there is, and stops it in order (P26, P27).

Every task lives below `run`, in two nested task groups. The outer one has the duties that go on until the last
handler has ended: leases, acknowledgements, checkpoints, lag. The inner one has the work: reading, reclaiming,
handling.

Start: connect -> join every group -> duties -> work. Stop: no more reads -> handlers finish, for at most `grace`
seconds, then are cancelled -> duties end -> what was settled is written, what was not is given back -> connections
close. A second stop cancels the handlers at once. An error that is no `RedisStreamsError` is a bug of ours: it
cancels everything and comes out of `run`.

What has not begun by then is given back at once, while the handlers that run go on.

`run` is one task of its own, which `Broker` starts and awaits: the cancel scopes of task groups must be left by
the task that entered them, and frameworks and test fixtures may well enter and leave a broker in two different
tasks. All tasks are in its own empty `contextvars` context, but for the workers: each of these begins in a copy of the
context in which the broker was opened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextvars import Context, ContextVar

import anyio
from anyio.abc import TaskGroup

from ..checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from ..config import Settings
from ..connection import Connection
from ..connection.backoff import delays
from ..consumer.intake.leases import by_lease
from ..consumer.periodic import repeat
from ..consumer.subscription import Subscription
from ..events.delivery import Compose
from ..exceptions import RedisUnavailableError
from ..handlers.routes import Plan
from ..monitoring import LagWatcher
from ..producer import StreamManager
from ..telemetry import Drained, StepFailed, Telemetry
from ..telemetry.logs import log
from .lease_thread import LeaseThread, keep_leases
from .loop_watch import LoopWatch
from .releases import ReleaseWatch
from .slow_handlers import SlowHandlers

UNBLOCK_AGAIN = 0.05
"""Seconds between attempts to end the reads: one that had not yet begun is missed."""

CLEAN_UP_INTERVAL = 60.0
"""Seconds between looks for names of consumers that are gone, and old dead letters; less where they expire sooner."""

READ_OVERDUE = 1.0
"""Seconds that a read may take longer than its block before a drain cancels it."""


current_supervisor: ContextVar[Supervisor | None] = ContextVar("current_supervisor", default=None)
"""The supervisor that the running task lives under, also in tasks that handlers start."""


class Supervisor:
    """See the module."""

    def __init__(
        self,
        connection: Connection,
        plans: Sequence[Plan],
        settings: Settings,
        telemetry: Telemetry,
        compose: Compose,
    ) -> None:
        self._connection = connection
        self._compose = compose
        self._plans = plans
        self._settings = settings
        self._telemetry = telemetry
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
                Subscription(
                    plan,
                    self._connection,
                    settings,
                    checkpoints,
                    self._telemetry,
                    compose=self._compose,
                    context=self._handlers_context,
                )
                for plan in self._plans
            ]
            try:
                await self._open_subscriptions()
                async with anyio.create_task_group() as duties:
                    self._start_duties(duties)
                    await self._run_work()
                    self._check_stopped()
                    duties.cancel_scope.cancel()
            except Exception:
                self._crashed = True  # nothing is given back then: what brought us down must count its delivery (P13)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await asyncio.gather(
                        *(subscription.close(give_back=not self._crashed) for subscription in self.subscriptions)
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

        A Redis that answers and refuses for now (LOADING, READONLY, ...) is waited for (P16).
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
            self._start_watch(work)
            async with anyio.create_task_group() as reads:
                for subscription in self.subscriptions:
                    reads.start_soon(subscription.read)
                    self._start_work(work, subscription)
                self.started.set()
                await self._stop.wait()
                now = self._stopped_at = anyio.current_time()
                self._settled_before = self._settled
                work.cancel_scope.deadline = now + self._settings.grace
                reads.cancel_scope.deadline = now + self._settings.block_ms / 1000 + READ_OVERDUE
                for subscription in self.subscriptions:
                    subscription.stop()
                    work.start_soon(subscription.give_back)
                await self._end_reads()
            if not self._stop.is_set():
                work.cancel_scope.cancel()

    async def _end_reads(self) -> None:
        """End the reads that are waiting; where Redis does not answer, they are cancelled a little after their time."""
        while reading := [subscription for subscription in self.subscriptions if subscription.reading]:
            for subscription in reading:
                await subscription.unblock()
            await anyio.sleep(UNBLOCK_AGAIN)

    def _start_watch(self, work: TaskGroup) -> None:
        if self.subscriptions:
            watch = ReleaseWatch(self._connection, self.subscriptions)
            interval, emit = self._settings.reclaim_interval, self._telemetry.emit
            work.start_soon(repeat, "look for what was given back", watch.run_once, interval, emit, self._stop)

    def _start_work(self, work: TaskGroup, subscription: Subscription) -> None:
        work.start_soon(
            repeat, "reclaim", subscription.reclaim, self._settings.reclaim_interval, self._telemetry.emit, self._stop
        )
        for _ in range(subscription.options.concurrency):
            self._start_worker(work, subscription)

    def _start_worker(self, work: TaskGroup, subscription: Subscription) -> None:
        """Start a worker in a context of its own."""
        self._handlers_context.copy().run(work.start_soon, self._work_in_context, work, subscription)

    async def _work_in_context(self, work: TaskGroup, subscription: Subscription) -> None:
        """One worker; when handlers have left something in its context, another one takes its place."""
        if await subscription.work():
            self._start_worker(work, subscription)

    def _start_duties(self, duties: TaskGroup) -> None:
        settings, emit = self._settings, self._telemetry.emit
        for subscription in self.subscriptions:
            duties.start_soon(subscription.write)
            duties.start_soon(repeat, "clean up", subscription.clean_up, self._clean_up_interval(), emit)
        if self.subscriptions:
            self._start_lease_keepers(duties)
            self._start_watches(duties)
            duties.start_soon(repeat, "checkpoint", self._save_checkpoints, settings.checkpoint_interval, emit)
            duties.start_soon(repeat, "measure lag", self.lag.run_once, settings.lag_interval, emit)
        if bounds := {
            stream: options.alert_length
            for stream, options in settings.streams.items()
            if options.alert_length is not None
        }:
            manager = StreamManager(self._connection, telemetry=self._telemetry)
            for stream, bound in bounds.items():
                manager.watch_length(stream, bound)
            duties.start_soon(repeat, "measure lengths", manager.check_lengths, settings.lag_interval, emit)

    async def _save_checkpoints(self) -> None:
        """Those that may have changed. One group's trouble keeps no other from it."""
        saving = [each.save_checkpoint() for each in self.subscriptions if each.checkpoint_due]
        for outcome in await asyncio.gather(*saving, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _start_lease_keepers(self, duties: TaskGroup) -> None:
        holdings = [subscription.holdings for subscription in self.subscriptions]
        if self._settings.lease_thread:
            duties.start_soon(LeaseThread(self._connection, holdings, self._telemetry).run)
            return
        for keeper in by_lease(self._connection, holdings):
            duties.start_soon(keep_leases, keeper, self._telemetry.emit)

    def _start_watches(self, duties: TaskGroup) -> None:
        """Handlers that hang, or that block the event loop, are told of."""
        slow = SlowHandlers(self.subscriptions, self._telemetry)
        duties.start_soon(repeat, "watch handlers", slow.run_once, slow.interval, self._telemetry.emit)
        routes = [route for plan in self._plans for route in plan.routes.all]
        duties.start_soon(LoopWatch(self.subscriptions, routes, self._telemetry).run)

    def _clean_up_interval(self) -> float:
        """Often enough that nothing stays for much longer than it should."""
        shortest = min(self._settings.consumer_expiry, self._settings.dead_letter_retention or math.inf)
        return min(CLEAN_UP_INTERVAL, shortest / 4)

    def _checkpoint_store(self) -> CheckpointStore:
        return (
            InMemoryCheckpointStore()
            if self._settings.checkpoints == "memory"
            else RedisCheckpointStore(self._connection)
        )
