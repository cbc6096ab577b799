"""Prometheus metrics of a broker (extra `prometheus`): an observer that counts facts, and gauges read at each scrape.

```python
metrics = Prometheus()
broker = Broker("redis://localhost:6379/0", group="billing", observers=[metrics])
app.mount("/broker", probes(broker))  # /broker/metrics
```

`run --health-port` and `probes` serve the metrics of their broker's observer. With a server of your own
(prometheus-client's `start_http_server`, an exporter that you have already) call `metrics.watch(broker)` once, for the
gauges.

Every counter equals the facts behind it. Labels are `stream`, `group`, `handler` and `outcome` only, all of them
bounded by your code: entry ids, consumers and event types are in facts and logs.

With `PROMETHEUS_MULTIPROC_DIR` counters and histograms are of all processes that share the directory, as
prometheus-client does it; gauges are of the process that is scraped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from ..broker import Broker
from ..checks import values
from ..telemetry import (
    DeadLettered,
    DuplicateDropped,
    EntriesVanished,
    Fact,
    GroupRecreated,
    Handled,
    LagMeasured,
    LeaseLost,
    LoopBlocked,
    Reclaimed,
    StepFailed,
)
from .prometheus_gauges import Gauges

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds for how long handlers take."""
LATENCIES = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Upper bounds in seconds for how long events take from publishing to the end of their handlers."""

GROUP = ("stream", "group")
HANDLER = ("stream", "group", "handler")


class _OfHandler(NamedTuple):
    """The series of one handler and outcome."""

    handled: Callable[[], None]
    failed: Callable[[], None] | None
    took: Callable[[float], None]
    latency: Callable[[float], None] | None


class Prometheus:
    """An observer whose metrics are in `registry` (default: prometheus-client's own). Use one for all brokers.

    Raises `ValueError` for a second one in the same registry.
    """

    kinds: ClassVar[tuple[type[Fact], ...]] = (
        DeadLettered,
        DuplicateDropped,
        EntriesVanished,
        GroupRecreated,
        Handled,
        LagMeasured,
        LeaseLost,
        LoopBlocked,
        Reclaimed,
        StepFailed,
    )

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = REGISTRY if registry is None else values.instance("registry", registry, CollectorRegistry)
        self._gauges = Gauges()
        self._registry.register(self._gauges)
        self._handlers: dict[tuple[str, str, str, str], _OfHandler] = {}
        counter = self._counter
        self._handled = counter("handled", "Attempts that are over, by outcome.", *HANDLER, "outcome")
        self._failed = counter("failed", "Attempts that failed: retried or dead-lettered.", *HANDLER)
        self._dead = counter("dead_lettered", "Events that became dead letters, also without a handler.", *HANDLER)
        self._duplicates = counter("duplicates", "Copies of handled events that were dropped.", *HANDLER)
        self._leases = counter("lost_leases", "Entries that another consumer took, or that are gone.", *HANDLER)
        self._vanished = counter("lost_entries", "Entries deleted or trimmed while they were pending.", *GROUP)
        self._reclaimed = counter("reclaimed", "Entries taken over from consumers that are gone.", *GROUP)
        self._recreated = counter("groups_recreated", "Groups that were lost and recreated.", *GROUP)
        self._steps = counter("failed_steps", "Duties of the broker that Redis refused, and that are tried again.")
        self._blocked = counter("event_loop_blocked_seconds", "How long something blocked the event loop.")
        self._took = self._histogram("handler_duration_seconds", "How long attempts took.", DURATIONS)
        self._latency = self._histogram(
            "latency_seconds", "From publishing an event to the end of the handler that acknowledged it.", LATENCIES
        )
        self._acts: dict[type[Fact], Callable[..., object]] = {
            DeadLettered: lambda fact: self._dead.labels(fact.stream, fact.group, fact.handler).inc(),
            DuplicateDropped: lambda fact: self._duplicates.labels(fact.stream, fact.group, fact.handler).inc(),
            EntriesVanished: lambda fact: self._vanished.labels(fact.stream, fact.group).inc(len(fact.ids)),
            GroupRecreated: lambda fact: self._recreated.labels(fact.stream, fact.group).inc(),
            Handled: self._count,
            LagMeasured: lambda fact: self._gauges.measured(fact.report),
            LeaseLost: lambda fact: self._leases.labels(fact.stream, fact.group, fact.handler).inc(),
            LoopBlocked: lambda fact: self._blocked.inc(fact.seconds),
            Reclaimed: lambda fact: self._reclaimed.labels(fact.stream, fact.group).inc(fact.count),
            StepFailed: lambda _: self._steps.inc(),
        }

    def __call__(self, fact: Fact) -> None:
        """Count a fact. The broker calls it."""
        self._acts[type(fact)](fact)

    def watch(self, broker: Broker) -> None:
        """Read the gauges of this broker at each scrape; called again, do nothing. Raises `ConfigError`."""
        self._gauges.watch(values.instance("broker", broker, Broker))

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and the text of all metrics of the registry, in a format that the scraper accepts."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._scraped())

    def _scraped(self) -> CollectorRegistry:
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(self._gauges)
        return registry

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"redis_streams_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(f"redis_streams_{name}", meaning, HANDLER, buckets=bounds, registry=self._registry)

    def _count(self, fact: Handled) -> None:
        key = fact.stream, fact.group, fact.handler, fact.outcome
        series = self._handlers.get(key) or self._series_of(*key)
        series.handled()
        series.took(fact.seconds)
        if series.failed is not None:
            series.failed()
        if series.latency is not None:
            published = int(fact.id.partition("-")[0]) / 1000
            series.latency(max(0.0, fact.began + fact.seconds - published))  # Redis's clock may be ahead

    def _series_of(self, stream: str, group: str, handler: str, outcome: str) -> _OfHandler:
        """Make the series of a handler and outcome once: looking them up costs more than counting."""
        is_failure = outcome in {"retried", "dead_letter"}
        series = self._handlers[stream, group, handler, outcome] = _OfHandler(
            self._handled.labels(stream, group, handler, outcome).inc,
            self._failed.labels(stream, group, handler).inc if is_failure else None,
            self._took.labels(stream, group, handler).observe,
            self._latency.labels(stream, group, handler).observe if outcome == "acknowledged" else None,
        )
        return series
