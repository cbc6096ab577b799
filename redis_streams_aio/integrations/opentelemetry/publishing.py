"""Producer spans: one for each event that is published, whose context travels in the event's headers.

* `publish` has a span `publish {stream}`, from the call to the reply of Redis.
* An event that leaves with others (`publish_many`, a follow-up) has a span `create {stream}`; the call that sends the
  events of a `publish_many` has a span `publish {stream}` of its own (`sent_together`).

An event that has a `traceparent` already was created elsewhere, for example by an outbox: its headers are left as they
are, and its span has a link to that context.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns

from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span

from ...events.outgoing import Outgoing, PublishNext
from ...telemetry import Published, PublishFailed
from . import names

Attributes = Mapping[str, str | int]


class Publishing:
    """Makes the spans of published events."""

    def __init__(self, tracer: Tracer, propagator: TextMapPropagator, shared: Attributes) -> None:
        self._tracer = tracer
        self._propagator = propagator
        self._shared = shared

    async def around(self, event: Outgoing, call_next: PublishNext) -> None:
        """Publish an event in a span. This is the publish middleware."""
        created = get_current_span(self._propagator.extract(event.headers)).get_span_context()
        with self._tracer.start_as_current_span(
            f"{_name(call_next)} {event.stream}",
            kind=SpanKind.PRODUCER,
            attributes=self._attributes_of(event, call_next),
            links=[Link(created)] if "traceparent" in event.headers and created.is_valid else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                entry_id = await call_next(event if "traceparent" in event.headers else self._with_context(event))
            except Exception as error:
                fail(span, error)
                raise
            if entry_id is not None:
                span.set_attribute(names.MESSAGE_ID, entry_id)

    def sent_together(self, fact: Published | PublishFailed) -> None:
        """Make the span of a call that has sent many events: it is over already."""
        now = time_ns()
        span = self._tracer.start_span(
            f"publish {fact.stream}",
            kind=SpanKind.CLIENT,
            attributes={
                **self._shared,
                names.OPERATION_NAME: "publish",
                names.OPERATION_TYPE: "send",
                names.DESTINATION: fact.stream,
                names.BATCH_COUNT: fact.count,
            },
            start_time=now - round((fact.seconds or 0.0) * 1e9),
        )
        if isinstance(fact, PublishFailed) and fact.exception is not None:
            fail(span, fact.exception)
        span.end(now)

    def _with_context(self, event: Outgoing) -> Outgoing:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return event.with_headers(carrier) if carrier else event

    def _attributes_of(self, event: Outgoing, call_next: PublishNext) -> dict[str, str | int]:
        found: dict[str, str | int] = {
            **self._shared,
            names.OPERATION_NAME: _name(call_next),
            names.OPERATION_TYPE: "send" if call_next.sends else "create",
            names.DESTINATION: event.stream,
            names.EVENT_TYPE: event.event_type or type(event.payload).__name__,
        }
        if event.event_id is not None:
            found[names.EVENT_ID] = event.event_id
        return found


def fail(span: Span, error: BaseException) -> None:
    """Note the error that an operation has raised, and that it has failed."""
    span.record_exception(error)
    span.set_attribute(names.ERROR_TYPE, names.error_type(error))
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def _name(call_next: PublishNext) -> str:
    return "publish" if call_next.sends else "create"
