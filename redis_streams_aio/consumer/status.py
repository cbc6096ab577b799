"""The state of a subscription and of a `StreamConsumer`, for people and probes."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..models import Pause

ConsumerState = Literal["starting", "running", "draining", "stopped", "failed"]


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
    paused: Pause | None = None
    """Who has paused it, why, and since when; `None` while it is not paused."""


class ConsumerStatus(msgspec.Struct, frozen=True):
    """The state of a `StreamConsumer`."""

    state: ConsumerState
    held: int
    """Entries that Redis handed out to it and that are not settled yet."""
    buffered: int
    """Held entries that are not yielded yet."""
    unwritten: int
    """Acknowledgements that Redis has not confirmed yet."""
    settled: int
    """Entries settled since it started."""
    error: str | None = None
    """Why it failed."""
    paused: Pause | None = None
    """Who has paused its group, why, and since when: nothing is yielded meanwhile. `None` while it is not paused."""
