"""Fates of deliveries as values, which `consumer.settle` writes to Redis.

Who decides them:

* `consumer.work.attempt.route_or_fate`, before a handler is called: no handler takes the event, it was delivered too
  often, its payload cannot be decoded, or it was replayed for another group.
* `consumer.settle.duplicates`, before a handler is called: the event is a copy of another one.
* `consumer.work.attempt.fate_after`, after the call: acknowledge, complete or abandon. It asks `retry.decide` if the
  handler has raised, or has called `delivery.retry`, `reject` or `fail`.
* `StreamConsumer`, which has no handler, for a payload that it cannot decode.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from ..events.follow_ups import FollowUp
from .error_texts import forget_locals


class Ack(msgspec.Struct, frozen=True):
    """Acknowledge the event: it was handled, or it is a copy of a handled event, or no handler takes it."""


class Complete(msgspec.Struct, frozen=True):
    """Acknowledge, and in the same step publish the follow-ups and remember the event for `deduplicate`."""

    follow_ups: tuple[FollowUp, ...]
    """Events to publish."""
    remember: float | None
    """Seconds for which copies of the event are dropped as duplicates; `None` to handle copies too."""


class Abandon(msgspec.Struct, frozen=True):
    """Write nothing: another consumer has the event now."""


class Postpone(msgspec.Struct, frozen=True):
    """Wait until a moment and keep the place in the order: the handler cannot begin now. Nothing is written."""

    until: float
    """On the event loop's clock."""


class AwaitCopy(msgspec.Struct, frozen=True):
    """Wait until a moment and let other events pass, because another copy of the event is being handled.

    Nothing is written.
    """

    until: float
    """On the event loop's clock."""


class Failure:
    """The exception of an attempt, and how long the attempt took.

    A fate carries its failure for reports. Two fates that differ only in their failure are equal.
    """

    __slots__ = ("exception", "is_told", "seconds")

    def __init__(self, exception: BaseException, seconds: float | None) -> None:
        self.exception: BaseException = exception
        self.seconds: float | None = seconds
        self.is_told: bool = False
        """Whether its traceback is logged with another event of the same batch."""

    def forget_locals(self) -> None:
        """Release the local variables that the traceback holds, because the exception may be kept until Redis is
        back.
        """
        forget_locals(self.exception)

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Failure)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # equal to `None`


class Retry(msgspec.Struct, frozen=True):
    """Handle the event again, not before `delay` seconds from now."""

    delay: float
    failures: int
    """Failures so far, this one included (unchanged by `RetryLater`)."""
    error: str
    failure: Failure | None = None


class DeadLetter(msgspec.Struct, frozen=True):
    """Give up on the event: move it to the dead letters."""

    reason: str
    """A word for filters: `failures`, `gave_up`, `deadline`, `rejected`, `deliveries`, `undecodable`, `unhandled`."""
    error: str
    failures: int
    traceback: str = ""
    failure: Failure | None = None


Fate = Ack | Complete | Abandon | Postpone | AwaitCopy | Retry | DeadLetter
"""The fate of a delivery."""

ACK = Ack()
ABANDON = Abandon()
