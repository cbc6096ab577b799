"""Facts: what happened, as frozen records given to observers. Logging, metrics and tests are observers.

An observer is any function that takes a fact. It is called synchronously, in the event loop, and must return
quickly; when it raises, that is logged and nothing else happens (P14). With no observer, facts of the hot path
(`Fetched`, `Settled`) are not even made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, ParamSpec

import msgspec

from .models import LagReport

_logger = logging.getLogger("redis_streams_aio")
P = ParamSpec("P")


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. `level` is the `logging` level it is logged at."""

    level: ClassVar[int] = logging.DEBUG


class GroupFact(Fact, frozen=True, kw_only=True):
    """A fact about one consumer group."""

    stream: str
    group: str


class Fetched(GroupFact, frozen=True, kw_only=True):
    """New entries came with one read."""

    count: int


class Settled(GroupFact, frozen=True, kw_only=True):
    """Entries were acknowledged, in one round trip."""

    count: int


class RetryScheduled(GroupFact, frozen=True, kw_only=True):
    """A handler raised; the event will be handled again."""

    level: ClassVar[int] = logging.WARNING
    id: str
    failures: int
    delay: float
    error: str


class DeadLettered(GroupFact, frozen=True, kw_only=True):
    """An event was moved to the dead letters."""

    level: ClassVar[int] = logging.ERROR
    id: str
    reason: str
    error: str


class DuplicateDropped(GroupFact, frozen=True, kw_only=True):
    """A copy of an event that was handled already was acknowledged unhandled (`deduplicate`)."""

    level: ClassVar[int] = logging.INFO
    id: str


class LeaseLost(GroupFact, frozen=True, kw_only=True):
    """An entry that this process held belongs to another consumer now, or is gone."""

    level: ClassVar[int] = logging.WARNING
    id: str


class Recovered(GroupFact, frozen=True, kw_only=True):
    """This consumer's own pending entries were picked up again (P5)."""

    level: ClassVar[int] = logging.INFO
    count: int


class Reclaimed(GroupFact, frozen=True, kw_only=True):
    """Entries of consumers that are gone were taken over (P2)."""

    level: ClassVar[int] = logging.INFO
    count: int


class Released(GroupFact, frozen=True, kw_only=True):
    """Entries were given back at a drain (P27)."""

    level: ClassVar[int] = logging.INFO
    count: int


class EntriesVanished(GroupFact, frozen=True, kw_only=True):
    """Entries were deleted or trimmed while they were pending: they cannot be handled any more (P20)."""

    level: ClassVar[int] = logging.ERROR
    ids: tuple[str, ...]


class ConsumerRemoved(GroupFact, frozen=True, kw_only=True):
    """The name of a consumer that is gone was removed from the group (P22)."""

    level: ClassVar[int] = logging.INFO
    consumer: str


class GroupRecreated(GroupFact, frozen=True, kw_only=True):
    """The group was lost and was made again at this position (P17)."""

    level: ClassVar[int] = logging.WARNING
    position: str


class CheckpointSaved(GroupFact, frozen=True, kw_only=True):
    """The group's checkpoint was written."""

    id: str


class LagMeasured(Fact, frozen=True, kw_only=True):
    """The lag watcher looked."""

    report: LagReport


class LagHigh(Fact, frozen=True, kw_only=True):
    """A group has fallen behind by more than the high mark (P28)."""

    level: ClassVar[int] = logging.WARNING
    report: LagReport


class LagLow(Fact, frozen=True, kw_only=True):
    """A group that was behind has caught up to the low mark (P28)."""

    level: ClassVar[int] = logging.INFO
    report: LagReport


class StreamPastBound(Fact, frozen=True, kw_only=True):
    """A stream is longer than the bound it was to be watched for."""

    level: ClassVar[int] = logging.WARNING
    stream: str
    length: int
    bound: int


class StepFailed(Fact, frozen=True, kw_only=True):
    """A duty of the broker could not be done now and will be tried again after `delay` seconds (P16)."""

    level: ClassVar[int] = logging.WARNING
    duty: str
    error: str
    delay: float


Observer = Callable[[Fact], None]


class Telemetry:
    """Gives facts to the log and to the observers."""

    __slots__ = ("_observers", "active")

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self.active: bool = bool(self._observers)
        """Whether anyone but the log listens: facts of the hot path are made only then."""

    def emit(self, fact: Fact) -> None:
        """Log the fact at its level, and tell every observer."""
        _logger.log(fact.level, "%s", fact)
        for observer in self._observers:
            self.guard(observer, fact)

    def guard(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a user's function; what it raises is logged and goes no further (P14)."""
        try:
            callback(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # also a CancelledError: nothing can cancel a call that does not wait
            _logger.exception("callback %r raised", callback)


SILENT = Telemetry()
"""Telemetry without observers: only the log."""
