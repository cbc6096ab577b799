"""Handle many entries at once, for batch handlers.

A batch begins when it is full, or when its first entry has waited for `within` seconds. Each item has its own fate.
Items that cannot be decoded, were delivered too often, or are copies never reach the handler. For each of the others
the handler decides, or the policy decides when the handler raises. An item that has failed, or that a dead process
held, is handled in a batch of its own from then on. So a bad item is alone in the end, and the others are not given up
for it.

Order: a batch begins when the earlier entries of its lanes have ended; within it, the handler sees the order of each
lane. If several handlers share the subscription, a batch is handled in parts, and no entry overtakes an earlier one
of its lane. If an entry is retried, later entries of its lane in other parts wait. Items that one decision delays
are due at the same time, and come back together and in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ...events.batch import BatchDelivery, close_batch, given
from ...events.delivery import HandlerInstructions
from ...handlers.calls import error_of
from ...handlers.fates import ABANDON, ACK, AwaitCopy, Fate, Postpone
from ...handlers.routes import Route, RouteTable
from ...handlers.subscription_options import SubscriptionOptions
from ..entry import Entry
from ..holdings import Holdings
from ..page import Page
from ..settle.settlement import Settlement
from . import copies
from .again import Again, put_back
from .attempt import Ended, consume_cancellation, failure_of, fate_after, is_drain_over, route_or_fate, wants_cancelling
from .batch_call import BatchCall, subject
from .carrying import Decided, acknowledge, tell_once, write_fates
from .parts import parts
from .receivers import receivers
from .row_batch import RowBatch, types_in
from .schedule import Schedule
from .turns import Turn, Worker


class Batches:
    """Handles up to `batch` entries at a time."""

    def __init__(
        self,
        holdings: Holdings,
        schedule: Schedule,
        settlement: Settlement,
        routes: RouteTable,
        options: SubscriptionOptions,
    ) -> None:
        self.size: int = options.batch or 1
        self._within = options.within
        self._unknown = options.unknown
        self._holdings = holdings
        self._schedule = schedule
        self._settlement = settlement
        self._routes = routes
        self._receivers = receivers(holdings, routes)
        self._outcomes = holdings.outcomes
        self._call_handler = self._call_and_note if holdings.outcomes.are_wanted else self._call
        self._now = holdings.clock.now
        self._waiting_since: float | None = None
        self._calls: dict[Worker, BatchCall] = {}
        self.done: int = 0
        self.stopping: bool = False

    @property
    def running(self) -> int:
        """The number of entries in their handler."""
        return sum(len(call.entries) for call in self._calls.values())

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its batch."""
        return [(worker, call.shown) for worker, call in self._calls.copy().items()]

    def take(self, now: float, /) -> list[Entry] | RowBatch | None:
        """Return a batch that is full or has waited long enough, or copies whose state must be asked; else `None`."""
        if self._schedule.is_aside_due(now):
            return copies.to_ask_after(self._holdings, self._schedule, now)
        first = self._schedule.peek(now)
        if first is None:
            self._waiting_since = None
            return None
        if not self._may_begin(first, now):
            return None
        self._waiting_since = None
        if isinstance(first, Entry):
            return self._schedule.take_batch(now, self.size)
        return self._schedule.take_rows(self.size)

    def _may_begin(self, first: Entry | Page, now: float) -> bool:
        """Whether the batch of the first entry need not wait for more entries."""
        if self._waiting_since is None:
            self._waiting_since = now
        if now >= self._waiting_since + self._within or self._schedule.fills(self.size):
            return True
        return isinstance(first, Entry) and (first.may_harm_others or first.until > 0)

    def startable(self, now: float) -> int:
        """Return the number of full batches, or 1 for a batch that need not be full."""
        return max(self._schedule.buffered // self.size, self._schedule.startable(now) and 1)

    def next_due(self) -> float | None:
        """Return when a batch has waited long enough, or the next retry is due."""
        batch_due = None if self._waiting_since is None else self._waiting_since + self._within
        return min((due for due in (batch_due, self._schedule.next_due) if due is not None), default=None)

    async def handle(self, batch: list[Entry] | RowBatch, turn: Turn) -> None:
        """Attempt the whole batch, and write every fate."""
        if isinstance(batch, RowBatch):
            await self._handle_rows(batch, turn)
        else:
            await self._handle_entries(batch, turn)

    async def _handle_rows(self, batch: RowBatch, turn: Turn) -> None:
        """Handle rows of pages; they become entries unless their handler returns."""
        try:
            payloads = None if self.stopping else batch.payloads()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  # each attempt decodes its own, and decides
            payloads = None
        if payloads is None:
            await self._handle_entries(batch.entries(), turn)
            return
        decided = await self._call_handler(batch.route, batch, payloads, turn.worker)
        if batch.is_made:
            self._schedule.end_batch(batch.entries(), await self._carry_out(decided))
        else:
            self._schedule.leave_lane(batch.lane)

    async def _handle_entries(self, batch: list[Entry], turn: Turn) -> None:
        if isinstance(batch[0].fate, AwaitCopy):
            await copies.ask_again(self._holdings, self._schedule, self._settlement, batch)
            return
        if batch[0].may_harm_others and batch[0].fate is None:
            await self._settlement.acks.flush_if_possible()
        known = {entry: entry.fate for entry in batch if entry.fate is not None}
        for entry in batch:
            entry.begin()
        again = Again()
        for route, part in parts(batch, self._routes):
            again.add(await self._handle_unless_stopping(route, part, known, again, turn.worker), part)
        put_back(again.of(batch))
        self._schedule.end_batch(batch, again.of(batch))

    async def _handle_unless_stopping(
        self, route: Route | None, part: Sequence[Entry], known: Mapping[Entry, Fate], again: Again, worker: Worker
    ) -> Sequence[Entry]:
        """Handle a part to its end, and return the entries to handle again: all of them if nothing begins any more."""
        if self.stopping:
            return part
        return await self._carry_out(await self._handle_part(route, again.not_held_in(part), known, worker))

    def abandon(self, batch: list[Entry] | RowBatch) -> None:
        """Drop the batch without settling it. Another consumer takes it over when its leases expire."""
        batch = batch.begun() if isinstance(batch, RowBatch) else batch
        for entry in batch:
            if not entry.settled:
                self._settlement.abandon(entry)
        self._schedule.end_batch(batch, [])

    def lost(self, entry: Entry) -> None:
        """Cancel the handler when its whole batch is lost, with `on_lost="cancel"`."""
        for worker, call in self._calls.items():
            if entry in call:
                self._lost_in(call, entry, worker)
                return
        self._schedule.forget(entry)

    def unfold(self, raw_id: bytes) -> Entry | None:
        """Make an entry of a row of a page; `None` if the row is handled, and its acknowledgement on the way."""
        for call in self._calls.values():
            if isinstance(call.entries, RowBatch) and raw_id in call.entries.ids:
                call.entries.begun()
                break
        else:
            self._schedule.dissolve()
        held = self._holdings.by_id.get(raw_id)
        return held if isinstance(held, Entry) else None

    def _lost_in(self, call: BatchCall, entry: Entry, worker: Worker) -> None:
        last = call.lose_one()
        if not wants_cancelling(entry, self._routes):
            self._holdings.strays[entry.raw_id] = entry
        elif last:
            worker.cancel()

    async def _handle_part(
        self, route: Route | None, part: Sequence[Entry], known: Mapping[Entry, Fate], worker: Worker
    ) -> list[Decided]:
        """Handle entries of one handler, or of none. Returns the fates that must still be carried out."""
        decided, taken = self._admitted(route, part, known)
        if route is None or not taken:
            return decided
        if route.deduplicate is not None:
            copies, taken = await self._without_copies(route, taken)
            decided += copies
        if self.stopping:  # since Redis was asked about copies
            return decided + [Decided(entry, Postpone(self._now()), route) for entry in taken]
        if taken:
            decided += await self._call_handler(route, taken, [entry.payload for entry in taken], worker)
        return decided

    def _admitted(
        self, route: Route | None, part: Sequence[Entry], known: Mapping[Entry, Fate]
    ) -> tuple[list[Decided], list[Entry]]:
        """Return the entries whose fate is known without the handler, and those to call the handler with."""
        decided: list[Decided] = []
        taken: list[Entry] = []
        for entry in part:
            admitted = route_or_fate(entry, route, self._unknown, self._now)
            if not isinstance(admitted, Route):
                decided.append(Decided(entry, admitted, admitted))
            elif (fate := known.get(entry)) is not None:
                decided.append(Decided(entry, fate, admitted))
            elif entry.lost:
                decided.append(Decided(entry, ABANDON, admitted))
            else:
                taken.append(entry)
        return decided, taken

    async def _without_copies(self, route: Route, taken: Sequence[Entry]) -> tuple[list[Decided], list[Entry]]:
        """Return copies, and entries lost while Redis was asked, with their fates; and all other entries."""
        fates = await copies.begin(self._holdings, taken, route)
        found = [
            (entry, ABANDON if fate is None and entry.lost else fate) for entry, fate in zip(taken, fates, strict=True)
        ]
        decided = [Decided(entry, fate, route) for entry, fate in found if fate is not None]
        return decided, [entry for entry, fate in found if fate is None]

    async def _call_and_note(
        self, route: Route, taken: Sequence[Entry], payloads: list[object], worker: Worker
    ) -> list[Decided]:
        """Call the handler as `_call` does, and note the end of the call for each item, however it ends."""
        began = self._now()
        try:
            return await self._call(route, taken, payloads, worker)
        finally:
            for raw_id, event_type in types_in(taken):
                self._outcomes.ended(raw_id, event_type, route.name, self._now() - began)

    async def _call(
        self, route: Route, taken: Sequence[Entry], payloads: list[object], worker: Worker
    ) -> list[Decided]:
        """Call the handler, and acknowledge the entries that are done. Returns the fates of all others."""
        batch = BatchDelivery(taken, self._receivers[route.name])
        self._calls[worker] = BatchCall(taken)
        began = self._now()
        error = left = None
        try:
            left = await route.call(payloads, batch)
        except BaseException as raised:  # noqa: BLE001  # the exception becomes a value, and part of the fates
            error = failure_of(raised, given(batch), subject(taken))
        finally:
            del self._calls[worker]
        self.done += len(taken)
        if worker.cancelling():
            await consume_cancellation()
        error, told = error_of(error, left), close_batch(batch)
        if error is None and not told and isinstance(taken, RowBatch) and not taken.is_made:
            self._settlement.acks.extend(taken.ids)
            return []
        return self._decided_after(error, taken, told, route, began)

    def _decided_after(
        self,
        error: BaseException | None,
        taken: Sequence[Entry],
        told: Mapping[int, HandlerInstructions],
        route: Route,
        began: float,
    ) -> list[Decided]:
        """Acknowledge the entries that are done, and return the fates of all others."""
        now = self._now()
        drained = error is not None and is_drain_over()  # then the undecided ones will be released
        decided: list[Decided] = []
        for place, entry in enumerate(taken):
            self._holdings.strays.pop(entry.raw_id, None)
            ended = Ended(error, told.get(place), now - began)
            if drained and not ended.is_decided:
                continue
            fate = fate_after(ended, entry, route, now)
            if fate is ACK:
                acknowledge(self._settlement, entry, route)
            else:
                decided.append(Decided(entry, fate, route))
        tell_once(error, decided)
        return decided

    async def _carry_out(self, decided: Sequence[Decided]) -> list[Entry]:
        """Carry out fates, and return the entries to handle again when they are due, in order."""
        for entry, fate, _ in (each for each in decided if isinstance(each.fate, AwaitCopy)):
            copies.set_aside(self._schedule, entry, cast("AwaitCopy", fate))
        return await write_fates(self._settlement, [each for each in decided if not isinstance(each.fate, AwaitCopy)])
