"""The receivers of a subscription: who handles an entry, as its delivery shows it. One for each handler."""

from __future__ import annotations

from collections.abc import Mapping

from ...events.delivery import Receiver
from ...handlers.routes import RouteTable
from ..holdings import Holdings


def receivers(holdings: Holdings, routes: RouteTable) -> Mapping[str, Receiver]:
    """Return the receiver of each handler, by the handler's name."""
    return {
        route.name: Receiver(holdings.stream, holdings.group, holdings.consumer, route.name, holdings.compose)
        for route in routes.all
    }
