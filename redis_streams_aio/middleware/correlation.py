"""`Correlation`: one id for everything that follows from one request or event.

The id travels in a header. While a handler handles an event, the event's id is the current one, and everything that is
published meanwhile gets it: by `Broker.publish`, by `delivery.publish`, and by tasks that the handler starts.

An event without the header begins a new story: while it is handled, the current id is its stream and its entry id, the
same in each attempt. An event that is published where no id is current gets a new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..checks import values
from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..events.outgoing import Outgoing, PublishNext
from ..exceptions import ConfigError
from ..handlers.options import CallNext

HEADER = "correlation_id"


def new_id() -> str:
    """Return a new id: 32 hexadecimal digits."""
    return secrets.token_hex(16)


class Correlation:
    """Passes the id of an event on to everything that its handler publishes.

    ```python
    correlation = Correlation()
    broker = Broker(
        "redis://localhost:6379/0",
        group="billing",
        middleware=[correlation.handling],
        publish_middleware=[correlation.publishing],
    )
    ```

    `header` is the name of the header; `make` makes an id for an event that is published where none is current; with
    `make=None` such an event gets none. Raises `ConfigError` for wrong values.
    """

    def __init__(self, *, header: str = HEADER, make: Callable[[], str] | None = new_id) -> None:
        if not isinstance(header, str) or not header:
            raise ConfigError(f"header={values.shown(header)}: expected the name of a header, e.g. {HEADER!r}")
        self.header: str = header
        if make is not None and not callable(make):
            raise ConfigError(f"make={values.shown(make)}: expected a function without arguments, or None")
        self._make = make
        self._current: ContextVar[str | None] = ContextVar(header, default=None)

    @property
    def current(self) -> str | None:
        """The current id; `None` if there is none."""
        return self._current.get()

    @contextmanager
    def using(self, correlation_id: str) -> Iterator[None]:
        """Make an id the current one, for a request that has one: `with correlation.using(request_id): ...`."""
        token = self._current.set(correlation_id)
        try:
            yield
        finally:
            self._current.reset(token)

    async def handling(self, delivery: Delivery | BatchDelivery, call_next: CallNext) -> None:
        """Make the event's id the current one for its handler. A batch has one if all its items have the same."""
        found = self._of_batch(delivery) if isinstance(delivery, BatchDelivery) else self._of(delivery)
        if found is None:
            await call_next()
            return
        with self.using(found):
            await call_next()

    async def publishing(self, event: Outgoing, call_next: PublishNext) -> None:
        """Give the current id to an event that has none."""
        known = event.headers.get(self.header) or self.current
        if known is None and self._make is not None:
            known = self._make()
        await call_next(event if known is None else event.with_headers({self.header: known}))

    def _of(self, delivery: Delivery) -> str:
        return delivery.event.headers.get(self.header) or f"{delivery.stream}:{delivery.id}"

    def _of_batch(self, batch: BatchDelivery) -> str | None:
        found = {self._of(delivery) for delivery in batch}
        return found.pop() if len(found) == 1 else None
