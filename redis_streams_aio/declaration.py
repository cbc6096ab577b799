"""Declaring a handler: what `@broker.handler(...)` was told, and whether that can work. Pure.

`declare` checks one handler when it is decorated, that is at import: the function, its annotations and its
options. What handlers mean for each other is `routing`'s.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from . import entry_ids, naming
from .batch import BatchDelivery
from .codecs import Codec
from .delivery import Delivery
from .exceptions import ConfigError, HandlerDefinitionError
from .retry import RetryPolicy

Order = Literal["stream", "key", "none"]
Unknown = Literal["dead_letter", "skip"]
OnLost = Literal["cancel", "continue"]
Handler = Callable[..., Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=Handler)
KeyFunction = Callable[..., object]
CallNext = Callable[[], Awaitable[None]]
Middleware = (
    Callable[[Delivery, CallNext], Awaitable[None]]
    | Callable[[BatchDelivery, CallNext], Awaitable[None]]
    | Callable[[Delivery | BatchDelivery, CallNext], Awaitable[None]]
)
"""Runs around a handler, and gets what a handler gets: the delivery, or the batch.

`async def timed(delivery, call_next): ...; await call_next()`. What it raises counts as raised by the handler.
"""
WITHIN = 0.1
"""Seconds that a batch waits to be full, where the handler does not say."""


class HandlerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `@broker.handler(...)` was told. See `Router.handler` for each option."""

    stream: str
    group: str | None = None
    event_type: str | None = None
    concurrency: int = 1
    order: Order | None = None
    key: KeyFunction | None = None
    start: str | datetime = "0"
    lease: float = 30.0
    timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()
    dead_letter: str | None = None
    codec: Codec | None = None
    middleware: tuple[Middleware, ...] = ()
    unknown: Unknown = "dead_letter"
    on_lost: OnLost = "cancel"
    deduplicate: float | None = None
    batch: int | None = None
    within: float | None = None

    @property
    def effective_order(self) -> Order:
        """The order asked for, or the one that follows: a key means per key, concurrency 1 means per stream."""
        if self.order is not None:
            return self.order
        if self.key is not None:
            return "key"
        return "stream" if self.concurrency == 1 else "none"


class Declaration(msgspec.Struct, frozen=True):
    """A handler that was checked."""

    handler: Handler
    options: HandlerOptions
    payload_type: type[object]
    takes_delivery: bool
    event_type: str | None
    """`None`: takes every event type that no other handler of the subscription takes."""

    @property
    def name(self) -> str:
        """The function's name, for errors and logs."""
        return _name(self.handler)


def declare(handler: Handler, options: HandlerOptions) -> Declaration:
    """Check a handler and its options.

    Raises `HandlerDefinitionError`, which names the handler and says what to change.
    """
    name = _name(handler)
    if not inspect.iscoroutinefunction(handler):
        kind = "a function without 'async'" if callable(handler) else f"a {type(handler).__name__}"
        raise HandlerDefinitionError(f"handler {name}: is {kind}; write it as 'async def {name}(...)'")
    _check_options(name, options)
    payload_type, takes_delivery = _signature(handler, BatchDelivery if options.batch is not None else Delivery)
    return Declaration(handler, options, payload_type, takes_delivery, options.event_type or _event_type(payload_type))


def _check_options(name: str, options: HandlerOptions) -> None:
    for problem in (*_name_problems(options), *_order_problems(options), *_value_problems(options)):
        raise HandlerDefinitionError(f"handler {name}: {problem}")


def _name_problems(options: HandlerOptions) -> Iterator[str]:
    for what, given in (("stream", options.stream), ("group", options.group), ("dead_letter", options.dead_letter)):
        if (given is not None or what == "stream") and (wrong := naming.problem(given)):
            yield f"{what}: the name {wrong}"
    if options.event_type == "":
        yield "event_type: is empty; leave it out to use the payload type's name"


def _order_problems(options: HandlerOptions) -> Iterator[str]:
    if not isinstance(options.concurrency, int) or options.concurrency < 1:
        yield f"concurrency={options.concurrency!r}: expected a whole number, 1 or more"
        return
    if options.order not in (None, "stream", "key", "none"):
        yield f'order={options.order!r}: expected "stream", "key" or "none"'
    if options.key is not None and options.effective_order != "key":
        yield f'key with order="{options.order}": a key means order="key"; leave one of them out'
    if inspect.iscoroutinefunction(options.key):
        yield "key: is an async function; a key is made from the payload alone, without waiting"
    if options.effective_order == "stream" and options.concurrency > 1:
        yield f'order="stream" with concurrency={options.concurrency}: stream order means one at a time'


