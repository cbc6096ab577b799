"""OpenTelemetry: traces and metrics of a broker (extra `otel`), by the semantic conventions for messaging.

```python
otel = OpenTelemetry()
broker = Broker(
    "redis://localhost:6379/0",
    group="billing",
    middleware=[otel.handling],
    publish_middleware=[otel.publishing],
    observers=[otel.observer],
)
```

Each of the three works without the others: spans of handlers, spans of publishing with the context in the headers, and
metrics. Spans of handlers have their outcomes only with the observer. docs/opentelemetry.md lists all names.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import TracerProvider

from ...checks import values
from ...events.outgoing import PublishMiddleware
from ...exceptions import ConfigError
from ...handlers.options import Middleware
from ...version import __version__
from . import names
from .measures import Measures
from .observing import Observing
from .open_spans import OpenSpans
from .processing import Processing, Relation
from .publishing import Publishing

__all__ = ["OpenTelemetry", "Relation"]

_SCOPE = "redis_streams_aio"


class OpenTelemetry:
    """Makes spans and metrics with the global providers and propagator, or with those that are given.

    * `relation`: a handler's span is a child of the publisher's span (`"parent"`), or begins a trace of its own with a
      link to it (`"link"`). The span of a batch has links to the publishers of all its items.
    * `server_address`, `server_port`: written into every span and metric.

    Raises `ConfigError` for wrong values.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        relation: Relation = "parent",
        server_address: str | None = None,
        server_port: int | None = None,
    ) -> None:
        if relation not in ("parent", "link"):
            raise ConfigError(f'relation={values.shown(relation)}: expected "parent" or "link"')
        shared = _shared(server_address, server_port)
        tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        spreading = propagate.get_global_textmap() if propagator is None else propagator
        spans = OpenSpans()
        publishing = Publishing(tracer, spreading, shared)
        self.handling: Middleware = Processing(tracer, spreading, shared, relation, spans).around
        """The middleware that makes spans of handlers."""
        self.publishing: PublishMiddleware = publishing.around
        """The publish middleware that makes spans of published events, and writes their context into the headers."""
        self.observer: Observing = Observing(Measures(meter, shared), publishing, spans)
        """The observer that measures, and tells spans the outcomes of their events."""


def _shared(address: str | None, port: int | None) -> Mapping[str, str | int]:
    """Return the attributes that everything has."""
    found: dict[str, str | int] = {names.SYSTEM: "redis"}
    if address is not None:
        found[names.SERVER_ADDRESS] = address
    if port is not None:
        found[names.SERVER_PORT] = port
    return found
