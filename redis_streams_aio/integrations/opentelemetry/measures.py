"""Metrics: the four of the conventions, and those that only Redis streams have. They are made from facts.

Their attributes are bounded: stream, group, handler, event type, outcome, reason, and the class of an error. There is
no entry id, no key and no consumer in them.
"""

from __future__ import annotations

from opentelemetry.metrics import Meter

from ...telemetry import (
    DeadLettered,
    EntriesVanished,
    Handled,
    LagMeasured,
    LeaseLost,
    Published,
    PublishFailed,
    Reclaimed,
    RetryScheduled,
)
from . import names
from .publishing import Attributes


class Measures:
    """The instruments of one meter."""

    def __init__(self, meter: Meter, shared: Attributes) -> None:
        self._shared = shared
        histogram = meter.create_histogram
        self._operation = histogram(
            names.OPERATION_DURATION,
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )
        self._process = histogram(
            names.PROCESS_DURATION,
            "s",
            "Duration of processing operation.",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )
        counter = meter.create_counter
        self._sent = counter(names.SENT, "{message}", "Number of messages producer attempted to send to the broker.")
        self._consumed = counter(
            names.CONSUMED, "{message}", "Number of messages that were delivered to the application."
        )
        self._dead = counter(names.DEAD_LETTERS, "{message}", "Number of events that were moved to the dead letters.")
        self._reclaimed = counter(names.RECLAIMED, "{message}", "Number of entries taken over from other consumers.")
        self._lost = counter(names.LEASES_LOST, "{message}", "Number of entries whose lease was lost.")
        self._vanished = counter(names.VANISHED, "{message}", "Number of entries deleted or trimmed while pending.")
        gauge = meter.create_gauge
        self._lag = gauge(names.LAG, "{message}", "Entries that the group has not read yet, where Redis knows it.")
        self._known = gauge(names.LAG_KNOWN, "1", "1 if the lag of the group is known, else 0.")
        self._pending = gauge(names.PENDING, "{message}", "Entries that the group has read and not settled.")
        self._age = gauge(names.OLDEST_AGE, "s", "Age of the oldest entry that the group has not settled.")
        self._error: tuple[str, str] = "", ""
        """The id of the last event that failed, and the class of its error: `Handled` follows at once."""

    def published(self, fact: Published) -> None:
        """Measure a call that has published events, or a follow-up."""
        attributes = self._of_sending(fact.stream)
        self._sent.add(fact.count, attributes)
        if fact.seconds is not None:
            self._operation.record(fact.seconds, attributes)

    def publish_failed(self, fact: PublishFailed) -> None:
        """Measure a call that has raised an error."""
        kind = "_OTHER" if fact.exception is None else names.error_type(fact.exception)
        attributes = self._of_sending(fact.stream) | {names.ERROR_TYPE: kind}
        self._sent.add(fact.count, attributes)
        self._operation.record(fact.seconds, attributes)

    def failed(self, fact: RetryScheduled | DeadLettered) -> None:
        """Remember the error of an attempt; count a dead letter."""
        kind = "_OTHER" if fact.exception is None else names.error_type(fact.exception)
        self._error = fact.id, kind
        if isinstance(fact, DeadLettered):
            self._dead.add(1, self._of_group(fact.stream, fact.group) | {names.REASON: fact.reason})

    def handled(self, fact: Handled) -> None:
        """Measure an attempt."""
        attributes = self._of_group(fact.stream, fact.group) | {
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.HANDLER: fact.handler,
            names.OUTCOME: fact.outcome,
        }
        failed, kind = self._error
        if failed == fact.id and fact.outcome in ("retried", "dead_letter"):
            attributes[names.ERROR_TYPE] = kind
        self._consumed.add(1, attributes)
        self._process.record(fact.seconds, attributes)

    def counted(self, fact: Reclaimed | LeaseLost | EntriesVanished) -> None:
        """Count entries that were taken over, lost or deleted."""
        attributes = self._of_group(fact.stream, fact.group)
        match fact:
            case Reclaimed():
                self._reclaimed.add(fact.count, attributes)
            case LeaseLost():
                self._lost.add(1, attributes)
            case EntriesVanished():
                self._vanished.add(len(fact.ids), attributes)

    def lag(self, fact: LagMeasured) -> None:
        """Measure how far a group is behind. A lag that is not known is not a number."""
        report = fact.report
        attributes = self._of_group(report.stream, report.group)
        self._known.set(0 if report.lag is None else 1, attributes)
        if report.lag is not None:
            self._lag.set(report.lag, attributes)
        self._pending.set(report.pending, attributes)
        self._age.set(report.oldest_age or 0.0, attributes)

    def _of_sending(self, stream: str) -> dict[str, str | int]:
        return {
            **self._shared,
            names.OPERATION_NAME: "publish",
            names.OPERATION_TYPE: "send",
            names.DESTINATION: stream,
        }

    def _of_group(self, stream: str, group: str) -> dict[str, str | int]:
        return {**self._shared, names.DESTINATION: stream, names.GROUP: group}
