"""What is told of an event that failed: its facts, and the traceback of its first failure."""

from __future__ import annotations

from ...events.delivery import Delivery
from ...handlers.fates import DeadLetter, Failure, Retry
from ...telemetry import DeadLettered, Postponed, RetryScheduled
from ..holdings import Holdings


def of_retry(holdings: Holdings, delivery: Delivery, fate: Retry) -> None:
    """Tell that an event failed and will be handled again."""
    exception, seconds = _how(fate.failure)
    fact = RetryScheduled(
        **holdings.about(delivery),
        failures=fate.failures,
        delay=round(fate.delay, 3),
        error=fate.error,
        seconds=seconds,
        exception=exception,
    )
    holdings.telemetry.emit(fact, _traced(fate.failure, fate.failures))


def of_wish(holdings: Holdings, delivery: Delivery, fate: Retry) -> None:
    """Tell that a handler asked for its event later."""
    _, seconds = _how(fate.failure)
    holdings.telemetry.emit(Postponed(**holdings.about(delivery), delay=round(fate.delay, 3), seconds=seconds))


def of_dead_letter(holdings: Holdings, delivery: Delivery, fate: DeadLetter) -> None:
    """Tell that an event was given up."""
    exception, seconds = _how(fate.failure)
    fact = DeadLettered(
        **holdings.about(delivery),
        reason=fate.reason,
        error=fate.error,
        failures=fate.failures,
        seconds=seconds,
        exception=exception,
    )
    holdings.telemetry.emit(fact, _traced(fate.failure, fate.failures))


def _how(failure: Failure | None) -> tuple[BaseException | None, float | None]:
    return (failure.exception, failure.seconds) if failure is not None else (None, None)


def _traced(failure: Failure | None, failures: int) -> BaseException | None:
    """The exception whose traceback is logged: of an event's first failure, and once for all events of a batch."""
    return failure.exception if failure is not None and failures <= 1 and not failure.is_told else None
