"""The subscriptions of an open broker that are not closed yet.

The supervisor adds and removes them, one at any time. Everybody who has something to do for all of them (leases, lag,
checkpoints, watches) asks here at each step, and keeps no list of its own. A subscription that drains stays until its
last fate is written, so its leases are renewed until then. Any thread may ask.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..consumer.holdings import Holdings
from ..consumer.subscription import Subscription


class Running:
    """Subscriptions, in the order of their start."""

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()  # replaced, never changed: another thread may iterate

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._subscriptions)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, subscription: Subscription) -> None:
        """Add a subscription."""
        self._subscriptions = (*self._subscriptions, subscription)

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription, if it is here."""
        self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)

    def holdings(self) -> list[Holdings]:
        """Return what each of them holds."""
        return [subscription.holdings for subscription in self._subscriptions]

    def groups(self) -> list[tuple[str, str]]:
        """Return the stream and the group of each of them."""
        return [(each.options.stream, each.options.group) for each in self._subscriptions]
