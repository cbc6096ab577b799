"""Spans of attempts whose outcome is not known yet, and the events that facts add to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns
from typing import NamedTuple

from opentelemetry.trace import Span, Status, StatusCode

from ...exceptions import HandlerSignal
from ...handlers.error_texts import describe
from ...telemetry import DeadLettered, EventFact, Handled, LeaseLost, Postponed, RetryScheduled
from . import names


class Key(NamedTuple):
    """Names an entry in a group."""

    stream: str
    group: str
    id: str


class OpenSpan:
    """The span of one call of a handler, for one entry or for the entries of a batch."""

    def __init__(self, span: Span, keys: Sequence[Key]) -> None:
        self.span: Span = span
        self.keys: Sequence[Key] = keys
        self.left: set[Key] = set(keys)
        """The entries whose outcome is not known."""
        self.ended_at: int | None = None
        """When the handler ended, in nanoseconds; `None` while it runs."""
        self._error: BaseException | None = None

    def raised(self, error: BaseException) -> None:
        """Note the error of the handler."""
        if not isinstance(error, HandlerSignal):
            self._error = error
            self.span.record_exception(error)

    def fail(self, error_type: str, text: str) -> None:
        """Note that an event was given up: by an error of this class, unless the handler's own is known."""
        self.span.set_attribute(names.ERROR_TYPE, names.error_type(self._error) if self._error else error_type)
        self.span.set_status(Status(StatusCode.ERROR, text))

    def end_untold(self) -> None:
        """End the span of a call whose outcome nobody tells: its error is all that is known."""
        if self._error is not None:
            self.fail("", describe(self._error))
        self.end()

    def end(self) -> None:
        """End the span at the end of the handler."""
        self.left.clear()
        self.span.end(self.ended_at)


class OpenSpans:
    """The spans of one process that are open."""

    def __init__(self) -> None:
        self._by_key: dict[Key, OpenSpan] = {}
        self.are_observed: bool = False
        """Whether outcomes are told, so that spans wait for them."""

    def __len__(self) -> int:
        return len(self._by_key)

    def begun(self, opened: OpenSpan) -> OpenSpan:
        """Keep a span, whose handler begins now."""
        for key in opened.keys:
            if (before := self._by_key.get(key)) is not None and before.ended_at is not None:
                self._settle(before, key)
            self._by_key[key] = opened
        return opened

    def ended(self, opened: OpenSpan, at: int) -> None:
        """Note the end of the handler. The span ends now if nobody tells its outcome, or it is told already."""
        opened.ended_at = at
        if not self.are_observed:
            for key in opened.keys:
                self._by_key.pop(key, None)
            opened.end_untold()
        elif not opened.left:
            opened.end()

    def tell(self, fact: EventFact) -> None:
        """Add a fact to the span of its event as an event, if there is one."""
        key = Key(fact.stream, fact.group, fact.id)
        if (opened := self._by_key.get(key)) is None:
            return
        if isinstance(fact, DeadLettered):
            opened.fail(fact.reason, describe(fact.exception) if fact.exception else fact.error)
        name, attributes = _event_of(fact)
        opened.span.add_event(name, {names.MESSAGE_ID: fact.id, **attributes}, time_ns())
        if isinstance(fact, Handled):
            self._settle(opened, key)

    def _settle(self, opened: OpenSpan, key: Key) -> None:
        self._by_key.pop(key, None)
        opened.left.discard(key)
        if not opened.left and opened.ended_at is not None:
            opened.end()


def _event_of(fact: EventFact) -> tuple[str, Mapping[str, str | int | float]]:
    """Return the name and the attributes of the event of a fact."""
    match fact:
        case RetryScheduled():
            return names.RETRY, {names.FAILURE_COUNT: fact.failures, names.DELAY: fact.delay}
        case Postponed():
            return names.POSTPONED, {names.DELAY: fact.delay}
        case DeadLettered():
            return names.DEAD_LETTER, {names.FAILURE_COUNT: fact.failures, names.REASON: fact.reason}
        case LeaseLost():
            return names.LEASE_LOST, {}
        case Handled():
            return names.SETTLED, {names.OUTCOME: fact.outcome}
        case _:
            raise TypeError(f"{type(fact).__name__} is not an event of a span")
