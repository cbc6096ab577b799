"""Facts about the life of subscriptions: one has joined its group, and all have drained."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ..consumer.subscription import Subscription
from ..telemetry import Drained, Subscribed


class Drain:
    """Remembers the beginning of a drain, to tell of it at its end."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._holdings = [subscription.holdings for subscription in subscriptions]
        self._began = anyio.current_time()
        self._settled_before = self._settled

    @property
    def _settled(self) -> int:
        return sum(holdings.settled_count for holdings in self._holdings)

    def fact(self) -> Drained:
        """Return how long it took, and what became of the entries."""
        return Drained(
            seconds=round(anyio.current_time() - self._began, 3),
            settled=self._settled - self._settled_before,
            released=sum(holdings.released for holdings in self._holdings),
        )


def subscribed(subscription: Subscription) -> Subscribed:
    """Return the fact that a subscription has joined its group."""
    options = subscription.options
    return Subscribed(
        stream=options.stream,
        group=options.group,
        consumer=subscription.holdings.consumer,
        handlers=tuple(route.name for route in subscription.routes.all),
        concurrency=options.concurrency,
        order=options.order,
        batch=options.batch,
    )
