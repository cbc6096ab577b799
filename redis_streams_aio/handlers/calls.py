"""Call handlers: pass the payload and the delivery to the parameters that are annotated for them. Pure."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter
from typing import cast

from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from .options import Handler

Shown = Delivery | BatchDelivery | None
"""The delivery or the batch that a handler is shown; `None` for a handler that takes none (`Route.shows_delivery`)."""
Call = Callable[[object, Shown], Awaitable[object]]
"""Calls a handler with the payload and the delivery, or with the list of payloads and the batch.

Handlers return `None`; `error_of` checks other results.
"""


def error_of(raised: BaseException | None, returned: object) -> BaseException | None:
    """Return the error of an attempt: the raised one, or one for an awaitable that the handler returned unawaited."""
    if raised is not None or not inspect.isawaitable(returned):
        return raised
    if inspect.iscoroutine(returned):
        returned.close()
    kind = type(returned).__name__
    return TypeError(f"the handler returned a {kind}, which nobody awaits: write 'await' before the call that makes it")


class OfPayload:
    """The call of a handler whose first parameter is the payload, and which takes no delivery."""

    __slots__ = ("handler",)

    def __init__(self, handler: Handler) -> None:
        self.handler: Handler = handler

    def __call__(self, given: object, _: Shown) -> Awaitable[object]:
        """Call the handler."""
        return self.handler(given)


def call_of(
    handler: Handler, parameters: Sequence[Parameter], payload: Parameter | None, delivery: Parameter | None
) -> Call:
    """Return the function that calls a handler with these parameters; other parameters keep their defaults."""
    by_place = [each for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]
    if payload is not None and by_place[:1] == [payload]:
        if delivery is None:
            return OfPayload(handler)
        if by_place[1:2] == [delivery]:
            return handler
    return _call_by_place(handler, parameters, payload, delivery)


def _call_by_place(
    handler: Handler, parameters: Sequence[Parameter], payload: Parameter | None, delivery: Parameter | None
) -> Call:
    """Return the call for parameters in another order than payload, delivery."""
    in_order: list[bool] = []
    by_name: dict[str, bool] = {}
    for place, each in enumerate(parameters):
        if each is payload or each is delivery:
            if each.kind is Parameter.KEYWORD_ONLY or place > len(in_order):  # a parameter before it keeps its default
                by_name[each.name] = each is payload
            else:
                in_order.append(each is payload)

    def call(given: object, delivery: Shown) -> Awaitable[object]:
        return handler(
            *[given if takes_payload else delivery for takes_payload in in_order],
            **{name: given if takes_payload else delivery for name, takes_payload in by_name.items()},
        )

    return call


def with_timeout(call: Call, seconds: float) -> Call:
    """Return the call with a limit: it raises `TimeoutError` after `seconds`."""

    async def limited(given: object, delivery: Shown) -> object:
        async with asyncio.timeout(seconds):
            return await call(given, delivery)

    return limited


def with_event(call: Call) -> Call:
    """Return the call with the event instead of the payload."""

    def of_event(_: object, delivery: Shown) -> Awaitable[object]:
        return call(cast("Delivery", delivery).event, delivery)

    return of_event


def with_events(call: Call) -> Call:
    """Return the call with a batch's events instead of the payloads."""

    def of_events(_: object, batch: Shown) -> Awaitable[object]:
        return call([delivery.event for delivery in cast("BatchDelivery", batch)], batch)

    return of_events
