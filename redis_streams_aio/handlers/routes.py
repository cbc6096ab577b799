"""Routes: find the handler of an entry. Pure functions and frozen records.

`plan` groups handlers into subscriptions (one for each stream and group) and checks that they agree;
`RouteTable.find` picks the handler of an entry by its event type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from ..checks.values import shown
from ..codecs import Codec, JsonCodec, PayloadDecoder, bounded
from ..config import MAX_PAYLOAD_BYTES
from ..events import entry_ids, wire_format
from ..events.wire_format import Fields
from ..exceptions import HandlerDefinitionError
from .around import wrapped
from .breaker import Breaker
from .calls import Call, OfPayload, with_timeout
from .declaration import Declaration
from .error_texts import describe, message_of
from .options import FILLED, WITHIN, Handler, HandlerOptions, OnLost
from .retry import RetryPolicy
from .subscription_options import SubscriptionOptions


class Route(msgspec.Struct, frozen=True):
    """A handler that is ready to be called."""

    name: str
    handler: Handler
    """The user's own function, without middleware."""
    decode: Callable[[Fields], object]
    call: Call
    """Takes the payload and the delivery, or the list of payloads and the batch. Raises `TimeoutError` at `timeout`."""
    retry: RetryPolicy
    on_lost: OnLost
    deduplicate: float | None
    shows_delivery: bool
    """Whether the handler or a middleware gets the delivery, so that it may read the payload at any time."""
    alone: Callable[[object], Awaitable[object]]
    """`call` with the payload alone, for a handler that is shown no delivery."""
    breaker: Breaker | None = None
    plain: Callable[[bytes], object] | None = None
    """Decodes the payload of an entry that names no format, from its bytes alone; `None` if the codec needs more."""
    max_payload: int = 0
    """The most bytes that `plain` decodes."""


class RouteTable(msgspec.Struct, frozen=True):
    """Maps event types to handlers."""

    by_event_type: Mapping[bytes, Route]
    catch_all: Route | None
    only: Route | None
    """The subscription's only handler, if there is one; it also gets entries without an event type."""
    deduplicates: bool
    """Whether any handler drops duplicates."""

    @property
    def all(self) -> list[Route]:
        """All handlers, each once."""
        routes = [*self.by_event_type.values(), self.catch_all, self.only]
        return list({id(route): route for route in routes if route is not None}.values())

    def find(self, fields: Fields) -> Route | None:
        """Return the handler of an entry; `None` if no handler takes it."""
        # entries of this library begin with the type: this saves a call for each event
        typed = len(fields) > 1 and fields[0] == wire_format.EVENT_TYPE
        event_type = fields[1] if typed else wire_format.event_type_of(fields)
        return self.by_event_type.get(event_type) or self.catch_all or (None if event_type else self.only)

    def find_by_type(self, event_type: bytes) -> Route | None:
        """Return the handler of an event type; `None` if no handler takes it."""
        return self.by_event_type.get(event_type) or self.catch_all

    def handler_name(self, fields: Fields) -> str:
        """Return the name of the handler of an entry; `""` if no handler takes it."""
        route = self.find(fields)
        return "" if route is None else route.name


class Plan(msgspec.Struct, frozen=True):
    """The options and handlers of one subscription."""

    options: SubscriptionOptions
    routes: RouteTable


def plan(
    declarations: Iterable[Declaration], max_payload_bytes: int = MAX_PAYLOAD_BYTES, *, all_known: bool = True
) -> list[Plan]:
    """Return one plan for each stream and group.

    Without `all_known`, routers and a broker may still give other values to options that the handlers do not name, and
    such options are not compared. Raises `HandlerDefinitionError` if handlers of one subscription contradict each
    other.
    """
    subscriptions: dict[tuple[str, str], list[Declaration]] = {}
    for declared in declarations:
        if (group := declared.options.group) is None:
            raise HandlerDefinitionError(
                f"handler {declared.name}: has no group; give group= here, or Broker(group=...) for all handlers"
            )
        subscriptions.setdefault((declared.options.stream, group), []).append(declared)
    plans = [
        _plan_one(group, members, max_payload_bytes, all_known=all_known)
        for (_, group), members in subscriptions.items()
    ]
    _check_dead_letters(plans)
    return plans


def _check_dead_letters(plans: Sequence[Plan]) -> None:
    """Raises `HandlerDefinitionError` where dead letters come back as events, without end."""
    goes_to: dict[str, set[str]] = {}
    for each in plans:
        goes_to.setdefault(each.options.stream, set()).add(each.options.dead_letter)
    for each in plans:
        seen, reached = set[str](), {each.options.dead_letter}
        while reached and each.options.stream not in reached:
            seen |= reached
            reached = set().union(*(goes_to.get(stream, ()) for stream in reached)) - seen
        if reached:
            by_way = (
                "its own stream" if not seen else f"a stream whose dead letters come back to {each.options.stream!r}"
            )
            raise HandlerDefinitionError(
                f"handler {each.routes.all[0].name}: dead_letter={shown(each.options.dead_letter)}: is {by_way}; a bad "
                "event would be handled again forever: name another stream, or leave it out"
            )


