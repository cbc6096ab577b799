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
bounded by your code: entry ids, consumers and event types are in facts and logs. A program that publishes to ever new
streams has `MOST_STREAMS` of them as labels, and all further ones together as `(others)`.

With `PROMETHEUS_MULTIPROC_DIR` counters and histograms are of all processes that share the directory, as
prometheus-client does it; gauges are of the process that is scraped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from ..broker import Broker
from ..checks import values
from ..telemetry import (
    DeadLettered,
    Drained,
    DuplicateDropped,
    EntriesVanished,
    Fact,
    GroupRecreated,
    Handled,
    LagMeasured,
    LeaseLost,
    LoopBlocked,
    Published,
    PublishFailed,
    Reclaimed,
    StepFailed,
    UnsettledTrimmed,
)
from .prometheus_gauges import Gauges
from .prometheus_series import OfHandler, OfStream, Tally, Total

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds for how long handlers take."""
LATENCIES = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Upper bounds in seconds for how long events take from publishing to the end of their handlers."""

MOST_STREAMS = 1000
"""Streams that are labels of what is published."""
OTHERS = "(others)"
"""The label of all further streams."""

GROUP = ("stream", "group")
HANDLER = ("stream", "group", "handler")


class Prometheus:
    """An observer whose metrics are in `registry` (default: prometheus-client's own). Use one for all brokers.

    Raises `ValueError` for a second one in the same registry.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = REGISTRY if registry is None else values.instance("registry", registry, CollectorRegistry)
        self._carrying = threading.Lock()
        self._handlers: dict[tuple[str, str, str, str], OfHandler] = {}
        self._streams: dict[str, OfStream] = {}
        self._gauges = Gauges(self._carry)
        self._registry.register(self._gauges)  # the first of them to be scraped: it carries the numbers to the others
        counter = self._counter
        self._handled = counter("handled", "Attempts that are over, by outcome.", *HANDLER, "outcome")
        self._failed = counter("failed", "Attempts that failed: retried or dead-lettered.", *HANDLER)
        self._dead = counter("dead_lettered", "Events that became dead letters, also without a handler.", *HANDLER)
        self._duplicates = counter("duplicates", "Copies of handled events that were dropped.", *HANDLER)
        self._leases = counter("lost_leases", "Entries that another consumer took, or that are gone.", *HANDLER)
        self._vanished = counter("lost_entries", "Entries deleted or trimmed while they were pending.", *GROUP)
        self._trimmed = counter("trimmed_unsettled", "Entries that a bound took before they were settled.", *GROUP)
        self._reclaimed = counter("reclaimed", "Entries taken over from consumers that are gone.", *GROUP)
        self._recreated = counter("groups_recreated", "Groups that were lost and recreated.", *GROUP)
        self._events = counter("published", "Events that were published, and that Redis confirmed.", "stream")
        self._bytes = counter("published_bytes", "Bytes of the commands that published them.", "stream")
        self._unpublished = counter("publish_failed", "Events that are not known to be published.", "stream")
        self._steps = counter("failed_steps", "Duties of the broker that Redis refused, and that are tried again.")
        self._blocked = counter("event_loop_blocked_seconds", "How long something blocked the event loop.")
        self._took = self._histogram("handler_duration_seconds", "How long attempts took.", DURATIONS, *HANDLER)
        self._latency = self._histogram(
            "latency_seconds",
            "From publishing an event to the end of the handler that acknowledged it.",
            LATENCIES,
            *HANDLER,
        )
        self._publishing = self._histogram("publish_duration_seconds", "How long publishing took.", DURATIONS, "stream")
        self._acts: dict[type[Fact], Callable[..., object]] = self._acts_by_kind()
        self.kinds: tuple[type[Fact], ...] = (*self._acts,)

    def _acts_by_kind(self) -> dict[type[Fact], Callable[..., object]]:
        return {
            DeadLettered: lambda fact: self._dead.labels(fact.stream, fact.group, fact.handler).inc(),
            Drained: lambda _: self._carry(),
            DuplicateDropped: lambda fact: self._duplicates.labels(fact.stream, fact.group, fact.handler).inc(),
            EntriesVanished: lambda fact: self._vanished.labels(fact.stream, fact.group).inc(len(fact.ids)),
            GroupRecreated: lambda fact: self._recreated.labels(fact.stream, fact.group).inc(),
            Handled: self._count,
            LagMeasured: self._measured,
            LeaseLost: lambda fact: self._leases.labels(fact.stream, fact.group, fact.handler).inc(),
            LoopBlocked: lambda fact: self._blocked.inc(fact.seconds),
            Published: self._published,
            PublishFailed: self._not_published,
            Reclaimed: lambda fact: self._reclaimed.labels(fact.stream, fact.group).inc(fact.count),
            StepFailed: lambda _: self._steps.inc(),
            UnsettledTrimmed: lambda fact: self._trimmed.labels(fact.stream, fact.group).inc(fact.count),
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
        self._carry()
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(self._gauges)
        return registry

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"redis_streams_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"redis_streams_{name}", meaning, labels, buckets=bounds, registry=self._registry)

    def _count(self, fact: Handled) -> None:
        series = self._handlers.get((fact.stream, fact.group, fact.handler, fact.outcome))
        (series or self._of_handler(fact.stream, fact.group, fact.handler, fact.outcome)).add(fact)

    def _of_handler(self, stream: str, group: str, handler: str, outcome: str) -> OfHandler:
        names = stream, group, handler
        totals = [Total(self._handled.labels(*names, outcome))]
        if outcome in {"retried", "dead_letter"}:
            totals.append(Total(self._failed.labels(*names)))
        took = Tally(self._took.labels(*names), DURATIONS)
        latency = Tally(self._latency.labels(*names), LATENCIES) if outcome == "acknowledged" else None
        series = self._handlers[*names, outcome] = OfHandler(totals, took, latency)
        return series

    def _published(self, fact: Published) -> None:
        series = self._streams.get(fact.stream) or self._of_stream(fact.stream)
        series.events.count += fact.count
        series.bytes.count += fact.bytes
        if fact.seconds is not None:
            series.took.add(fact.seconds)

    def _not_published(self, fact: PublishFailed) -> None:
        (self._streams.get(fact.stream) or self._of_stream(fact.stream)).failed.count += fact.count

    def _of_stream(self, stream: str) -> OfStream:
        """Make the series of a stream; further ones than `MOST_STREAMS` share those of `OTHERS`."""
        if len(self._streams) >= MOST_STREAMS:
            stream = OTHERS
        if (series := self._streams.get(stream)) is None:
            events, size, failed = (
                Total(each.labels(stream)) for each in (self._events, self._bytes, self._unpublished)
            )
            took = Tally(self._publishing.labels(stream), DURATIONS)
            series = self._streams[stream] = OfStream(events, size, failed, took)
        return series

    def _measured(self, fact: LagMeasured) -> None:
        self._gauges.measured(fact.report)
        self._carry()  # a scrape of another process may show these numbers

    def _carry(self) -> None:
        """Bring the numbers of the hot path to prometheus-client. Any thread may call it."""
        with self._carrying:
            for of_handler in self._handlers.copy().values():
                of_handler.carry()
            for of_stream in self._streams.copy().values():
                of_stream.carry()
