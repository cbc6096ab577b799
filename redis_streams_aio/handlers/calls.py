"""Calls of handlers: the payload and the delivery go to the parameters that ask for them. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from inspect import Parameter
from typing import cast

from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from .options import Handler

Call = Callable[[object, Delivery | BatchDelivery], Awaitable[None]]
"""Calls a handler: with the payload and the delivery, or the list of payloads and the batch."""


def call_of(
    handler: Handler, parameters: Sequence[Parameter], payload: Parameter | None, delivery: Parameter | None
) -> Call:
    """How to call a handler that has these parameters; those that are neither keep their defaults."""
    by_place = [each for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]
    if payload is not None and by_place[:1] == [payload]:
        if delivery is None:
            return lambda given, _: handler(given)
        if by_place[1:2] == [delivery]:
            return handler
    return _call_by_place(handler, parameters, payload, delivery)


def _call_by_place(
    handler: Handler, parameters: Sequence[Parameter], payload: Parameter | None, delivery: Parameter | None
) -> Call:
    """The call where the payload does not come first, and the delivery second."""
    in_order: list[bool] = []
    by_name: dict[str, bool] = {}
    for place, each in enumerate(parameters):
        if each is payload or each is delivery:
            if each.kind is Parameter.KEYWORD_ONLY or place > len(in_order):  # one before it keeps its default
                by_name[each.name] = each is payload
            else:
                in_order.append(each is payload)

    def call(given: object, delivery: Delivery | BatchDelivery) -> Awaitable[None]:
        return handler(
            *[given if takes_payload else delivery for takes_payload in in_order],
            **{name: given if takes_payload else delivery for name, takes_payload in by_name.items()},
        )

    return call


def with_timeout(call: Call, seconds: float) -> Call:
    """The call, which raises `TimeoutError` when it takes longer than `seconds`."""

    async def limited(given: object, delivery: Delivery | BatchDelivery) -> None:
        async with asyncio.timeout(seconds):
            await call(given, delivery)

    return limited


def with_event(call: Call) -> Call:
    """The call with the event in place of the payload."""

    def of_event(_: object, delivery: Delivery | BatchDelivery) -> Awaitable[None]:
        return call(cast("Delivery", delivery).event, delivery)

    return of_event


def with_events(call: Call) -> Call:
    """The call with a batch's events in place of the payloads."""

    def of_events(_: object, batch: Delivery | BatchDelivery) -> Awaitable[None]:
        return call([delivery.event for delivery in cast("BatchDelivery", batch)], batch)

    return of_events
