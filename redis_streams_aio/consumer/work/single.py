"""Handle one entry: attempt it, and write its fate.

This module also records which worker has which entry, so that a handler can be cancelled when its lease is lost.
`batches` does the same for many entries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ...events.delivery import Delivery, close
from ...handlers.calls import error_of
from ...handlers.fates import ABANDON, ACK, AwaitCopy, Fate, Postpone
from ...handlers.options import Unknown
from ...handlers.routes import Route, RouteTable
from ..entry import Entry
from ..holdings import Holdings
from ..outcomes import type_of
from ..page import Page
from ..settle.settlement import Settlement
from . import copies
from .attempt import Ended, consume_cancellation, failure_of, fate_after, is_drain_over, route_or_fate, wants_cancelling
from .carrying import Decided, acknowledge, write_fates
from .receivers import receivers
from .rows import Left, Rows
from .schedule import Schedule
from .turns import Turn, Worker


class OneByOne:
    """Handles entries one by one, and the rows of pages (`rows`)."""

    size: int = 1

    def __init__(
        self, holdings: Holdings, schedule: Schedule, settlement: Settlement, routes: RouteTable, unknown: Unknown
    ) -> None:
        self._holdings = holdings
        self._schedule = schedule
        self._settlement = settlement
        self._now = holdings.clock.now
        self._routes = routes
        self._receivers = receivers(holdings, routes)
        self._unknown: Unknown = unknown
        self._workers: dict[Entry, Worker] = {}  # of entries in their handler
        self._outcomes = holdings.outcomes
        self._rows = Rows(schedule, settlement.acks, self._now, holdings.outcomes)
        self._call_handler = self._call_and_note if holdings.outcomes.are_wanted else self._call
        self._done = 0
        self.take: Callable[[float], Entry | Page | None] = schedule.take
        """Returns the next entry, or the page with the next rows, or `None`."""

    @property
    def done(self) -> int:
        """The number of ended calls of handlers."""
        return self._done + self._rows.done

    @property
    def stopping(self) -> bool:
        """Whether no handler may begin any more."""
        return self._rows.stopping

    @stopping.setter
    def stopping(self, stopping: bool) -> None:
        self._rows.stopping = stopping

    @property
    def running(self) -> int:
        """The number of entries in their handler."""
        return len(self._workers) + len(self._rows)

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its entry."""
        return [*((worker, (entry,)) for entry, worker in tuple(self._workers.items())), *self._rows.in_handlers()]

    def startable(self, now: float) -> int:
        """Return the number of entries that are ready or due."""
        return self._schedule.startable(now)

    def next_due(self) -> float | None:
        """Return when the next retry is due."""
        return self._schedule.next_due

    async def handle(self, unit: Entry | Page, turn: Turn) -> None:
        """Attempt an entry and write its fate, or handle the rows of a page."""
        if isinstance(unit, Entry):
            await self._handle_entry(unit, turn)
            return
        if self.stopping:
            return
        if (left := await self._rows.handle(unit, turn)) is None:
            return
        try:
            await self._end_row(left, turn)
        except asyncio.CancelledError:
            if not is_drain_over():
                self.abandon(left.entry)
            raise

    async def _end_row(self, left: Left, turn: Turn) -> None:
        """Go on with a row that has become an entry: its handler has ended, or was not called."""
        entry, route, ended = left
        if ended is None:
            await self._handle_entry(entry, turn)
            return
        self._holdings.strays.pop(entry.raw_id, None)
        if turn.worker.cancelling():
            await consume_cancellation()
        await self._settle(entry, fate_after(ended, entry, route, self._now()), route)

    async def _handle_entry(self, entry: Entry, turn: Turn) -> None:
        if isinstance(entry.fate, AwaitCopy):
            await self._ask_again(entry)
            return
        known = entry.fate
        entry.begin()
        admitted = route_or_fate(entry, self._routes.find(entry.fields), self._unknown, self._now)
        fate = admitted if not isinstance(admitted, Route) else await self._fate(entry, known, admitted, turn)
        await self._settle(entry, fate, admitted)

    async def _fate(self, entry: Entry, known: Fate | None, route: Route, turn: Turn) -> Fate:
        """Return the fate of an admitted entry: the known one, that of a copy, or the one after its handler."""
        if entry.may_harm_others or route.deduplicate is not None:
            fate = known or await self._fate_before(entry, route)
            if fate is None and self.stopping:
                fate = Postpone(self._now())
            if fate is not None:
                return fate
        return await self._call_handler(entry, route, turn)

    async def _call(self, entry: Entry, route: Route, turn: Turn) -> Fate:
        """Call the handler, and return the fate."""
        delivery = Delivery(entry, self._receivers[route.name]) if route.shows_delivery else None
        self._workers[entry] = turn.worker
        error = left = None
        try:
            left = await route.call(entry.payload, delivery)
        except BaseException as raised:  # noqa: BLE001  # the exception becomes a value, and part of the fate
            error = failure_of(raised, (delivery,), entry)
        finally:
            del self._workers[entry]
        self._done += 1
        self._holdings.strays.pop(entry.raw_id, None)
        if turn.worker.cancelling():
            await consume_cancellation()
        now = self._now()
        return fate_after(Ended(error_of(error, left), close(delivery), now - turn.began), entry, route, now)

    async def _call_and_note(self, entry: Entry, route: Route, turn: Turn) -> Fate:
        """Call the handler, return the fate, and note the end of the call, however it ends."""
        try:
            return await self._call(entry, route, turn)
        finally:
            self._outcomes.ended(entry.raw_id, type_of(entry), route.name, self._now() - turn.began)

    async def _settle(self, entry: Entry, fate: Fate, admitted: Route | Fate) -> None:
        """Write the fate. The entry then leaves its lane, unless it waits there to be handled again."""
        if fate is ACK:
            acknowledge(self._settlement, entry, admitted)
        elif isinstance(fate, AwaitCopy):
            copies.set_aside(self._schedule, entry, fate)
        elif await write_fates(self._settlement, [Decided(entry, fate, admitted)]):
            self._schedule.delay(entry)
            return
        self._schedule.leave(entry)

    async def _ask_again(self, copy: Entry) -> None:
        """Ask the state of a copy that was set aside, together with all other copies that are due."""
        others = copies.to_ask_after(self._holdings, self._schedule, self._now())
        await copies.ask_again(self._holdings, self._schedule, self._settlement, [copy, *others])

    async def _fate_before(self, entry: Entry, route: Route) -> Fate | None:
        """Return the fate of an entry whose handler must not be called; `None` to call it."""
        if entry.may_harm_others:
            await self._settlement.acks.flush_if_possible()
        [fate] = await copies.begin(self._holdings, [entry], route)
        return ABANDON if fate is None and entry.lost else fate

    def abandon(self, unit: Entry | Page) -> None:
        """Drop the entry without settling it. Another consumer takes it over when the lease expires."""
        if isinstance(unit, Entry):  # a row that became an entry is abandoned by `handle`
            self._settlement.abandon(unit)
            self._schedule.leave(unit)

    def lost(self, entry: Entry) -> None:
        """Cancel the handler of a lost entry if `on_lost` says so, or continue the lane of a waiting one."""
        worker = self._workers.get(entry) or self._rows.worker_of(entry)
        if worker is None:
            self._schedule.forget(entry)
        elif wants_cancelling(entry, self._routes):
            worker.cancel()
        else:
            self._holdings.strays[entry.raw_id] = entry

    def unfold(self, raw_id: bytes) -> Entry | None:
        """Make an entry of a row of a page; `None` if the row is handled, and its acknowledgement on the way."""
        if (entry := self._rows.begun(raw_id)) is not None:
            return entry
        self._schedule.dissolve()
        held = self._holdings.by_id.get(raw_id)
        return held if isinstance(held, Entry) else None
