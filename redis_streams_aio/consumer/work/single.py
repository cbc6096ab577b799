"""What a worker does with one delivery: attempt it, and have its fate carried out.

It also knows which worker has which delivery, so that a handler whose lease is lost can be cancelled. `batches` has
the same for many deliveries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

from ...events.delivery import Delivery
from ...exceptions import ServerError
from ...handlers.fates import ABANDON, ACK, AwaitCopy, Fate
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
    """What the workers of a subscription do."""

    size: int
    """Most deliveries that one worker takes at once."""
    done: int
    """Calls of handlers that came to an end, counted by delivery."""

    @property
    def running(self) -> int:
        """Deliveries in their handler."""
        ...

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Who is in a handler, and with what. Any thread may ask."""
        ...

    def take(self, now: float, /) -> Unit | None:
        """What to handle next; `None`: nothing now."""
        ...

    def startable(self, now: float) -> int:
        """How many workers would find something to do; at least one as long as there is any."""
        ...

    def next_due(self) -> float | None:
        """When to look again though nothing new came."""
        ...

    async def handle(self, unit: Unit, worker: Worker, began: float) -> None:
        """Handle it to its end; it begins at `began`, by the broker's clock. Only the end of a drain cancels it."""
        ...

    def abandon(self, unit: Unit) -> None:
        """It cannot be brought to its end: leave it to its lease."""
        ...

    def lost(self, delivery: Delivery) -> None:
        """A delivery is not ours any more."""
        ...