def _value_problems(options: HandlerOptions) -> Iterator[str]:
    if not _is_number(options.lease) or not 0.05 <= options.lease <= 86_400:
        yield f"lease={options.lease!r}: expected seconds, 0.05 to 86400"
    if options.timeout is not None and (not _is_number(options.timeout) or not options.timeout > 0):
        yield f"timeout={options.timeout!r}: expected seconds above 0, or None"
    if options.unknown not in ("dead_letter", "skip"):
        yield f'unknown={options.unknown!r}: expected "dead_letter" or "skip"'
    if options.on_lost not in ("cancel", "continue"):
        yield f'on_lost={options.on_lost!r}: expected "cancel" or "continue"'
    if options.deduplicate is not None and (
        not _is_number(options.deduplicate) or not 0 < options.deduplicate <= _LONGEST_MEMORY
    ):
        yield f"deduplicate={options.deduplicate!r}: expected seconds, up to {_LONGEST_MEMORY}, or None"
    yield from _batch_problems(options)
    try:
        entry_ids.start_position(options.start)
    except ConfigError as error:
        yield str(error)


def _batch_problems(options: HandlerOptions) -> Iterator[str]:
    if options.batch is None:
        if options.within is not None:
            yield f"within={options.within!r}: says how long a batch may wait to be full; give batch= too"
        return
    if type(options.batch) is not int or not 1 <= options.batch <= _LARGEST_BATCH:
        yield f"batch={options.batch!r}: expected a whole number, 1 to {_LARGEST_BATCH}"
    if options.within is not None and (not _is_number(options.within) or not 0 <= options.within <= 3600):
        yield f"within={options.within!r}: expected seconds, 0 to 3600"


_LARGEST_BATCH = 10_000
_LONGEST_MEMORY = 10 * 366 * 86_400


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _signature(handler: Handler, delivery_type: type[object]) -> tuple[type[object], bool]:
    """The payload's type, and whether the handler also takes the delivery (or the batch)."""
    name = _name(handler)
    wanted = delivery_type.__name__
    parameters = [
        parameter
        for parameter in inspect.signature(handler).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if not 1 <= len([parameter for parameter in parameters if parameter.default is parameter.empty]) <= 2:
        raise HandlerDefinitionError(
            f"handler {name}: takes (payload) or (payload, delivery: {wanted}), not {inspect.signature(handler)}"
        )
    hints = _hints(handler)
    payload = parameters[0]
    if payload.name not in hints:
        raise HandlerDefinitionError(
            f"handler {name}: annotate {payload.name!r} with the payload's type, e.g. '{payload.name}: dict'"
        )
    second = parameters[1] if len(parameters) > 1 else None
    if second is not None and second.default is second.empty and hints.get(second.name) is not delivery_type:
        raise HandlerDefinitionError(
            f"handler {name}: annotate {second.name!r} with {wanted}, it is what a second parameter gets"
        )
    annotated = hints[payload.name]
    payload_type = _item_type(name, payload.name, annotated) if delivery_type is BatchDelivery else annotated
    return payload_type, second is not None and hints.get(second.name) is delivery_type


def _hints(handler: Handler) -> dict[str, Any]:
    try:
        return typing.get_type_hints(handler, include_extras=True)
    except NameError as error:
        raise HandlerDefinitionError(
            f"handler {_name(handler)}: {error}; define the payload's type at the top of the module, above the "
            "handler (and not under TYPE_CHECKING)"
        ) from None


def _item_type(name: str, parameter: str, annotated: object) -> type[object]:
    if get_origin(annotated) is not list or len(get_args(annotated)) != 1:
        raise HandlerDefinitionError(
            f"handler {name}: a batch handler takes a list; annotate {parameter!r} e.g. '{parameter}: list[dict]'"
        )
    item: type[object] = get_args(annotated)[0]
    return item


def _event_type(payload_type: type[object]) -> str | None:
    """The type's own name; `None` for those that have none of their own."""
    if get_origin(payload_type) is Annotated:
        payload_type = get_args(payload_type)[0]
    if payload_type is Any or not isinstance(payload_type, type):  # of Any's being a type, Pythons differ
        return None
    return None if payload_type.__module__ == "builtins" else payload_type.__name__


def _name(handler: object) -> str:
    return getattr(handler, "__name__", repr(handler))
