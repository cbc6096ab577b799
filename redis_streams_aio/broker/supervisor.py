"""The supervisor starts and stops the subscriptions of a broker, and runs the duties that all of them share.

A subscription can be started and stopped at any time, while the others work. Each owns its life, and the order of its
stop (`consumer/subscription.py`). Every task lives below `run`, in two nested task groups. The outer one has the duties
for all subscriptions: leases, checkpoints, lag, watches. The inner one has a task for each subscription.

The order of a start:

1. Connect.
2. Join every group.
3. Start the duties, and the subscriptions.

The order of a stop (a drain):

1. All subscriptions drain at the same time, each in the order of `consumer/subscription.py`. Until the last fate of one
   is written, its leases are renewed.
2. The duties end.
3. The connections are closed.

A second stop cancels the handlers at once. An error other than a `RedisStreamsError` is our bug, in whichever
subscription or duty: it cancels everything and comes out of `run`.

`run` is one task of its own, which `SupervisorTask` awaits: the cancel scopes of task groups must be left by the task
that entered them, and frameworks and test fixtures may well enter and leave a broker in two different tasks. All tasks
are in its own empty `contextvars` context, except the workers: each of these begins in a copy of the context in which
the broker was opened.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, ContextVar, copy_context
from functools import partial

import anyio
from anyio.abc import TaskGroup

from ..checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from ..connection.backoff import delays
from ..consumer.breaking import Guards
from ..consumer.consumer_options import consumer_options
from ..consumer.controls import Controls
from ..consumer.group_consumer import GroupConsumer
from ..consumer.holdings import Shared
from ..consumer.intake.leases import LeaseKeepers
from ..consumer.intake.pages import Pages
from ..consumer.periodic import repeat
from ..consumer.subscription import Subscription
from ..consumer.work.handling import of_handlers
from ..exceptions import NotOpenError, RedisUnavailableError
from ..handlers.routes import Plan
from ..models import LagReport
from ..monitoring import LagWatcher
from ..telemetry import StepFailed
from ..telemetry.logs import log
from . import duties
from .duties import Duty
from .lease_keeping import LeaseKeeping
from .lease_thread import LeaseThread
from .loop_watch import LoopWatch
from .losses import tell_losses
from .parts import Parts
from .reports import Drain, subscribed
from .running import Running
from .slow_handlers import SlowHandlers

current_supervisor: ContextVar[Supervisor | None] = ContextVar("current_supervisor", default=None)
"""The supervisor that the running task lives under, also in tasks that handlers start."""


class Supervisor:
    """Runs the subscriptions and the duties of one open broker, until `drain`."""

    def __init__(self, parts: Parts, plans: Sequence[Plan]) -> None:
        self._connection = connection = parts.connection
        self._plans = plans
        self._settings = settings = parts.settings
        self._telemetry = telemetry = parts.telemetry
        self._shared = Shared(connection, telemetry, parts.clock, parts.publisher.composer.command)
        self._checkpoints = _checkpoint_store(parts)
        self._stop = asyncio.Event()
        self.crashed: bool = False
        """Whether an error is ending it."""
        self._context = Context()
        self._handlers_context = Context()
        self._duties: TaskGroup | None = None
        self._work: TaskGroup | None = None
        self.leases: LeaseKeeping | LeaseThread | None = None
        self.loop_watch: LoopWatch | None = None
        high, low, high_age = settings.lag_high, settings.lag_low, settings.lag_high_age
        self._lag = LagWatcher(connection, (), high=high, low=low, high_age=high_age, telemetry=telemetry)
        self.controls: Controls = Controls(connection, telemetry)
        self.started: asyncio.Event = asyncio.Event()
        self.running: Running = Running()
        self.slow_handlers: SlowHandlers = SlowHandlers(self.running, telemetry)

    @property
    def subscriptions(self) -> list[Subscription]:
        """The subscriptions that are not closed yet."""
        return list(self.running)

    @property
    def stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._stop.is_set()

    async def measure_lag(self) -> list[LagReport]:
        """Measure all groups now. Raises `RedisUnavailableError`, `ServerError`."""
        return await self._lag.measure(self.running.groups())

    # -- single subscriptions ---------------------------------------------------------------------------------

    def subscription(self, plan: Plan) -> Subscription:
        """Return a new subscription, which is to be started."""
        settings = consumer_options(plan.options, self._settings)
        guards = Guards(self._shared.clock, self._telemetry)
        plan = guards.of(plan)
        pages = Pages(plan, self._handlers_context)
        consumer = GroupConsumer(self._shared, plan.options, settings, self._checkpoints, pages.parse)
        handling = of_handlers(plan, consumer.holdings, consumer.settlement, self._handlers_context)
        subscription = Subscription(consumer, handling)
        guards.attach(subscription)
        return subscription

    async def start(self, subscription: Subscription) -> None:
        """Let a subscription work beside the others, when it has joined its group.

        Raises what joining raises, and `NotOpenError` once the drain has begun.
        """
        self._check_working()
        self.running.add(subscription)
        try:
            await self._open(subscription, self._give_up_at())
            self._begin(subscription)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._leave(subscription)
            raise

    async def stop(self, subscription: Subscription) -> None:
        """Drain one subscription, and return when it is closed; the others go on."""
        subscription.drain(self._settings.grace)
        await subscription.closed.wait()

    # -- all of them ------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Begin the drain of all subscriptions, which ends `run`."""
        self._stop.set()

    def stop_now(self) -> None:
        """Begin the drain, or go on with it, and give handlers no more time."""
        self._stop.set()
        for subscription in self.running:
            subscription.drain(0.0)

    async def abandon(self) -> None:
        """Its event loop is closed, or was inherited by a fork: nothing of it runs, and nothing can be drained."""
        await self._connection.close()

    async def run(self, handlers_context: Context) -> None:
        """From connecting to the end of the drain. Raises what connecting and joining raise, and our own bugs.

        Handlers begin in copies of `handlers_context`.
        """
        current_supervisor.set(self)
        handlers_context.run(current_supervisor.set, self)
        self._context, self._handlers_context = copy_context(), handlers_context
        try:
            async with self._connection:
                await self._run()
        finally:
            self._handlers_context = Context()  # it may be somebody's request

    async def _run(self) -> None:
        for plan in self._plans:
            self.running.add(self.subscription(plan))
        opened = self.subscriptions
        try:
            await self._open_all(opened)
            async with anyio.create_task_group() as self._duties:
                for duty in duties.of_streams(self._connection, self.running, self._settings, self._telemetry):
                    self._start_duty(duty)
                streams = [plan.options.stream for plan in self._plans]
                self._spawn(self._duties, partial(tell_losses, self._connection, self._settings, streams))
                async with anyio.create_task_group() as self._work:
                    for subscription in opened:
                        self._begin(subscription)
                    self.started.set()
                    await self._stop.wait()
                    drained = Drain(self.subscriptions)
                    for subscription in self.running:
                        subscription.drain(self._settings.grace)
                self._duties.cancel_scope.cancel()
        except Exception:
            self.crashed = True
            raise
        finally:
            with anyio.CancelScope(shield=True):  # those that never began to work
                await asyncio.gather(*map(self._leave, self.subscriptions))
        self._telemetry.emit(drained.fact())

    async def _open_all(self, subscriptions: Sequence[Subscription]) -> None:
        """Join every group, all at once: they share round trips, however far Redis is.

        Waits for a Redis that answers and refuses for now (LOADING, READONLY, ...).
        """
        if not subscriptions:
            log.info("no handlers: this broker publishes, and handles nothing")
        give_up = self._give_up_at()
        try:
            async with anyio.create_task_group() as opening:
                for subscription in subscriptions:
                    opening.start_soon(self._open, subscription, give_up)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # one is enough to be told

    def _give_up_at(self) -> float:
        return anyio.current_time() + (self._settings.connect_timeout or math.inf)

    async def _open(self, subscription: Subscription, give_up: float) -> None:
        """Join a group, and learn whether it is paused before a handler begins."""
        duty = f"open {subscription.name}"
        await self._until_there(subscription.open, duty, give_up)
        self._telemetry.emit(subscribed(subscription))
        await self._until_there(partial(self.controls.look, [subscription]), duty, give_up)

    async def _until_there(self, step: Callable[[], Awaitable[None]], duty: str, give_up: float) -> None:
        """Try a step until Redis is there, or until `give_up`."""
        waits = delays()
        while True:
            try:
                return await step()
            except RedisUnavailableError as error:
                wait = next(waits)
                if anyio.current_time() + wait > give_up:
                    raise
                self._telemetry.emit(StepFailed.of(duty, error, wait))
                await anyio.sleep(wait)

    def _begin(self, subscription: Subscription) -> None:
        """Start the task of a subscription that has joined its group."""
        self._check_working()
        if self.leases is None:
            self._start_for_all()
        else:
            self.leases.begin_missing()
        self._spawn(self._work, partial(self._live, subscription))

    def _check_working(self) -> None:
        if self._work is None or self._stop.is_set():
            raise NotOpenError("the broker is not open, or drains: it starts no subscription")

    async def _live(self, subscription: Subscription) -> None:
        """Run a subscription to its end."""
        try:
            await subscription.run()
        finally:
            self.running.remove(subscription)

    async def _leave(self, subscription: Subscription) -> None:
        """Close a subscription that has joined its group, and does not run."""
        await subscription.close(release=not self.crashed)
        self.running.remove(subscription)

    def _start_for_all(self) -> None:
        """Start the duties for all subscriptions, with the first of them."""
        connection, running, telemetry = self._connection, self.running, self._telemetry
        if self._settings.lease_thread:
            self.leases = LeaseThread(connection, running.holdings, telemetry)
        else:
            self.leases = LeaseKeeping(LeaseKeepers(connection, running.holdings), telemetry.emit)
        self._spawn(self._duties, self.leases.run)
        self.loop_watch = LoopWatch(running, telemetry)
        self._spawn(self._duties, self.loop_watch.run)
        self._start_duty(duties.of_reading(connection, running, self.controls, self._settings), self._stop)
        for duty in duties.of_handling(running, self._lag, self.slow_handlers, self._settings):
            self._start_duty(duty)

    def _start_duty(self, duty: Duty, stop: asyncio.Event | None = None) -> None:
        repeated = partial(repeat, duty.name, duty.step, duty.interval, self._telemetry.emit, stop)
        self._spawn(self._duties, repeated)

    def _spawn(self, tasks: TaskGroup | None, step: Callable[[], Coroutine[object, object, None]]) -> None:
        """Start a task in our own context, not in the caller's."""
        assert tasks is not None  # noqa: S101  # `run` has begun
        self._context.copy().run(tasks.start_soon, step)


def _checkpoint_store(parts: Parts) -> CheckpointStore:
    if parts.settings.checkpoints == "memory":
        return InMemoryCheckpointStore()
    return RedisCheckpointStore(parts.connection)
