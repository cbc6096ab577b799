"""The recorder records every call of a handler and every fact, in order; and lets calls fail as a test asks.

It watches a broker through its plans: each handler's call goes through `_watched`, outside of all middleware. Nothing
else in the way of an event is different.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

import msgspec

from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..handlers.calls import Call as Invoke
from ..handlers.calls import Shown
from ..handlers.error_texts import describe
from ..handlers.routes import Plan, Route, RouteTable
from ..models import EventMessage
from ..telemetry import DeadLettered, DuplicateDropped, EntriesVanished, Fact, LeaseLost, Postponed, RetryScheduled

F = TypeVar("F", bound=Fact)

_TOLD = (RetryScheduled, Postponed, DeadLettered, DuplicateDropped, LeaseLost, EntriesVanished)
"""The facts that are shown in failure messages."""
_LONGEST_STORY = 50
"""The most lines in failure messages; the last ones are shown."""


class Call(msgspec.Struct, eq=False):
    """One call of a handler with one event; a batch handler's call is recorded for each item."""

    handler: str
    """The function's name."""
    function: Callable[..., object]
    """The function itself."""
    stream: str
    group: str
    event: EventMessage[object]
    deliveries: int
    """How often Redis had delivered the entry, this time included."""
    failures: int
    """How often handlers had failed on the event before."""
    ended: bool = False
    error: BaseException | None = None
    """The error of the call, also a cancellation; `None` if it returned, or still runs."""

    @property
    def payload(self) -> object:
        """The payload of the event."""
        return self.event.payload

    @property
    def returned(self) -> bool:
        """Whether the call ended without an error."""
        return self.ended and self.error is None

    def __str__(self) -> str:
        outcome = "runs" if not self.ended else "returned" if self.error is None else f"raised {describe(self.error)}"
        return f"{self.stream}/{self.group}: {self.handler}({self.payload!r}) {outcome} (delivery {self.deliveries})"


Handler = str | Callable[..., object] | None
"""The handler that a test means: a function, the name of a function, or `None` for any."""


class _OrderedFailure(msgspec.Struct, eq=False):
    left: int
    error: BaseException
    handler: Handler
    stream: str | None

    def hits(self, route: Route, stream: str) -> bool:
        of_handler = is_of(self.handler, route.name, route.handler)
        return self.left > 0 and of_handler and self.stream in (None, stream)


class Recorder:
    """Records calls and facts of one broker."""

    def __init__(self) -> None:
        self.log: list[Call | Fact] = []
        """Everything, in order."""
        self._plans: dict[tuple[str, str], Plan] = {}
        self._failures: list[_OrderedFailure] = []

    @property
    def calls(self) -> list[Call]:
        """Calls of handlers, in the order they began."""
        return [item for item in self.log if isinstance(item, Call)]

    def facts(self, kind: type[F]) -> list[F]:
        """Facts of one kind."""
        return [item for item in self.log if isinstance(item, kind)]

    def handled_and_alive(self, stream: str, group: str) -> set[str]:
        """Return the ids of entries that a handler returned on, and that are not dead letters."""
        at = stream, group
        dead = {fact.id for fact in self.facts(DeadLettered) if (fact.stream, fact.group) == at}
        return {call.event.id for call in self.calls if call.returned and (call.stream, call.group) == at} - dead

    @property
    def deduplicating(self) -> list[tuple[str, str]]:
        """Streams and groups in which a handler drops duplicates."""
        return [at for at, plan in self._plans.items() if plan.routes.deduplicates]

    def observe(self, fact: Fact) -> None:
        """Record a fact. This is the observer."""
        self.log.append(fact)

    def order_failures(self, times: int, error: BaseException, handler: Handler, stream: str | None) -> None:
        """Let the next `times` calls raise `error`. Raises `ValueError` for an unknown handler or stream."""
        streams = [known for known, _ in self._plans]
        if stream not in (None, *streams):
            raise ValueError(f"stream {stream!r}: the broker handles {_listed(streams)}")
        routes = [*chain.from_iterable(plan.routes.all for plan in self._plans.values())]
        if not any(is_of(handler, route.name, route.handler) for route in routes):
            raise ValueError(f"handler {handler!r}: the broker has {_listed(route.name for route in routes)}")
        self._failures.append(_OrderedFailure(times, error, handler, stream))

    def story(self) -> str:
        """Describe what happened, one line each, for failure messages."""
        told = [item for item in self.log if isinstance(item, (Call, *_TOLD))]
        if not told:
            return "no handler was called"
        before = [f"  ... {len(told) - _LONGEST_STORY} more before ..."] if len(told) > _LONGEST_STORY else []
        return "\n".join(["what happened:", *before, *(f"  {item}" for item in told[-_LONGEST_STORY:])])

    def watched(self, plan: Plan) -> Plan:
        """Return the plan with every call of its handlers recorded."""
        self._plans[plan.options.stream, plan.options.group] = plan
        known: dict[int, Route] = {}

        def watch(route: Route) -> Route:
            if id(route) not in known:
                known[id(route)] = msgspec.structs.replace(route, call=self._watched(plan, route), shows_delivery=True)
            return known[id(route)]

        routes = plan.routes
        return Plan(
            plan.options,
            RouteTable(
                {event_type: watch(route) for event_type, route in routes.by_event_type.items()},
                routes.catch_all and watch(routes.catch_all),
                routes.only and watch(routes.only),
                routes.deduplicates,
            ),
        )

    def _watched(self, plan: Plan, route: Route) -> Invoke:
        async def call(payload: object, delivery: Shown) -> object:
            begun = [_begun(plan, route, one) for one in _each(delivery)]
            self.log.extend(begun)
            error: BaseException | None = None
            try:
                self._fail_if_ordered(route, plan.options.stream)
                return await route.call(payload, delivery)
            except BaseException as raised:
                error = raised
                raise
            finally:
                for record in begun:
                    record.ended, record.error = True, error

        return call

    def _fail_if_ordered(self, route: Route, stream: str) -> None:
        for failure in self._failures:
            if failure.hits(route, stream):
                failure.left -= 1
                raise failure.error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"


def is_of(handler: Handler, name: str, function: Callable[..., object]) -> bool:
    """Whether a function is the handler that a test means, also if one of them is decorated."""
    if handler is None or isinstance(handler, str):
        return handler in (None, name)
    return bool(inspect.unwrap(handler) == inspect.unwrap(function))


def _each(delivery: Shown) -> Iterator[Delivery]:
    if isinstance(delivery, BatchDelivery):
        return iter(delivery)
    return iter(() if delivery is None else (delivery,))


def _begun(plan: Plan, route: Route, delivery: Delivery) -> Call:
    options = plan.options
    return Call(
        route.name,
        route.handler,
        options.stream,
        options.group,
        delivery.event,
        delivery.deliveries,
        delivery.failures,
    )
