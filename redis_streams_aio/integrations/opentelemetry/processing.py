"""Process spans: one for each call of a handler, as a child of the publisher's span or with a link to it.

A span begins with the handler and ends with it. It is kept open until the outcome of the attempt is known, so that it
has the retry, the dead letter or the acknowledgement as an event, and is an error only if the event was given up: an
error that is retried does not fail it. The time of its end is the end of the handler all the same. The span of a batch
is open until the outcomes of all its items are known.

Without `Observing` beside it, nobody tells outcomes: the span ends with the handler then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import time_ns
from typing import Literal

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, SpanKind, Tracer, get_current_span, set_span_in_context

from ...events.batch import BatchDelivery
from ...events.delivery import Delivery
from ...handlers.options import CallNext
from . import names
from .open_spans import Key, OpenSpan, OpenSpans
from .publishing import Attributes

Relation = Literal["parent", "link"]


class Processing:
    """Makes the spans of handlers."""

    def __init__(
        self, tracer: Tracer, propagator: TextMapPropagator, shared: Attributes, relation: Relation, spans: OpenSpans
    ) -> None:
        self._tracer = tracer
        self._propagator = propagator
        self._shared = shared
        self._relation: Relation = relation
        self._spans = spans

    async def around(self, delivery: Delivery | BatchDelivery, call_next: CallNext) -> None:
        """Call a handler in a span. This is the middleware."""
        items = tuple(delivery) if isinstance(delivery, BatchDelivery) else (delivery,)
        if not items:
            await call_next()
            return
        opened, context = self._begin(delivery, items)
        token = contexts.attach(set_span_in_context(opened.span, context))
        try:
            await call_next()
        except Exception as error:
            opened.raised(error)
            raise
        finally:
            contexts.detach(token)
            self._spans.ended(opened, time_ns())

    def _begin(self, delivery: Delivery | BatchDelivery, items: Sequence[Delivery]) -> tuple[OpenSpan, Context]:
        first = items[0]
        context = self._propagator.extract(first.event.headers) if len(items) == 1 else Context()
        is_child = self._relation == "parent" and not isinstance(delivery, BatchDelivery)
        span = self._tracer.start_span(
            f"process {first.stream}",
            context=context if is_child else Context(),
            kind=SpanKind.CONSUMER,
            attributes=self._attributes_of(delivery, first),
            links=() if is_child else list(self._links(items)),
        )
        for each in items:
            if each.deliveries > 1:
                span.add_event(names.REDELIVERED, {names.MESSAGE_ID: each.id, names.DELIVERY_COUNT: each.deliveries})
        keys = [Key(each.stream, each.group, each.id) for each in items]
        return self._spans.begun(OpenSpan(span, keys)), context

    def _links(self, items: Sequence[Delivery]) -> Iterator[Link]:
        for each in items:
            created = get_current_span(self._propagator.extract(each.event.headers, Context())).get_span_context()
            if created.is_valid:
                yield Link(created, {names.MESSAGE_ID: each.id})

    def _attributes_of(self, delivery: Delivery | BatchDelivery, first: Delivery) -> dict[str, str | int]:
        shared: dict[str, str | int] = {
            **self._shared,
            names.OPERATION_NAME: "process",
            names.OPERATION_TYPE: "process",
            names.DESTINATION: first.stream,
            names.GROUP: first.group,
            names.CLIENT_ID: first.consumer,
            names.HANDLER: first.handler,
        }
        if isinstance(delivery, BatchDelivery):
            return {**shared, names.BATCH_COUNT: len(delivery)}
        event = delivery.event
        of_event: dict[str, str | int] = {
            names.MESSAGE_ID: delivery.id,
            names.EVENT_TYPE: event.event_type,
            names.DELIVERY_COUNT: delivery.deliveries,
            names.FAILURE_COUNT: delivery.failures,
        }
        if event.event_id is not None:
            of_event[names.EVENT_ID] = event.event_id
        return shared | of_event
