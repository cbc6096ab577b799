"""The observer: each fact is measured, and told to the span of its event."""

from __future__ import annotations

from typing import ClassVar

from ...telemetry import (
    DeadLettered,
    EntriesVanished,
    EventFact,
    Fact,
    Handled,
    LagMeasured,
    LeaseLost,
    Postponed,
    Published,
    PublishFailed,
    Reclaimed,
    RetryScheduled,
    Subscribed,
)
from .measures import Measures
from .open_spans import OpenSpans
from .publishing import Publishing


class Observing:
    """Gives facts to the metrics and to the spans."""

    kinds: ClassVar[tuple[type[Fact], ...]] = (
        DeadLettered,
        EntriesVanished,
        Handled,
        LagMeasured,
        LeaseLost,
        Postponed,
        Published,
        PublishFailed,
        Reclaimed,
        RetryScheduled,
        Subscribed,
    )

    def __init__(self, measures: Measures, publishing: Publishing, spans: OpenSpans) -> None:
        self._measures = measures
        self._publishing = publishing
        self._spans = spans

    def __call__(self, fact: Fact) -> None:
        """Take a fact."""
        match fact:
            case Handled():
                self._measures.handled(fact)
            case RetryScheduled() | DeadLettered():
                self._measures.failed(fact)
            case LeaseLost() | Reclaimed() | EntriesVanished():
                self._measures.counted(fact)
            case LagMeasured():
                self._measures.lag(fact)
            case Subscribed():
                self._spans.are_observed = True
            case Published() | PublishFailed():
                self._published(fact)
        if isinstance(fact, EventFact):
            self._spans.tell(fact)

    def _published(self, fact: Published | PublishFailed) -> None:
        if fact.by == "publish_many":
            self._publishing.sent_together(fact)
        if isinstance(fact, Published):
            self._measures.published(fact)
        else:
            self._measures.publish_failed(fact)
