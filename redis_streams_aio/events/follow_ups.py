"""Follow-ups: events that a handler publishes together with the acknowledgement of its own event."""

from __future__ import annotations

import msgspec

from .outgoing import Command, Outgoing


class FollowUp(msgspec.Struct, frozen=True):
    """An event that a handler publishes together with its own event's acknowledgement."""

    command: Command
    """The complete `XADD`."""
    atomic: bool
    event: Outgoing | None = None
    """The event, if it has not gone through the publish middleware."""


class WithAcknowledgement(Outgoing, frozen=True, kw_only=True):
    """Publish an event in one atomic step with this event's acknowledgement: both happen, or neither.

    The event is sent when the handler has ended. If the handler fails, the event is not sent; a retry calls `publish`
    again. Each entry sends its events once, even if two consumers handle it. `event_type`, `key`, `event_id` and
    `headers` are those of `Broker.publish`.

    `atomic`: one atomic step can only write to one slot of a Cluster. So `stream` must have the same hash tag as the
    handler's stream (`{orders}:invoices` beside `orders`), even if there is no Cluster yet. With `atomic=False` the
    event can go to any stream; it is sent before the acknowledgement, at least once: after a crash in between, or a
    lost answer, it is sent again.

    Raises `SettledError`, `InvalidEventError`, and the errors that `Broker.publish` raises before sending.
    """

    atomic: bool = True
