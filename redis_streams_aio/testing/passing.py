"""Time passes for a broker in a test: its own clock is moved, and whatever Redis keeps for it is made older."""

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

    The clock is moved first: whatever is taken over after that waits for what is left of its time. All groups are made
    older at once: what handlers write from then on is young.
    """
    for stream, group in deduplicating:
        await age_marks(connection, stream, group, seconds)
    clock.advance(seconds)
    living = {each.holdings.consumer for each in subscriptions}
    await asyncio.gather(*(_age(connection, each, seconds, living) for each in subscriptions))


async def _age(connection: Connection, subscription: Subscription, seconds: float, living: set[str]) -> None:
    await age(connection, subscription.options, seconds, living)
    subscription.look()
