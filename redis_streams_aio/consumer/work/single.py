"""Handle one delivery: attempt it, and write its fate.

This module also records which worker has which delivery, so that a handler can be cancelled when its lease is lost.
`batches` does the same for many deliveries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

from ...events.delivery import Delivery
from ...exceptions import ServerError
from ...handlers.calls import error_of
from ...handlers.fates import ABANDON, ACK, AwaitCopy, Fate, Postpone
from ...handlers.options import Unknown
from ...handlers.routes import Route, RouteTable
from ..holdings import Holdings
from ..settle.acknowledgements import Acknowledgements
from ..settle.settlement import Settlement
from . import duplicates
from .attempt import absorb_cancellation, admit, as_value, fate_after, to_its_end
from .schedule import Schedule, is_suspect

Unit = TypeVar("Unit")
Worker = asyncio.Task[object]


class Work(Protocol[Unit]):
    """The work of a subscription's workers: `OneByOne`, or `Batches`."""

    size: int
    """The most deliveries that a worker takes at once."""
    done: int
    """The number of ended calls of handlers, counted by delivery."""
    stopping: bool
    """Whether no handler may begin any more; set by the pool. Deliveries that have not begun return to the schedule."""

    @property
    def running(self) -> int:
        """Deliveries in their handler."""
        ...

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Return each worker in a handler, with its deliveries. Can be called from any thread."""
        ...

    def take(self, now: float, /) -> Unit | None:
        """Return the next unit to handle; `None` if there is none now."""
        ...

    def startable(self, now: float) -> int:
        """Return how many workers would find work; at least 1 as long as there is any."""
        ...

    def next_due(self) -> float | None:
        """Return when to look for work again, even if nothing new came."""
        ...

    async def handle(self, unit: Unit, worker: Worker, began: float) -> None:
        """Handle a unit to its end; it begins at `began`, by the broker's clock. Only the end of a drain cancels it."""
        ...

    def abandon(self, unit: Unit) -> None:
        """Drop the unit without settling it. Another consumer takes it over when the lease expires."""
        ...

    def lost(self, delivery: Delivery) -> None:
        """Note that another consumer has a delivery now."""
        ...


