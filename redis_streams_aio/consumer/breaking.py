"""Breaking: handlers with a `breaker` pause their subscription in this process while their failures look systemic.

Each handler with a breaker is called through a `Guard`, which is part of its route; a handler without one is called as
if breakers did not exist. A guard goes by the state of its circuit:

* *closed*: it calls the handler and counts the end. Failures count in their events' budgets as always.
* The failure that opens the circuit, and failures of calls that are still running, are raised as `RetryLater`: their
  events wait until the next probe, and no failure is counted. The subscription pauses: events whose handler has not
  begun are released.
* *probing*: the subscription goes on. The first call is the probe; other calls wait for its end before their handler
  begins, and are postponed if it fails. So one event is tried at a time, and none pays for it.

All handlers of a subscription pause together, because they share its reads and its order. Other processes have
breakers of their own: events that this process releases are handled there, if these still work.

When things fail: a probe that is cancelled (a drain, a lost lease) decides nothing, and another call takes its place. A
process that restarts begins closed, and needs `calls` calls to open again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime
from functools import partial

import msgspec

from ..exceptions import RetryLater
from ..handlers.breaker import Breaker, Circuit
from ..handlers.calls import Call, Shown
from ..handlers.error_texts import describe
from ..handlers.routes import Plan, Route
from ..models import Pause
from ..telemetry import BreakerClosed, BreakerOpened, Telemetry
from .clock import Clock
from .subscription import Subscription

SOONEST = 0.05
"""The least seconds for which an event is postponed."""


class Guards:
    """The guards of one subscription's handlers."""

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self.clock: Clock = clock
        self._telemetry = telemetry
        self._subscription: Subscription | None = None
        self._open: set[Guard] = set()

    def of(self, plan: Plan) -> Plan:
        """Return the plan with a guard around each handler that has a breaker."""
        guarded = {id(route): self._guarded(route) for route in plan.routes.all}
        table = plan.routes

        def found(route: Route | None) -> Route | None:
            return None if route is None else guarded[id(route)]

        by_event_type: Mapping[bytes, Route] = {name: guarded[id(one)] for name, one in table.by_event_type.items()}
        routes = msgspec.structs.replace(
            table, by_event_type=by_event_type, catch_all=found(table.catch_all), only=found(table.only)
        )
        return Plan(plan.options, routes)

    def attach(self, subscription: Subscription) -> None:
        """Name the subscription that is paused."""
        self._subscription = subscription

    def _guarded(self, route: Route) -> Route:
        if route.breaker is None:
            return route
        guard = Guard(route.name, route.breaker, self)
        return msgspec.structs.replace(
            route, call=guard.around(route.call), alone=lambda payload: guard.run(partial(route.alone, payload))
        )

    def opened(self, guard: Guard, error: BaseException) -> None:
        """Pause the subscription, and tell why."""
        circuit, told = guard.circuit, describe(error)
        share = f"{circuit.failures} of {circuit.calls} calls failed"
        self._hold(guard, f"{share}, the last with {told}")
        if self._subscription is not None:
            fact = BreakerOpened(
                **self._subscription.holdings.here,
                handler=guard.name,
                calls=circuit.calls,
                failures=circuit.failures,
                delay=round(circuit.left(self.clock.now()), 3),
                error=told,
            )
            self._telemetry.emit(fact)

    def opened_again(self, guard: Guard, error: BaseException) -> None:
        """Pause the subscription until the next probe."""
        self._hold(guard, f"a probe failed: {describe(error)}")

    def closed(self, guard: Guard) -> None:
        """Tell that the handler works again."""
        if self._subscription is not None:
            seconds = round(self.clock.now() - guard.circuit.opened_at, 3)
            fact = BreakerClosed(**self._subscription.holdings.here, handler=guard.name, seconds=seconds)
            self._telemetry.emit(fact)

    def _hold(self, guard: Guard, why: str) -> None:
        self._open.add(guard)
        if self._subscription is not None:
            by = f"the breaker of handler {guard.name}"
            self._subscription.pause("breaker", Pause(by, why, datetime.now(UTC)))
        self.clock.call_at(guard.circuit.until, partial(self._let_go, guard), context=Context())

    def _let_go(self, guard: Guard) -> None:
        """Let the subscription go on when it is time for a probe, unless another breaker holds it."""
        if not guard.circuit.probe(self.clock.now()):
            return
        self._open.discard(guard)
        if not self._open and self._subscription is not None:
            self._subscription.resume("breaker")


class Guard:
    """Calls one handler, and keeps its circuit."""

    def __init__(self, name: str, breaker: Breaker, guards: Guards) -> None:
        self.name: str = name
        self.circuit: Circuit = Circuit(breaker)
        self._breaker = breaker
        self._guards = guards
        self._now = guards.clock.now
        self._probe: asyncio.Event | None = None
        """Set at the end of the probe that runs; `None`: none runs."""

    def around(self, call: Call) -> Call:
        """Return the call through this guard."""
        return lambda payload, shown: self.run(partial(_called, call, payload, shown))

    async def run(self, step: Callable[[], Awaitable[object]]) -> object:
        """Call the handler when it may begin. Raises its errors, and `RetryLater` for those that cost no failure."""
        while self.circuit.state != "closed":
            if not self.circuit.probe(self._now()):
                raise self._later()
            if self._probe is None:
                return await self._try(step)
            await self._probe.wait()
        try:
            returned = await step()
        except BaseException as error:
            self._failed(error)
            raise
        self.circuit.ended(self._now(), failed=False)
        return returned

    def _failed(self, error: BaseException) -> None:
        """Count an error of the handler. Raises `RetryLater` if it counts, and the circuit is open."""
        if not self._breaker.counts(error):
            return
        if self.circuit.ended(self._now(), failed=True):
            self._guards.opened(self, error)
        if self.circuit.state != "closed":
            raise self._later() from error

    async def _try(self, step: Callable[[], Awaitable[object]]) -> object:
        """Call the handler as the probe."""
        self._probe = asyncio.Event()
        try:
            returned = await step()
        except BaseException as error:
            if not self._breaker.counts(error):
                raise
            self.circuit.probed(self._now(), failed=True)
            self._guards.opened_again(self, error)
            raise self._later() from error
        else:
            self.circuit.probed(self._now(), failed=False)
            self._guards.closed(self)
            return returned
        finally:
            self._probe.set()
            self._probe = None

    def _later(self) -> RetryLater:
        return RetryLater(max(SOONEST, self.circuit.left(self._now())))


def _called(call: Call, payload: object, shown: Shown) -> Awaitable[object]:
    return call(payload, shown)
