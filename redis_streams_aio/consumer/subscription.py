"""A subscription: all handlers of one stream and one group in this process, from joining the group to leaving it.

The way of an event: reading -> schedule -> worker (attempt -> fate) -> settlement. Everything that a subscription does
runs in the task groups of its own `run`, so each one can be started, paused, resumed and drained while others work.

**States.**

* *closed*: at first, and at the end. `open` joins the group; `run` begins to work.
* *running*: it reads, and handlers begin.
* *paused* (`pause`): nothing is read, and no handler begins. Entries whose handler has not begun are released, so that
  other processes handle them meanwhile, and nothing waits here for the end of a pause. Handlers that run go on to their
  end, however long that takes; their fates are written, and all that is held is renewed. See `Holds`.
* `resume`: *running* again. Reading begins with own pending entries and released ones, so a pause changes no order.
* *draining* (`drain`): as paused, and there is no way back. Then *closed*.

**The order of a stop** stands here and nowhere else:

1. The read that waits in Redis is ended; no handler begins.
2. Entries whose handler has not begun are released, at once, and then those that turn up later.
3. Running handlers finish, for at most `grace` seconds; then they are cancelled.
4. The task beside the handlers ends, which writes acknowledgements.
5. Fates that are not written yet are written, all other entries are released, a made-up name is removed from the
   group, and the connection is closed. From now on the broker renews no leases of it.

When things fail: while Redis is away, a pause and a drain go on, and a release that failed is tried again each second;
a drain ends anyway, and the leases expire. An error other than a `RedisStreamsError` is our bug: it comes out of `run`,
and nothing is released then, because the event that brought us down must count its delivery.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextvars import Context
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from ..connection.backoff import LONGEST
from ..exceptions import RedisStreamsError
from ..handlers.routes import RouteTable
from ..models import Pause
from ..telemetry import StepFailed
from .entry import Entry
from .group_consumer import GroupConsumer
from .halting import release_waiting
from .holdings import Holdings
from .holds import BY_CODE, Hold, Holds
from .page import Page
from .periodic import repeat
from .reading import Reading, refusal_in
from .room import Room
from .settle.settlement import decided
from .status import SubscriptionStatus
from .work.handling import Handling
from .work.turns import Worker

State = Literal["closed", "running", "paused", "draining"]

FEW = 8
"""Entries of a read that are begun before the next read leaves: they would wait longer for it than they take."""


class Subscription:
    """All handlers of one stream and one group in this process."""

    def __init__(self, consumer: GroupConsumer, handling: Handling) -> None:
        options = consumer.options
        self.options = options
        self.routes: RouteTable = handling.routes
        self.name: str = f"{options.stream}/{options.group}"
        self.state: State = "closed"
        self.holds: Holds = Holds()
        self.closed: asyncio.Event = asyncio.Event()
        """Set when it has run, and its last fate is written."""
        self._consumer = consumer
        self.holdings: Holdings = consumer.holdings
        """The entries that this subscription holds."""
        self._settlement, self._source = consumer.settlement, consumer.source
        self._handling = handling
        self._schedule, self._workers, self._freed = handling.schedule, handling.workers, handling.freed
        self._halt = asyncio.Event()
        self._until = math.inf
        self._scope: anyio.CancelScope | None = None
        self.holdings.on_lost = self._workers.lost
        self.holdings.unfold = handling.work.unfold
        self.holdings.handler_of = handling.routes.handler_name
        acks, schedule, workers = self._settlement.acks, self._schedule, self._workers
        buffer = consumer.settings.buffer
        self._room = Room(options, buffer, self._source, acks=acks, schedule=schedule, workers=workers)
        self._reading = Reading(
            self._source, self.accept, self._room, freed=self._freed, halt=self._halt, settings=consumer.settings
        )

    @property
    def status(self) -> SubscriptionStatus:
        """The state of the subscription."""
        return SubscriptionStatus(
            self.options.stream,
            self.options.group,
            self.holdings.consumer,
            self._handling.work.running,
            self._schedule.buffered,
            self._schedule.delayed,
            len(self._settlement.acks),
            self.holdings.settled_count,
            self.holdings.vanished,
            self.ready,
            self.holds.first,
        )

    @property
    def ready(self) -> bool:
        """Whether reads come back, and it does not starve."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """Why it is not `ready`, and since when; empty if it is, as while it is paused. Any thread may ask."""
        return "" if self.state == "paused" else self._reading.trouble

    @property
    def has_joined(self) -> bool:
        """Whether it has joined its group."""
        return self._source.is_open

    @property
    def is_handling(self) -> bool:
        """Whether a worker is handling something. Can be read from any thread."""
        return self._workers.busy > 0

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its deliveries. Can be called from any thread."""
        return self._handling.work.in_handlers()

    async def open(self) -> None:
        """Join the group. Raises `ConfigError`, `ServerError`, `RedisUnavailableError`."""
        await self._consumer.open()

    async def run(self) -> None:
        """Work until the end of a drain, and close. Raises our own bugs, and `RefusedError` (`ends_when_refused`)."""
        if self.state == "closed":
            self.state = "running"
            self._obey()
        release = True
        try:
            await self._work_until_drained()
        except Exception as error:
            release = refusal_in(error) is not None
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self.close(release=release)

    def pause(self, hold: Hold = "code", said: Pause = BY_CODE) -> None:
        """Stop reading, begin no handler, and release what has not begun; before `run`, begin paused."""
        self.holds.add(hold, said)
        self._obey()

    def resume(self, hold: Hold = "code") -> None:
        """Go on after `pause`, unless there is another hold. Does nothing where there is no such hold."""
        self.holds.remove(hold)
        if self.state == "paused" and not self.holds:
            self.state = "running"
            self._freed.set()

    def _obey(self) -> None:
        if self.state == "running" and self.holds:
            self.state = "paused"
            self._workers.pause()
            self._halt_reading()

    def drain(self, grace: float) -> None:
        """Stop for good, and give running handlers `grace` seconds; called again, no more than before."""
        if self.closed.is_set():
            return
        self.state = "draining"
        self._until = min(self._until, asyncio.get_running_loop().time() + grace)
        if self._scope is not None:
            self._scope.deadline = self._until
        self._workers.stop()
        self._halt_reading()

    async def close(self, *, release: bool = True) -> None:
        """Write all fates, and release the other entries. Does nothing unless it is open."""
        await self._consumer.leave(release=release)
        self.state = "closed"
        self.closed.set()

    def search_soon(self) -> None:
        """Search for abandoned entries now, because entries were released, or may have been."""
        self._reading.search_soon()

    def heard(self) -> None:
        """Note that Redis has answered, while a read may wait for long."""
        self._reading.progress.heard()

    @property
    def checkpoint_due(self) -> bool:
        """Whether `save_checkpoint` has work to do."""
        return self._consumer.position.is_due

    async def clean_up(self, expiry: float) -> None:
        """Remove consumers that have been idle for `expiry` seconds, what others left, and old dead letters."""
        await self._consumer.clean_up(expiry)

    async def save_checkpoint(self) -> None:
        """Copy the group's checkpoint into the store."""
        await self._consumer.position.save()

    # -- tasks ------------------------------------------------------------------------------------------------

    async def _work_until_drained(self) -> None:
        async with anyio.create_task_group() as beside:
            name, emit = f"acknowledge {self.name}", self.holdings.telemetry.emit
            beside.start_soon(repeat, name, self._write_once, 0, emit)
            async with anyio.create_task_group() as work:
                self._scope = work.cancel_scope
                work.cancel_scope.deadline = self._until
                for _ in range(self._handling.tasks):
                    self._start_worker(work)
                while self.state != "draining":
                    await self._read_and_halt()
            beside.cancel_scope.cancel()

    def _start_worker(self, work: TaskGroup) -> None:
        """Start a worker in a copy of the context in which the broker was opened."""
        self._handling.context.copy().run(work.start_soon, self._work_in_context, work)

    async def _work_in_context(self, work: TaskGroup) -> None:
        """Run one worker; when handlers have left something in its context, another one takes its place."""
        if await self._workers.run_worker():
            self._start_worker(work)

    async def _read_and_halt(self) -> None:
        """Read until halted; then release what has not begun, until it is resumed, or until the end of the drain."""
        if self.state == "running":
            self._halt.clear()
            self._workers.resume()
        async with anyio.create_task_group() as reading:
            reading.start_soon(self._reading.run)
            await self._halt.wait()
            left = await release_waiting(
                self._schedule,
                self._settlement,
                freed=self._freed,
                is_over=self._is_halt_over,
                failed=self._tell,
            )
        if self.state != "draining":
            self._take_up(left)

    def _is_halt_over(self) -> bool:
        if self.state == "draining":
            return not (self._workers.busy or self._reading.is_active or self._room.asked)
        return self.state == "running"

    def _take_up(self, left: Sequence[Entry]) -> None:
        """Go on with entries that could not be released: with their fates, or when they are read again."""
        for entry in left:
            if decided(entry) is None:
                self.holdings.drop(entry)
            elif not entry.lost:
                self._schedule.add(entry)
        self._source.look_back()

    def _halt_reading(self) -> None:
        self._halt.set()
        self._freed.set()
        self._reading.search_soon()

    async def _write_once(self) -> None:
        await self._settlement.acks.overdue()
        await self._settlement.acks.flush()
        self._freed.set()  # there may be room again

    def accept(self, found: Page | Sequence[Entry]) -> None:
        """Have entries handled that the source has given."""
        self._handling.lanes.assign(found)
        if isinstance(found, Page):
            self._schedule.add_page(found)
        else:
            for entry in found:
                self._schedule.add(entry)
        if self._halt.is_set():
            self._freed.set()  # they are released
        if len(found) < max(self._room.asked, FEW):
            self._workers.wake()
        else:  # more wait in Redis: ask for them first, and Redis works while handlers run
            asyncio.get_running_loop().call_soon(self._workers.wake, context=Context())

    def _tell(self, error: RedisStreamsError) -> None:
        self.holdings.telemetry.emit(StepFailed.of(f"release entries of {self.name}", error, LONGEST))

    def __repr__(self) -> str:
        status = self.status
        held = f"{status.running} running, {status.buffered} buffered, {status.delayed} delayed"
        return f"<Subscription {status.stream}/{status.group} {status.consumer}: {self.state}, {held}>"
