"""Lanes decide which deliveries of a subscription wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context

from ...events.delivery import Delivery
from ...events.wire_format import EVENT_ID, get
from ...handlers.routes import Plan
from .attempt import lane_by_key

_ONE_LANE = "stream"


class Lanes:
    """Chooses the lane of each delivery by the order of its subscription."""

    def __init__(self, plan: Plan, context: Context) -> None:
        self._order = plan.options.order
        self._key = plan.options.key
        self._routes = plan.routes
        self._context = context

    def assign(self, deliveries: Sequence[Delivery]) -> None:
        """Set the lane of each delivery; a delivery without a lane waits for no other."""
        if self._order == "stream":
            for delivery in deliveries:
                delivery.lane = _ONE_LANE
        elif self._order == "key":
            for delivery in deliveries:
                delivery.lane = self._by_key(delivery)
        elif self._routes.deduplicates:
            for delivery in deliveries:
                delivery.lane = get(delivery.fields, EVENT_ID)  # copies of one event wait for each other

    def _by_key(self, delivery: Delivery) -> object:
        if self._key is None:
            return lane_by_key(delivery, self._routes, None)
        # the key function is user code, so it runs in its own context
        return self._context.copy().run(lane_by_key, delivery, self._routes, self._key)
