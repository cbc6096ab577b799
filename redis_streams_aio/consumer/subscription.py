"""A running subscription: a consumer that reads, a schedule that orders, a pool that handles.

The way of an event: fetcher -> schedule -> worker (attempt -> fate) -> settlement. Reclaimed and recovered entries
enter the same schedule. Everything runs in tasks of the supervisor: `read` once, `work` `concurrency` times, `write`
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

from ..checkpoint import CheckpointStore
from ..config import Settings
from ..connection.backoff import LONGEST
from ..events.delivery import Delivery
from ..handlers.routes import Plan
from ..handlers.subscription_options import SubscriptionOptions
from ..telemetry import ReadingAgain, StepFailed, Subscribed
from .consumer_options import ConsumerOptions
from .draining import release_waiting
from .holdings import Holdings, Shared
from .member import Member
from .periodic import repeat, wait_for
from .progress import Progress
from .room import Room
from .status import SubscriptionStatus
from .work.batches import Batches
from .work.lanes import Lanes
from .work.pool import Pool
from .work.schedule import Schedule
from .work.single import OneByOne, Work, Worker


class Subscription:
    """All handlers of one stream and one group in this process."""

    def __init__(
        self, plan: Plan, shared: Shared, settings: Settings, checkpoints: CheckpointStore, context: Context
    ) -> None:
        options = plan.options
        self.options = options
        self._plan = plan
        self._lanes = Lanes(plan, context)
        self._telemetry = shared.telemetry
        self._schedule = Schedule()
        self._freed = asyncio.Event()
        self._member = Member(shared, options, _consumer_options(options, settings), checkpoints, self._accept)
        self._settlement = self._member.settlement
        self._consumer_expiry = settings.consumer_expiry
        self._work: Work[Delivery] | Work[list[Delivery]]
        if options.batch is None:
            self._work = OneByOne(self.holdings, self._schedule, self._settlement, plan.routes, options.unknown)
            self._pool: Pool[Delivery] | Pool[list[Delivery]] = Pool(self._work, self._freed, shared.clock)
        else:
            self._work = Batches(self.holdings, self._schedule, self._settlement, plan.routes, options)
            self._pool = Pool(self._work, self._freed, shared.clock)
        self._room = Room(options, settings.count, self._member, self._schedule, self._pool)
        self._more_to_reclaim = True
        self._look = asyncio.Event()
        self._taking_over = asyncio.Lock()
        self._member.holdings.on_lost = self._pool.lost
        self._member.holdings.handler_of = plan.routes.handler_name
        self._stop = asyncio.Event()
        self._progress = Progress()
        self._came_at = 0.0
        self._block = settings.block_ms / 1000
        self.name: str = f"{options.stream}/{options.group}"
        self.reading: bool = False
        """Whether `read` is still running."""

    @property
    def holdings(self) -> Holdings:
        """The deliveries that this subscription holds."""
        return self._member.holdings

    @property
    def status(self) -> SubscriptionStatus:
        """The state of the subscription."""
        return SubscriptionStatus(
            self.options.stream,
            self.options.group,
            self.holdings.consumer,
            self._work.running,
            self._schedule.buffered,
            self._schedule.delayed,
            len(self._settlement.acks),
            self.holdings.settled_count,
            self.holdings.vanished,
            self.ready,
        )

    @property
    def ready(self) -> bool:
        """Whether reads come back."""
        return self._progress.good

    @property
    def is_handling(self) -> bool:
        """Whether a worker is handling something. Can be read from any thread."""
        return self._pool.busy > 0

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Return each worker in a handler, with its deliveries. Can be called from any thread."""
        return self._work.in_handlers()

    async def open(self) -> None:
        """Join the group, and emit `Subscribed`. Raises `ServerError`, `RedisUnavailableError`."""
        await self._member.open()
        options = self.options
        self._telemetry.emit(
            Subscribed(
                stream=options.stream,
                group=options.group,
                handlers=tuple(route.name for route in self._plan.routes.all),
                concurrency=options.concurrency,
                order=options.order,
                batch=options.batch,
            )
        )

    def stop(self) -> None:
        """Stop reading, and start no handler."""
        self._stop.set()
        self._freed.set()
        self._look.set()
        self._pool.stop()

    async def unblock(self) -> None:
        """End a read that is waiting, if the server allows it."""
        await self._member.unblock()

    async def close(self, *, release: bool) -> None:
        """Write all fates, and release the other entries."""
        await self._member.close(release=release)

    # -- tasks ------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read whenever there is room, until `stop`."""
        self.reading = True
        try:
            await repeat(f"read {self.name}", self._read_once, 0, self._telemetry.emit, self._stop)
        finally:
            self.reading = False
            self._freed.set()

    async def work(self) -> bool:
        """Run one worker, and return whether a new worker must replace it."""
        return await self._pool.run_worker()

    async def release(self) -> None:
        """After `stop`, release entries that have not begun, until the last handler has ended."""
        await release_waiting(
            self._schedule,
            self._settlement,
            freed=self._freed,
            has_ended=lambda: not (self._pool.busy or self.reading or self._room.asked),
            failed=lambda error: self._telemetry.emit(StepFailed.of(f"release entries of {self.name}", error, LONGEST)),
        )

    async def write(self) -> None:
        """Write gathered acknowledgements, without end."""
        await repeat(f"acknowledge {self.name}", self._write_once, 0, self._telemetry.emit)

    async def reclaim(self) -> None:
        """Take over all abandoned entries, as there is room for them."""
        await self._until_somebody_may_be_gone()
        self._more_to_reclaim = True
        while self._more_to_reclaim and self._member.caught_up and not self._stop.is_set():
            if count := self._room.for_old:
                await self._take_over(self._room.few(count))
            else:
                await self._wait_freed()

    def look(self) -> None:
        """Search for abandoned entries now, because entries were released, or may have been."""
        self._look.set()

    @property
    def checkpoint_due(self) -> bool:
        """Whether `save_checkpoint` has work to do."""
        return self._member.checkpoint_due

    async def save_checkpoint(self) -> None:
        """Copy the group's checkpoint into the store."""
        await self._member.save_checkpoint()

    async def clean_up(self) -> None:
        """Remove consumers that are gone, and old dead letters."""
        await self._member.clean_up(self._consumer_expiry)

    # -- inside -----------------------------------------------------------------------------------------------

    async def _read_once(self) -> None:
        """Wait for room, and read into it.

        The time of the wait, in which work was always there, measures the pace.
        """
        loop = asyncio.get_running_loop()
        began, done = loop.time(), self._work.done
        waited = False
        while not self._stop.is_set() and not (count := self._room_to_read()):
            waited = True
            await self._wait_freed()
        if self._stop.is_set():
            return
        if waited and self._work.done > done:
            self._room.pace.measured(self._work.done - done, loop.time() - began)
            count = self._room_to_read() or count
        failing_since = self._progress.failing_since
        with self._progress.step(self._block):
            await self._read_into(count)
        if failing_since is not None:
            seconds = round(loop.time() - failing_since, 3)
            self._telemetry.emit(ReadingAgain(stream=self.options.stream, group=self.options.group, seconds=seconds))

    async def _read_into(self, count: int) -> None:
        """Read the oldest entries first: own pending ones, then abandoned ones, then new ones."""
        if not self._member.caught_up and await self._reserving(self._room.few(count), self._member.recover):
            return
        if self._more_to_reclaim and await self._take_over(self._room.few(count)):
            return
        if count := min(count, self._room.for_new):
            await self._fetch(count)

    async def _fetch(self, count: int) -> None:
        done = self._work.done
        came = await self._reserving(count, self._member.fetch)
        if came and self._work.done - done >= came:  # all were handled in the turn in which they came
            self._room.pace.measured(came, asyncio.get_running_loop().time() - self._came_at)
        if 0 < came < count:
            await asyncio.sleep(0)  # no more entries wait in Redis: let workers run before the next read

    async def _take_over(self, count: int) -> int:
        async with self._taking_over:  # two takeovers at once would hold one entry more than has begun: see `Room.few`
            if self._stop.is_set():
                return 0
            came = await self._reserving(count, self._member.reclaim)
        self._more_to_reclaim = came == count
        return came

    async def _reserving(self, count: int, take: Callable[[int], Awaitable[int]]) -> int:
        """Request entries; their room is reserved until they arrive."""
        self._room.asked += count
        try:
            return await take(count)
        finally:
            self._room.asked -= count
            self._freed.set()  # room of entries that did not come is free again, also for other waits

    async def _until_somebody_may_be_gone(self) -> None:
        """Wait until a consumer can be gone, or `look` is called because entries were released."""
        wait = self._member.next_look - asyncio.get_running_loop().time()
        if wait > 0 and not self._stop.is_set():
            await wait_for(self._look, wait)
        self._look.clear()

    async def _write_once(self) -> None:
        await self._settlement.acks.overdue()
        await self._settlement.acks.flush()

    def _room_to_read(self) -> int:
        return self._room.for_new if self._member.caught_up else self._room.for_old

    def _accept(self, deliveries: Sequence[Delivery]) -> None:
        self._came_at = asyncio.get_running_loop().time()
        self._lanes.assign(deliveries)
        for delivery in deliveries:
            self._schedule.add(delivery)
        self._pool.wake()

    async def _wait_freed(self) -> None:
        """Wait until a delivery has ended, or `stop` was called."""
        self._freed.clear()
        await self._freed.wait()

    def __repr__(self) -> str:
        status = self.status
        return (
            f"<Subscription {status.stream}/{status.group} {status.consumer}: "
            f"{status.running} running, {status.buffered} buffered, {status.delayed} delayed>"
        )


def _consumer_options(options: SubscriptionOptions, settings: Settings) -> ConsumerOptions:
    return ConsumerOptions(
        name=settings.consumer,
        block=settings.block_ms / 1000,
        count=max(settings.count, options.batch or 1),
        dead_letter_maxlen=settings.dead_letter_maxlen,
        dead_letter_retention=settings.dead_letter_retention,
    )
