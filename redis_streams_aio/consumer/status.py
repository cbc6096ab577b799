"""`SubscriptionStatus`: what one subscription is doing, for people and probes."""

from __future__ import annotations

import msgspec


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """What a subscription is doing."""

    stream: str
    group: str
    consumer: str
    running: int
    """Deliveries in a handler."""
    buffered: int
    """Deliveries that wait for a free worker, or behind another of their lane."""
    delayed: int
    """Deliveries that wait for their retry, for a copy to end, or for Redis to take their fate."""
    unwritten: int
    """Acknowledgements that Redis has not confirmed yet."""
    settled: int
    """Deliveries settled since the start."""
    vanished: int
    """Entries that were deleted or trimmed while they were pending, since the start."""
    ready: bool
    """Whether its reads come back (see `Broker.ready`)."""
