"""Handle many deliveries at once, for batch handlers.

A batch begins when it is full, or when its first delivery has waited for `within` seconds. Each item has its own fate.
Items that cannot be decoded, were delivered too often, or are copies never reach the handler. For each of the others
the handler decides, or the policy decides when the handler raises. An item that has failed, or that a dead process
held, is handled in a batch of its own from then on. So a bad item is alone in the end, and the others are not given up
for it.

Order: a batch begins when the earlier deliveries of its lanes have ended; within it, the handler sees the order of each
lane. If several handlers share the subscription, a batch is handled in parts, and no delivery overtakes an earlier one
of its lane. If a delivery is retried, later deliveries of its lane in other parts wait. Items that one decision delays
are due at the same time, and come back together and in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...events.delivery import Delivery
from ...handlers.fates import ABANDON, ACK, AwaitCopy, Complete, DeadLetter, Fate, Postpone, Retry
from ...handlers.routes import Route, RouteTable
from ...handlers.subscription_options import SubscriptionOptions
from ..holdings import Holdings
from ..settle.settlement import Settlement
from . import duplicates
from .attempt import absorb_cancellation, admit, call, fate_after, is_decided, is_drain_over, to_its_end
from .schedule import Schedule, is_suspect
from .single import Worker, acknowledge, begin, carry_out, known_fate, wait_aside, wants_cancelling

Decided = tuple[Delivery, Fate, Route | Fate]
Part = tuple[Route | None, Sequence[Delivery]]
"""A part of a batch: a handler and its deliveries."""


class _Call:
    """A call of the handler; counts which of its deliveries are still held, from the first lost one on."""

    __slots__ = ("_left", "_members", "deliveries")

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self._members: frozenset[Delivery] | None = None
        self._left = 0

    def __contains__(self, delivery: Delivery) -> bool:
        if self._members is None:
            self._members = frozenset(self.deliveries)
            self._left = len(self._members)
        return delivery in self._members

    def lose_one(self) -> bool:
        """Note that a delivery is lost; return whether it was the last one."""
        self._left -= 1
        return self._left == 0


class _Again:
    """Deliveries of a batch that are handled again later; deliveries behind them in their lanes wait for them."""

    __slots__ = ("_deliveries", "_lanes")

    def __init__(self) -> None:
        self._deliveries: set[Delivery] = set()
        self._lanes: set[object] = set()

    def not_held_in(self, part: Sequence[Delivery]) -> Sequence[Delivery]:
        """The deliveries of a part that wait for no other one."""
        return [delivery for delivery in part if delivery.lane not in self._lanes] if self._lanes else part

    def add(self, failed: Sequence[Delivery], part: Sequence[Delivery]) -> None:
        """Keep deliveries of a part that are handled again, and those of it that wait for an earlier one."""
        self._deliveries.update(failed)
        if self._deliveries:
            self._deliveries.update(delivery for delivery in part if delivery.lane in self._lanes)
            self._lanes.update(delivery.lane for delivery in self._deliveries if delivery.lane is not None)

    def of(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """All of them, in the order of the batch."""
        return [delivery for delivery in batch if delivery in self._deliveries] if self._deliveries else ()


class Batches:
    """Handles up to `batch` deliveries at a time."""

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
        self._acks = settlement.acks
        self._now = holdings.clock.now
        self._waiting_since: float | None = None
        self._calls: dict[Worker, _Call] = {}
        self.done: int = 0
        self.stopping: bool = False

    @property
    def running(self) -> int:
        """Deliveries in their handler."""
        return sum(len(call.deliveries) for call in self._calls.values())

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Return each worker in a handler, with its batch."""
        return [(worker, call.deliveries) for worker, call in self._calls.copy().items()]

    def take(self, now: float, /) -> list[Delivery] | None:
        """Return a batch that is full or has waited long enough, or copies whose state must be asked; else `None`."""
        if self._schedule.is_aside_due(now):
            return duplicates.copies_to_ask_after(self._holdings, self._schedule, now)
        first = self._schedule.peek(now)
        if first is None:
            self._waiting_since = None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        waited = now >= self._waiting_since + self._within
        if not (waited or is_suspect(first) or first.due or self._schedule.fills(self.size)):
            return None
        self._waiting_since = None
        return self._schedule.take_batch(now, self.size)

    def startable(self, now: float) -> int:
        """Return the number of full batches, or 1 for a batch that need not be full."""
        return max(self._schedule.buffered // self.size, self._schedule.startable(now) and 1)

    def next_due(self) -> float | None:
        """Return when a batch has waited long enough, or the next retry is due."""
        batch_due = None if self._waiting_since is None else self._waiting_since + self._within
        return min((due for due in (batch_due, self._schedule.next_due) if due is not None), default=None)

    async def handle(self, batch: list[Delivery], worker: Worker, began: float) -> None:  # noqa: ARG002  # by part
        """Attempt the whole batch, and write every fate."""
        if isinstance(batch[0].fate, AwaitCopy):
            await duplicates.ask_again(self._holdings, self._schedule, self._acks, batch)
            return
        if is_suspect(batch[0]) and known_fate(batch[0]) is None:
            await self._acks.flush_if_possible()
        again = _Again()
        for route, part in self._parts(batch):
            if self.stopping:
                again.add(part, part)
                continue
            undone = await self._handle_part(route, again.not_held_in(part), worker)
            again.add(await self._carry_out(undone), part)
        self._schedule.end_batch(batch, again.of(batch))

    def abandon(self, batch: list[Delivery]) -> None:
        """Drop the batch without settling it. Another consumer takes it over when its leases expire."""
        for delivery in batch:
            if not delivery.settled:
                self._holdings.drop(delivery)
        self._schedule.end_batch(batch, [])

    def lost(self, delivery: Delivery) -> None:
        """Cancel the handler when its whole batch is lost, with `on_lost="cancel"`."""
        for worker, handling in self._calls.items():
            if delivery in handling:
                if handling.lose_one() and wants_cancelling(delivery, self._routes):
                    worker.cancel()
                return
        self._schedule.forget(delivery)

    def _parts(self, batch: Sequence[Delivery]) -> list[Part]:
        """Split a batch into parts for one handler each; no delivery overtakes an earlier one of its lane."""
        routes = [self._routes.find(delivery.fields) for delivery in batch]
        if routes.count(routes[0]) == len(routes):
            return [(routes[0], batch)]
        parts: list[tuple[Route | None, list[Delivery]]] = []
        reached: dict[object, int] = {}  # the part of the last delivery of each lane: later ones come no earlier
        for delivery, route in zip(batch, routes, strict=True):
            earliest = 0 if delivery.lane is None else reached.get(delivery.lane, 0)
            at = next((at for at in range(earliest, len(parts)) if parts[at][0] is route), len(parts))
            if at == len(parts):
                parts.append((route, []))
            parts[at][1].append(delivery)
            reached[delivery.lane] = at
        return list(parts)

    async def _handle_part(self, route: Route | None, part: Sequence[Delivery], worker: Worker) -> list[Decided]:
        """Handle deliveries of one handler, or of none. Returns the fates that must still be written."""
        undone, taken = self._admitted(route, part)
        if route is None or not taken:
            return undone
        if route.deduplicate is not None:
            copies, taken = await self._without_copies(route, taken)
            undone += copies
        if self.stopping:  # since Redis was asked about copies
            return undone + [(delivery, Postpone(self._now()), route) for delivery in taken]
        return undone + await self._call(route, taken, worker) if taken else undone

    def _admitted(self, route: Route | None, part: Sequence[Delivery]) -> tuple[list[Decided], list[Delivery]]:
        """Return the deliveries whose fate is known without the handler, and those to call the handler with."""
        undone: list[Decided] = []
        taken: list[Delivery] = []
        for delivery in part:
            admitted = admit(delivery, route, self._unknown, self._now)
            if not isinstance(admitted, Route):
                undone.append((delivery, admitted, admitted))
            elif (fate := known_fate(delivery)) is not None:
                undone.append((delivery, fate, admitted))
            elif delivery.lost:
                undone.append((delivery, ABANDON, admitted))
            else:
                taken.append(delivery)
        return undone, taken

    async def _without_copies(self, route: Route, taken: Sequence[Delivery]) -> tuple[list[Decided], list[Delivery]]:
        """Return copies, and deliveries lost while Redis was asked, with their fates; and all other deliveries."""
        fates = await begin(self._holdings, taken, route)
        found = [
            (delivery, ABANDON if fate is None and delivery.lost else fate)
            for delivery, fate in zip(taken, fates, strict=True)
        ]
        undone: list[Decided] = [(delivery, fate, route) for delivery, fate in found if fate is not None]
        return undone, [delivery for delivery, fate in found if fate is None]

    async def _call(self, route: Route, taken: Sequence[Delivery], worker: Worker) -> list[Decided]:
        """Call the handler, and acknowledge the deliveries that are done. Returns the fates of all others."""
        self._calls[worker] = _Call(taken)
        began = self._now()
        try:
            error = await call(route, [delivery.payload for delivery in taken], taken)
        finally:
            del self._calls[worker]
        self.done += len(taken)
        if worker.cancelling():
            await absorb_cancellation()
        if error is not None and is_drain_over():  # the others are undecided and will be released
            taken = [delivery for delivery in taken if is_decided(delivery)]
        undone = self._undone_after(error, taken, route, began)
        _tell_once(error, undone)
        return undone

    def _undone_after(
        self, error: BaseException | None, taken: Sequence[Delivery], route: Route, began: float
    ) -> list[Decided]:
        undone: list[Decided] = []
        for delivery in taken:
            fate = fate_after(error, delivery, route, began, self._now)
            if fate is ACK:
                acknowledge(self._acks, delivery, route)
            else:
                undone.append((delivery, fate, route))
        return undone

    async def _carry_out(self, undone: Sequence[Decided]) -> list[Delivery]:
        """Write fates, and return the deliveries to handle again when they are `due`, in order."""
        _keep(undone)
        failed: list[tuple[Delivery, Retry]] = []
        again: list[Delivery] = []
        for delivery, fate, admitted in undone:
            if isinstance(fate, Retry):
                failed.append((delivery, fate))
            elif isinstance(fate, AwaitCopy):
                wait_aside(self._schedule, delivery, fate)
            elif await carry_out(self._settlement, delivery, fate, admitted):
                again.append(delivery)
        if failed:
            again += await to_its_end(lambda: self._settlement.retry(failed))
        return again


def _tell_once(error: BaseException | None, undone: Sequence[Decided]) -> None:
    """Log the traceback of a batch's error only with the first of its items."""
    failures = [fate.failure for _, fate, _ in undone if isinstance(fate, Retry | DeadLetter)]
    for failure in [failure for failure in failures if failure is not None and failure.exception is error][1:]:
        failure.is_told = True


def _keep(undone: Sequence[Decided]) -> None:
    """Keep fates with their deliveries. Raises `CancelledError` if the drain is over: its end writes them."""
    for delivery, fate, _ in undone:
        if isinstance(fate, Complete | Retry | DeadLetter):
            delivery.fate = fate
    if is_drain_over():
        raise asyncio.CancelledError