class OneByOne:
    """Deliveries are handled each on its own."""

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
        self._workers: dict[Delivery, Worker] = {}  # of those that are in their handler
        self.done: int = 0
        self.take: Callable[[float], Delivery | None] = schedule.take
        """The next delivery."""

    @property
    def running(self) -> int:
        """Deliveries in their handler."""
        return len(self._workers)

    def in_handlers(self) -> list[tuple[Worker, Sequence[Delivery]]]:
        """Each worker with its delivery."""
        return [(worker, (delivery,)) for delivery, worker in tuple(self._workers.items())]

    def startable(self, now: float) -> int:
        """Those that are ready, or due."""
        return self._schedule.startable(now)

    def next_due(self) -> float | None:
        """When the next retry is due."""
        return self._schedule.next_due

    async def handle(self, delivery: Delivery, worker: Worker, began: float) -> None:
        """Attempt it, and have its fate carried out."""
        if is_suspect(delivery):
            await self._handle_suspect(delivery, worker, began)
            return
        route = admit(delivery, self._routes.find(delivery.fields), self._unknown, self._now)
        if not isinstance(route, Route) or route.deduplicate is not None:
            await self._handle_with_care(delivery, route, worker, began)
            return
        self._workers[delivery] = worker
        error = None
        try:
            await route.call(delivery.payload, delivery)
        except BaseException as raised:  # noqa: BLE001  # `_call` would do the same, for one more coroutine an event
            error = as_value(raised, (delivery,))
        finally:
            del self._workers[delivery]
        self.done += 1
        if error is None and delivery.instructions is None and not worker.cancelling():
            acknowledge(self._acks, delivery, route)
            self._schedule.leave(delivery)
        else:
            await self._settle(delivery, await self._fate_after(error, delivery, route, worker, began), route)

    async def _handle_suspect(self, delivery: Delivery, worker: Worker, began: float) -> None:
        """Handle a delivery that may hold up others, or ask after it if it is a copy that waits."""
        if isinstance(delivery.fate, AwaitCopy):
            await self._ask_again(delivery)
        else:
            admitted = admit(delivery, self._routes.find(delivery.fields), self._unknown, self._now)
            await self._handle_with_care(delivery, admitted, worker, began)

    async def _handle_with_care(self, delivery: Delivery, admitted: Route | Fate, worker: Worker, began: float) -> None:
        """Find out first whether the handler is to be called: the fate may be known, or the delivery may be a copy."""
        if not isinstance(admitted, Route):
            fate: Fate = admitted
        else:
            known = await self._fate_before(delivery, admitted)
            fate = await self._call(delivery, admitted, worker, began) if known is None else known
        await self._settle(delivery, fate, admitted)

    async def _call(self, delivery: Delivery, route: Route, worker: Worker, began: float) -> Fate:
        self._workers[delivery] = worker
        error = None
        try:
            await route.call(delivery.payload, delivery)
        except BaseException as raised:  # noqa: BLE001  # the exception becomes a value; the fate tells of it
            error = as_value(raised, (delivery,))
        finally:
            del self._workers[delivery]
        self.done += 1
        return await self._fate_after(error, delivery, route, worker, began)

    async def _fate_after(
        self, error: BaseException | None, delivery: Delivery, route: Route, worker: Worker, began: float
    ) -> Fate:
        if worker.cancelling():
            await absorb_cancellation()
        return fate_after(error, delivery, route, began, self._now)

    async def _settle(self, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> None:
        """Have the fate carried out. Its lane goes on, unless the delivery waits there to be handled again."""
        if fate is ACK:
            acknowledge(self._acks, delivery, admitted)
        elif await self._is_put_off(delivery, fate, admitted):
            return
        self._schedule.leave(delivery)

    async def _is_put_off(self, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> bool:
        """Have a fate carried out; whether the delivery keeps its lane and waits there."""
        if isinstance(fate, AwaitCopy):
            wait_aside(self._schedule, delivery, fate)
            return False
        if await carry_out(self._settlement, delivery, fate, admitted):
            self._schedule.delay(delivery, delivery.due)
            return True
        return False

    async def _ask_again(self, copy: Delivery) -> None:
        """Ask after a copy that was set aside, and after the others that are to be asked after now."""
        others = duplicates.copies_to_ask_after(self._holdings, self._schedule, self._now())
        await duplicates.ask_again(self._holdings, self._schedule, self._acks, [copy, *others])

    async def _fate_before(self, delivery: Delivery, route: Route) -> Fate | None:
        """The fate of a delivery whose handler is not to be called; `None`: call it."""
        if (fate := known_fate(delivery)) is not None:
            return fate
        if is_suspect(delivery):
            await self._acks.flush_if_possible()
        [fate] = await begin(self._holdings, [delivery], route)
        return ABANDON if fate is None and delivery.lost else fate

    def abandon(self, delivery: Delivery) -> None:
        """Leave it to its lease."""
        self._holdings.drop(delivery)
        self._schedule.leave(delivery)

    def lost(self, delivery: Delivery) -> None:
        """Cancel its handler, if that is wanted; or let its lane go on, if it waits for its retry."""
        if (worker := self._workers.get(delivery)) is not None:
            if wants_cancelling(delivery, self._routes):
                worker.cancel()
        else:
            self._schedule.forget(delivery)


def acknowledge(acks: Acknowledgements, delivery: Delivery, admitted: Route | Fate) -> None:
    """A delivery is handled: it leaves with the next group."""
    if isinstance(admitted, Route) and not admitted.shows_delivery:
        delivery.payload = None  # nobody can ask for it, and the garbage collector has less to look through
    acks.add(delivery)


def known_fate(delivery: Delivery) -> Fate | None:
    """The fate that Redis could not take when it was decided; `None`: it is still to be found."""
    return cast("Fate | None", delivery.fate)


async def begin(holdings: Holdings, deliveries: Sequence[Delivery], route: Route) -> list[Fate | None]:
    """For each delivery `None`: call its handler; or its fate, as a copy of it was or is being handled."""
    if route.deduplicate is None:
        return [None] * len(deliveries)
    return await duplicates.begin(holdings, deliveries)


def wait_aside(schedule: Schedule, delivery: Delivery, fate: AwaitCopy) -> None:
    """Have a copy wait until it is asked after again. It leaves its lane, which is up to the caller."""
    if not delivery.lost:
        delivery.fate = fate
        schedule.set_aside(delivery, fate.until)


async def carry_out(settlement: Settlement, delivery: Delivery, fate: Fate, admitted: Route | Fate) -> bool:
    """Have a fate carried out; whether the delivery is to be handled again when it is `due`.

    Where Redis refuses for good what the handler published with its acknowledgement, that is the handler's failure.
    """
    try:
        return await to_its_end(lambda: settlement.settle(delivery, fate))
    except ServerError as error:
        if not isinstance(admitted, Route):
            raise
        failure = fate_after(error, delivery, admitted, now=settlement.clock.now)
    return await carry_out(settlement, delivery, failure, admitted)


def wants_cancelling(delivery: Delivery, routes: RouteTable) -> bool:
    """Whether the handler of a lost delivery is to be cancelled."""
    route = routes.find(delivery.fields)
    return route is not None and route.on_lost == "cancel"
