"""`SubscriptionStatus`: the state of one subscription, for people and probes."""

from __future__ import annotations

import msgspec


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """The state of a subscription."""

    stream: str
    group: str
    consumer: str
    running: int
    """Deliveries in a handler."""
    buffered: int
    """Deliveries that wait for a free worker, or for another delivery of their lane."""
    delayed: int
    """Deliveries that wait for their retry, for a copy of their event, or for Redis to accept their fate."""
    unwritten: int
    """Acknowledgements that Redis has not confirmed yet."""
    settled: int
    """Deliveries that were settled since the start."""
    vanished: int
    """Entries that were deleted or trimmed while they were pending, since the start."""
    ready: bool
    """Whether its reads come back (see `Broker.ready`)."""
