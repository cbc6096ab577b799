"""Let time pass for a broker in a test: move its clock, and make its state in Redis older."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from ..connection import Connection
from ..consumer.subscription import Subscription
from .clock import age, age_marks
from .movable_clock import MovableClock


async def advance(
    connection: Connection,
    subscriptions: Sequence[Subscription],
    deduplicating: Iterable[tuple[str, str]],
    clock: MovableClock,
    seconds: float,
) -> None:
    """Let time pass. Streams and groups `deduplicating` have marks of handled events, which expire.

    The clock is moved first, so that entries taken over later wait only for the rest of their time. All groups are made
    older at once; later writes of handlers are not made older.
    """
    for stream, group in deduplicating:
        await age_marks(connection, stream, group, seconds)
    clock.advance(seconds)
    living = {each.holdings.consumer for each in subscriptions}
    await asyncio.gather(*(_age(connection, each, seconds, living) for each in subscriptions))


async def _age(connection: Connection, subscription: Subscription, seconds: float, living: set[str]) -> None:
    await age(connection, subscription.options, seconds, living)
    subscription.search_soon()
