"""The facts about one event, each with its level and its line."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

from .bases import EventFact

Outcome = Literal["acknowledged", "retried", "dead_letter", "postponed", "released", "lost"]
"""The outcome of an attempt; see `Handled`."""


class Handled(EventFact, frozen=True, kw_only=True):
    """One attempt is over: a handler was called with an event, and the outcome is written in Redis, or is known.

    Emitted once for each call and event, for a batch once for each item, after all other facts about the attempt.
    Events that never reach a handler (`unhandled`, `undecodable`, copies) have none.

    * `acknowledged`: Redis has confirmed the acknowledgement.
    * `retried`: the failure is written, and the event will be handled again.
    * `postponed`: the same at the handler's wish (`RetryLater`), which is not a failure.
    * `dead_letter`: the event is in the dead letters.
    * `released`: the end of a drain cancelled the handler, or its fate could not be written until then, and the event
      was released for other consumers.
    * `lost`: nothing was written. The lease was lost, Redis refused the fate for good, or it did not confirm the fate
      before the broker was closed. The event may be handled again elsewhere.

    A process that dies emits nothing for the attempts that were not over.
    """

    line: ClassVar[str] = "{0.outcome} after {0.seconds:.3g} s: {0.event}"
    began: float
    """When the handler was called, in epoch seconds of this machine's clock."""
    seconds: float
    """How long the call took; for an event of a `StreamConsumer`, until its outcome was known."""
    outcome: Outcome


class RetryScheduled(EventFact, frozen=True, kw_only=True):
    """A handler raised an error, and the event will be handled again.

    What to do: correct the cause of the error before the event becomes a dead letter.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "retry in {0.delay:.3g} s after failure {0.failures} of {0.event}: {0.error}"
    failures: int
    delay: float
    error: str
    seconds: float | None = None
    """How long the attempt took; `None` if unknown."""
    exception: BaseException | None = None
    """The handler's exception; `None` if it is no longer known."""


class Postponed(EventFact, frozen=True, kw_only=True):
    """A handler asked to retry its event later (`RetryLater`). This is not counted as a failure."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "retry in {0.delay:.3g} s, as its handler asked: {0.event}"
    delay: float
    seconds: float | None = None


class DeadLettered(EventFact, frozen=True, kw_only=True):
    """An event was moved to the dead letters.

    What to do: correct the cause, then replay the dead letter; see docs/dead-letters.md.
    """

    level: ClassVar[int] = logging.ERROR
    line: ClassVar[str] = "dead letter ({0.reason}): {0.event} after {0.times}: {0.error}"
    reason: str
    error: str
    failures: int = 0
    seconds: float | None = None
    exception: BaseException | None = None

    @property
    def times(self) -> str:
        """The number of failures, in words."""
        return "1 failure" if self.failures == 1 else f"{self.failures} failures"


class DuplicateDropped(EventFact, frozen=True, kw_only=True):
    """A copy of an event that is already handled was acknowledged without a handler (`deduplicate`)."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "dropped a copy of an event that is already handled: {0.event}"


class LeaseLost(EventFact, frozen=True, kw_only=True):
    """An entry that this process held now belongs to another consumer, or no longer exists.

    What to do: if it happens often, look for a handler that blocks the event loop, or for a slow network, or raise
    `lease`; see docs/delivery.md.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "lost the lease of {0.event}: another consumer may handle it now"


class HandlerSlow(EventFact, frozen=True, kw_only=True):
    """A handler has been running for longer than a lease: it hangs, or it is slow. Emitted once for each call.

    What to do: look at the line that `where` names; set `timeout` for handlers that may hang.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "running for {0.seconds:.3g} s: {0.event}, at {0.where}"
    seconds: float
    where: str
    """Where the handler is now: file, line and function."""
    count: int = 1
    """The number of events that the handler is handling; `id` is the id of the first."""
