"""Report failed events: their facts, the outcomes of their attempts, and the traceback of the first failure."""

from __future__ import annotations

from collections.abc import Iterable

from ...connection.packing import Command, pack
from ...handlers.error_texts import shortened
from ...handlers.fates import DeadLetter, Failure, Retry
from ...telemetry import DeadLettered, Postponed, Published, RetryScheduled
from ..entry import Entry
from ..holdings import Holdings


def of_retry(holdings: Holdings, entry: Entry, fate: Retry) -> None:
    """Report that an event failed and will be retried."""
    exception, seconds = _how(fate.failure)
    fact = RetryScheduled(
        **holdings.about(entry),
        failures=fate.failures,
        delay=round(fate.delay, 3),
        error=fate.error,
        seconds=seconds,
        exception=exception,
    )
    holdings.telemetry.emit(fact, _traced(fate.failure, fate.failures))
    holdings.outcomes.tell((entry.raw_id,), "retried")


def of_wish(holdings: Holdings, entry: Entry, fate: Retry) -> None:
    """Report that a handler asked to retry its event later."""
    _, seconds = _how(fate.failure)
    holdings.telemetry.emit(Postponed(**holdings.about(entry), delay=round(fate.delay, 3), seconds=seconds))
    holdings.outcomes.tell((entry.raw_id,), "postponed")


def of_dead_letter(holdings: Holdings, entry: Entry, fate: DeadLetter) -> None:
    """Report that an event was dead-lettered."""
    exception, seconds = _how(fate.failure)
    fact = DeadLettered(
        **holdings.about(entry),
        reason=fate.reason,
        error=fate.error,
        failures=fate.failures,
        seconds=seconds,
        exception=exception,
    )
    holdings.telemetry.emit(fact, _traced(fate.failure, fate.failures))
    holdings.outcomes.tell((entry.raw_id,), "dead_letter")


def of_follow_ups(holdings: Holdings, commands: Iterable[Command]) -> None:
    """Report that follow-ups of a handler were published by these commands, if an observer wants to know it."""
    if not holdings.telemetry.wants(Published):
        return
    for command in commands:
        fact = Published(
            stream=str(command[1]),
            event_type=shortened(str(command[command.index("*") + 2])),  # behind the name of the first field
            by="follow_up",
            count=1,
            bytes=len(pack(command)),
            seconds=None,
        )
        holdings.telemetry.emit(fact)


def _how(failure: Failure | None) -> tuple[BaseException | None, float | None]:
    return (failure.exception, failure.seconds) if failure is not None else (None, None)


def _traced(failure: Failure | None, failures: int) -> BaseException | None:
    """Return the exception whose traceback is logged: the first failure of an event, and once for a whole batch."""
    return failure.exception if failure is not None and failures <= 1 and not failure.is_told else None
