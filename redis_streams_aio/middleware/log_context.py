"""`LogContext`: lines that a handler logs say which event it handles.

A middleware keeps the stream, the group, the handler, the entry id, the event type and the attempt of the event in a
context variable. A filter writes them, as attributes of the same names, into every log record of the handler and of the
tasks that it starts. They are the names that the library's own lines have, so one formatter or query fits both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar

from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..handlers.options import CallNext
from .correlation import Correlation

NOTHING: Mapping[str, object] = {}


class LogContext(logging.Filter):
    """A middleware (`handling`), and a filter for `logging.Handler.addFilter`.

    ```python
    context = LogContext(correlation)
    logging.getLogger().handlers[0].addFilter(context)
    broker = Broker("redis://localhost:6379/0", group="billing", middleware=[correlation.handling, context.handling])
    ```

    With a `correlation`, whose own middleware must be before this one, records have its current id as `correlation_id`,
    also outside of handlers. An attribute that a record already has is not changed.
    """

    def __init__(self, correlation: Correlation | None = None) -> None:
        super().__init__()
        self._correlation = correlation
        self._fields: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=NOTHING)

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields of the event that is handled here; empty outside of handlers."""
        return self._fields.get()

    async def handling(self, delivery: Delivery | BatchDelivery, call_next: CallNext) -> None:
        """Keep the fields of the event while its handler runs; of a batch those of the first item, and its `count`."""
        token = self._fields.set(_fields_of(delivery))
        try:
            await call_next()
        finally:
            self._fields.reset(token)

    def filter(self, record: logging.LogRecord) -> bool:
        """Write the fields into a log record. Refuses none."""
        for name, value in self.fields.items():
            record.__dict__.setdefault(name, value)
        if self._correlation is not None and (current := self._correlation.current) is not None:
            record.__dict__.setdefault("correlation_id", current)
        return True


def _fields_of(delivery: Delivery | BatchDelivery) -> Mapping[str, object]:
    if isinstance(delivery, BatchDelivery):
        return {**_fields_of(delivery[0]), "count": len(delivery)}
    return {
        "stream": delivery.stream,
        "group": delivery.group,
        "consumer": delivery.consumer,
        "handler": delivery.handler,
        "id": delivery.id,
        "event_type": delivery.event.event_type,
        "attempt": delivery.attempt,
    }
