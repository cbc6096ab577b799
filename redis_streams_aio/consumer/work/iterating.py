"""Iterating: the work of a `StreamConsumer`. The task that iterates is the only worker.

Each entry is handed to it once, when it is due. From then on the iterator's user has it, until the entry is
acknowledged, lost or released: other entries follow meanwhile. Entries that were delivered too often, or that cannot be
decoded, are moved to the dead letters and never handed out. Entries that were replayed for another group are
acknowledged.

When things fail: a dead letter that Redis cannot accept now waits with its fate, and the next entry is handed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context

from ...events.replays import FOR_ANOTHER_GROUP
from ...events.wire_format import Fields
from ...handlers.error_texts import describe
from ...handlers.fates import ACK, DeadLetter, Fate
from ...handlers.retry import RetryPolicy
from ...handlers.routes import Plan, RouteTable
from ...handlers.subscription_options import SubscriptionOptions
from ..entry import Entry
from ..holdings import Holdings
from ..settle.settlement import Settlement
from .attempt import too_many_deliveries
from .carrying import Decided, write_fates
from .handling import Handling
from .lanes import Lanes
from .schedule import Schedule
from .turns import Worker


def handling(iterating: Iterating, options: SubscriptionOptions) -> Handling:
    """Return the handling of a subscription whose only worker iterates."""
    routes = RouteTable({}, None, None, deduplicates=False)
    lanes = Lanes(Plan(options, routes), Context())
    return Handling(iterating.schedule, lanes, iterating, iterating, 0, routes, Context(), iterating.freed)


class Iterating:
    """Hands the entries of a subscription to the task that iterates."""

    def __init__(
        self,
        holdings: Holdings,
        settlement: Settlement,
        decode: Callable[[Fields], object],
    ) -> None:
        self._settlement = settlement
        self._given = holdings.outcomes.given
        self.schedule: Schedule = Schedule()
        self.freed: asyncio.Event = asyncio.Event()
        """Set whenever there may be room for more entries."""
        self._decode = decode
        self._now = holdings.clock.now
        self._most_deliveries = RetryPolicy().max_deliveries
        self._came = asyncio.Event()
        self._waiting = 0
        self._halted = False  # paused, or stopped
        self._stopped = False
        self.done: int = 0

    # -- for the one who iterates -----------------------------------------------------------------------------

    async def next(self, patience: float) -> Entry | None:
        """Return the next entry to hand out; `None` if there is none for `patience` seconds, or it is stopped."""
        until = 0.0
        self._waiting += 1
        self.done += 1
        self.freed.set()  # there is room for one more
        try:
            while not self._stopped:
                now = self._now()
                if not self._halted and isinstance(entry := self.schedule.take(now), Entry):
                    if await self._is_for_the_user(entry):
                        return entry
                    self.freed.set()
                    continue
                until = until or now + patience
                if now >= until:
                    break
                await self._until_more(until - now)
        finally:
            self._waiting -= 1
        return None

    def ended(self) -> None:
        """Note that events were acknowledged: there is room for others."""
        self.freed.set()

    async def _until_more(self, seconds: float) -> None:
        """Wait until entries came or one is due, for at most so long."""
        self._came.clear()
        if not self._halted and (due := self.schedule.next_due) is not None:
            seconds = min(seconds, max(0.0, due - self._now()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()

    async def _is_for_the_user(self, entry: Entry) -> bool:
        """Whether to hand an entry out. The fate of any other entry is written."""
        if entry.lost:
            return False
        fate = entry.fate or self._fate_of(entry)
        entry.begin()
        if fate is None:
            self._given(entry)
            return True
        try:
            if await write_fates(self._settlement, [Decided(entry, fate, fate)]):
                self.schedule.delay(entry)
        except BaseException:
            self.schedule.queue_up([entry])
            raise
        return False

    def _fate_of(self, entry: Entry) -> Fate | None:
        """Return the fate of an entry that is not handed out; `None` to hand it out, decoded."""
        if entry.refusal is FOR_ANOTHER_GROUP:
            return ACK
        if entry.deliveries > self._most_deliveries:
            return too_many_deliveries(entry)
        try:
            entry.payload = self._decode(entry.fields)
        except Exception as error:  # noqa: BLE001  # a user's codec may raise anything
            return DeadLetter("undecodable", describe(error), entry.failures)
        return None

    # -- for the subscription ---------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """1 while the user is at an event, or does not iterate."""
        return 0 if self._waiting else 1

    @property
    def running(self) -> int:
        """The number of entries in their handler: there is none."""
        return 0

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return nothing: the user's task is not ours to watch."""
        return []

    def unfold(self, raw_id: bytes) -> Entry | None:  # noqa: ARG002  # there are no pages
        """Return nothing: an iterator gets no pages."""
        return None

    def wake(self) -> None:
        """Wake the iterator, because there is work."""
        self._came.set()

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._halted = True
        self._came.set()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._halted = False
        self._came.set()

    def stop(self) -> None:
        """Hand out nothing any more."""
        self._stopped = True
        self.pause()

    def lost(self, entry: Entry) -> None:
        """Note that another consumer has an entry now."""
        self.schedule.forget(entry)
        self.freed.set()

    async def run_worker(self) -> bool:
        """Return at once: the task that iterates is the worker."""
        return False