class OneByOne:
    """Handles deliveries one by one."""

    size: int = 1

    def __init__(
        self, holdings: Holdings, schedule: Schedule, settlement: Settlement, routes: RouteTable, unknown: Unknown
    ) -> None:
        self._holdings = holdings
        self._schedule = schedule
        self._settlement = settlement
        self._acks = settlement.acks
        self._now = holdings.clock.now
        self._routes = routes
        self._unknown: Unknown = unknown
        self._workers: dict[Delivery, Worker] = {}  # of deliveries in their handler
        self.done: int = 0
        self.stopping: bool = False
        self.take: Callable[[float], Delivery | None] = schedule.take
        """Returns the next delivery, or `None`."""

    @property
    def running(self) -> int:
        """Deliveries in their handler."""
        return len(self._workers)

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Return each worker in a handler, with its delivery."""
        return [(worker, (delivery,)) for delivery, worker in tuple(self._workers.items())]

    def startable(self, now: float) -> int:
        """Return the number of deliveries that are ready or due."""
        return self._schedule.startable(now)

    def next_due(self) -> float | None:
        """Return when the next retry is due."""
        return self._schedule.next_due

    async def handle(self, delivery: Delivery, worker: Worker, began: float) -> None:
        """Attempt a delivery, and write its fate."""
        if is_suspect(delivery):
            await self._handle_suspect(delivery, worker, began)
            return
        route = admit(delivery, self._routes.find(delivery.fields), self._unknown, self._now)
        if not isinstance(route, Route) or route.deduplicate is not None:
            await self._handle_with_care(delivery, route, worker, began)
            return
        self._workers[delivery] = worker
        error = left = None
        try:
            left = await route.call(delivery.payload, delivery)
        except BaseException as raised:  # noqa: BLE001  # as `_call`, but without its coroutine for each event
            error = as_value(raised, (delivery,))
        finally:
            del self._workers[delivery]
        self.done += 1
        if error is left is None and delivery.instructions is None and not worker.cancelling():
            acknowledge(self._acks, delivery, route)
            self._schedule.leave(delivery)
        else:
            error = error_of(error, left)
            await self._settle(delivery, await self._fate_after(error, delivery, route, worker, began), route)

    async def _handle_suspect(self, delivery: Delivery, worker: Worker, began: float) -> None:
        """Handle a delivery that may harm others (`schedule.is_suspect`), or ask the state of a copy that waits."""
        if isinstance(delivery.fate, AwaitCopy):
            await self._ask_again(delivery)
        else:
            admitted = admit(delivery, self._routes.find(delivery.fields), self._unknown, self._now)
            await self._handle_with_care(delivery, admitted, worker, began)

    async def _handle_with_care(self, delivery: Delivery, admitted: Route | Fate, worker: Worker, began: float) -> None:
        """First find out whether to call the handler: the fate may be known, or the delivery may be a copy."""
        if not isinstance(admitted, Route):
            fate: Fate = admitted
        else:
            fate = await self._fate_before(delivery, admitted) or (
                Postpone(self._now()) if self.stopping else await self._call(delivery, admitted, worker, began)
            )
        await self._settle(delivery, fate, admitted)

    async def _call(self, delivery: Delivery, route: Route, worker: Worker, began: float) -> Fate:
        self._workers[delivery] = worker
        error = left = None
        try:
            left = await route.call(delivery.payload, delivery)
        except BaseException as raised:  # noqa: BLE001  # the exception becomes a value, and part of the fate
            error = as_value(raised, (delivery,))
        finally:
            del self._workers[delivery]
        self.done += 1
        return await self._fate_after(error_of(error, left), delivery, route, worker, began)

    async def _fate_after(
        self, error: BaseException | None, delivery: Delivery, route: Route, worker: Worker, began: float
    ) -> Fate:
        if worker.cancelling():
            await absorb_cancellation()
        return fate_after(error, delivery, route, began, self._now)

    async def _settle(self, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> None:
        """Write the fate. The delivery then leaves its lane, unless it waits there to be handled again."""
        if fate is ACK:
            acknowledge(self._acks, delivery, admitted)
        elif await self._is_put_off(delivery, fate, admitted):
            return
        self._schedule.leave(delivery)

    async def _is_put_off(self, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> bool:
        """Write a fate, and return whether the delivery keeps its lane and waits there."""
        if isinstance(fate, AwaitCopy):
            wait_aside(self._schedule, delivery, fate)
            return False
        if await carry_out(self._settlement, delivery, fate, admitted):
            self._schedule.delay(delivery, delivery.due)
            return True
        return False

    async def _ask_again(self, copy: Delivery) -> None:
        """Ask the state of a copy that was set aside, together with all other copies that are due."""
        others = duplicates.copies_to_ask_after(self._holdings, self._schedule, self._now())
        await duplicates.ask_again(self._holdings, self._schedule, self._acks, [copy, *others])

    async def _fate_before(self, delivery: Delivery, route: Route) -> Fate | None:
        """Return the fate of a delivery whose handler must not be called; `None` to call it."""
        if (fate := known_fate(delivery)) is not None:
            return fate
        if is_suspect(delivery):
            await self._acks.flush_if_possible()
        [fate] = await begin(self._holdings, [delivery], route)
        return ABANDON if fate is None and delivery.lost else fate

    def abandon(self, delivery: Delivery) -> None:
        """Drop the delivery without settling it. Another consumer takes it over when the lease expires."""
        self._holdings.drop(delivery)
        self._schedule.leave(delivery)

    def lost(self, delivery: Delivery) -> None:
        """Cancel the handler of a lost delivery if `on_lost` says so, or continue the lane of a waiting one."""
        if (worker := self._workers.get(delivery)) is not None:
            if wants_cancelling(delivery, self._routes):
                worker.cancel()
        else:
            self._schedule.forget(delivery)


def acknowledge(acks: Acknowledgements, delivery: Delivery, admitted: Route | Fate) -> None:
    """Acknowledge a handled delivery with the next group."""
    if isinstance(admitted, Route) and not admitted.shows_delivery:
        delivery.payload = None  # nothing can read it any longer, and the garbage collector has less to do
    acks.add(delivery)


def known_fate(delivery: Delivery) -> Fate | None:
    """Return the fate that Redis could not accept earlier; `None` if the fate is not decided."""
    return cast("Fate | None", delivery.fate)


async def begin(holdings: Holdings, deliveries: Sequence[Delivery], route: Route) -> list[Fate | None]:
    """Return for each delivery `None` to call its handler, or the fate of a copy."""
    if route.deduplicate is None:
        return [None] * len(deliveries)
    return await duplicates.begin(holdings, deliveries)


def wait_aside(schedule: Schedule, delivery: Delivery, fate: AwaitCopy) -> None:
    """Let a copy wait until its state is asked again. The caller makes it leave its lane."""
    if not delivery.lost:
        delivery.fate = fate
        schedule.set_aside(delivery, fate.until)


async def carry_out(settlement: Settlement, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> bool:
    """Write a fate, and return whether the delivery must be handled again when it is `due`.

    If Redis permanently refuses a follow-up of the handler, that counts as the handler's failure.
    """
    try:
        return await to_its_end(lambda: settlement.settle(delivery, fate))
    except ServerError as error:
        if not isinstance(admitted, Route):
            raise
        failure = fate_after(error, delivery, admitted, now=settlement.clock.now)
    return await carry_out(settlement, delivery, failure, admitted)


def wants_cancelling(delivery: Delivery, routes: RouteTable) -> bool:
    """Whether the handler of a lost delivery must be cancelled."""
    route = routes.find(delivery.fields)
    return route is not None and route.on_lost == "cancel"
