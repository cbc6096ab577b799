"""Facts of flow control: a group or a subscription is paused, and goes on."""

from __future__ import annotations

import logging
from typing import ClassVar

from .bases import GroupFact


class Paused(GroupFact, frozen=True, kw_only=True):
    """Somebody has paused the group, for all its consumers: no handler begins. Emitted by each of its processes.

    What to do: nothing, or go on with `redis-streams-aio resume`; see docs/flow-control.md.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "paused{0.told}"
    by: str
    """Who has paused it; empty if unknown."""
    why: str

    @property
    def told(self) -> str:
        """Who has paused it and why, in words."""
        return (f" by {self.by}" if self.by else "") + (f": {self.why}" if self.why else "")


class Resumed(GroupFact, frozen=True, kw_only=True):
    """The group is no longer paused: its handlers begin again."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "goes on after a pause{0.told}"
    by: str
    """Who has resumed it; empty if unknown, as when the pause is gone from Redis (`FLUSHALL`, a lost key)."""
    why: str

    @property
    def told(self) -> str:
        """Who has resumed it and why, in words."""
        return (f", resumed by {self.by}" if self.by else ", which is no longer in Redis") + (
            f": {self.why}" if self.why else ""
        )


class BreakerOpened(GroupFact, frozen=True, kw_only=True):
    """Most calls of a handler failed lately, so its subscription is paused in this process until a probe succeeds.

    What to do: look at the error: something that the handler needs is down. Events wait, and lose no attempts.
    """

    level: ClassVar[int] = logging.ERROR
    line: ClassVar[str] = (
        "breaker of {0.handler} opened: {0.failures} of {0.calls} calls failed, "
        "trying one event in {0.delay:.3g} s: {0.error}"
    )
    handler: str
    calls: int
    failures: int
    delay: float
    error: str


class BreakerClosed(GroupFact, frozen=True, kw_only=True):
    """A probe succeeded: the subscription works again, `seconds` after its breaker opened."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "breaker of {0.handler} closed after {0.seconds:.3g} s"
    handler: str
    seconds: float
