"""Take the follow-ups of handlers through the publish middleware, when the handler has ended. Pure.

A follow-up is composed when the handler publishes it, so that its mistakes are raised there. If there is publish
middleware, it runs when the handler has ended and its follow-ups will be sent: in the handler's context, inside its
other middleware, so that it sees the same span and variables. An error of it counts as the handler's.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..events.batch import BatchDelivery, given
from ..events.delivery import Delivery, instructions_of, pass_on
from ..events.outgoing import Through
from .options import CallNext, Middleware


def following(through: Through) -> Middleware:
    """Return the middleware of a handler that takes its follow-ups through the publish middleware."""

    async def follow_ups(shown: Delivery | BatchDelivery, call_next: CallNext) -> None:
        try:
            await call_next()
        except BaseException:
            await _pass_on([each for each in _deliveries(shown) if _stands(each)], through)
            raise
        await _pass_on(_deliveries(shown), through)

    return follow_ups


def _deliveries(shown: Delivery | BatchDelivery) -> Iterable[Delivery]:
    return tuple(given(shown)) if isinstance(shown, BatchDelivery) else (shown,)


def _stands(delivery: Delivery) -> bool:
    """Whether the handler has acknowledged the event before it raised."""
    told = instructions_of(delivery)
    return told is not None and told.decided and told.error is None


async def _pass_on(deliveries: Iterable[Delivery], through: Through) -> None:
    for delivery in deliveries:
        await pass_on(delivery, through)