def _plan_one(group: str, members: Sequence[Declaration], max_payload_bytes: int, *, all_known: bool) -> Plan:
    shared = [(declared, _subscription_options(group, declared.options)) for declared in members]
    _, options = shared[0]
    for field in options.__struct_fields__:
        settled = [(declared, each) for declared, each in shared if all_known or _is_settled(declared, field)]
        for declared, others in settled[1:]:
            _check_agreement(field, *settled[0], declared, others)
    return Plan(options, _route_table([(declared, _route(declared, max_payload_bytes)) for declared in members]))


def _is_settled(declared: Declaration, field: str) -> bool:
    """Whether no router or broker that includes the handler can give this option another value."""
    options = declared.options
    if field == "order":  # the default depends on `concurrency`
        return options.order is not None or options.key is not None or "concurrency" in declared.said
    return field not in FILLED or field in declared.said


def _subscription_options(group: str, options: HandlerOptions) -> SubscriptionOptions:
    return SubscriptionOptions(
        stream=options.stream,
        group=group,
        concurrency=options.concurrency,
        order=options.effective_order,
        key=options.key,
        start=entry_ids.start_position(options.start),
        lease=options.lease,
        unknown=options.unknown,
        dead_letter=options.dead_letter or "",
        batch=options.batch,
        within=WITHIN if options.within is None else options.within,
    )


def _check_agreement(
    field: str, first: Declaration, options: SubscriptionOptions, second: Declaration, others: SubscriptionOptions
) -> None:
    """Raise `HandlerDefinitionError` if two handlers of a subscription differ in an option."""
    ours, theirs = getattr(options, field), getattr(others, field)
    if ours is theirs or ours == theirs:
        return
    advice = "make them equal"
    if callable(ours) and callable(theirs):
        advice = "two functions are never equal: define one function, and give the same object to both handlers"
    raise HandlerDefinitionError(
        f"handlers {first.name} and {second.name} share the subscription {options.stream}/{options.group} "
        f"and differ in {field}: {shown(ours)} and {shown(theirs)}; {advice}, or give one of them another group"
    )


def _route_table(routes: Sequence[tuple[Declaration, Route]]) -> RouteTable:
    _check_event_types(declared for declared, _ in routes)
    by_event_type = {
        declared.event_type.encode(): route for declared, route in routes if declared.event_type is not None
    }
    catch_all = next((route for declared, route in routes if declared.event_type is None), None)
    deduplicates = any(route.deduplicate is not None for _, route in routes)
    return RouteTable(by_event_type, catch_all, routes[0][1] if len(routes) == 1 else None, deduplicates)


def _check_event_types(declarations: Iterable[Declaration]) -> None:
    """Raise `HandlerDefinitionError` if two handlers take the same event type."""
    taken: dict[str | None, Declaration] = {}
    for declared in declarations:
        if (other := taken.setdefault(declared.event_type, declared)) is not declared:
            what = "every event type" if declared.event_type is None else f"event type {declared.event_type!r}"
            raise HandlerDefinitionError(
                f"handlers {other.name} and {declared.name} both take {what} of {declared.options.stream!r} "
                "in one group; give one of them another event_type= or group="
            )


def _route(declared: Declaration, max_payload_bytes: int) -> Route:
    options = declared.options
    codec = JsonCodec() if options.codec is None else options.codec
    decode = _decoder(declared, codec, max_payload_bytes)
    call = declared.call
    for around in reversed(options.middleware):
        call = wrapped(around, call)
    if options.timeout is not None:
        call = with_timeout(call, options.timeout)
    return Route(
        declared.name,
        declared.handler,
        decode,
        call,
        options.retry,
        options.on_lost,
        options.deduplicate,
        declared.takes_delivery or bool(options.middleware),
        call.handler if isinstance(call, OfPayload) else lambda payload: call(payload, None),
        options.breaker,
        *((decode.plain, decode.limit) if isinstance(decode, PayloadDecoder) else ()),
    )


def _decoder(declared: Declaration, codec: Codec, limit: int) -> Callable[[Fields], object]:
    """Return the decoder of a handler's payloads. Raises `HandlerDefinitionError` if the codec refuses the type."""
    try:
        return bounded(codec, declared.payload_type, limit)
    except Exception as error:  # a user's codec may raise anything
        told = message_of(error) if type(error) is TypeError else describe(error)
        raise HandlerDefinitionError(f"handler {declared.name}: {told}") from error
