"""The gauges of a broker: how it is at the moment of a scrape. Nothing is asked of Redis for it.

Lag and pending are those of the broker's last measurement (every `lag_interval`). One that is older than `STALE`
intervals says nothing about now, for example while Redis is away: then, as when Redis does not know the lag,
`lag_known` is 0 and there is no `lag`, because 0 would mean that all is done.

Where several brokers of a process handle one group, its gauges are of all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from prometheus_client.core import GaugeMetricFamily

from ..broker import Broker
from ..models import LagReport

GROUP = ("stream", "group")
STALE = 4
"""Intervals of the lag watcher after which a measurement no longer counts."""
AT_LEAST = 5.0
"""Seconds for which a measurement counts in any case."""


class Gauges:
    """Reads the gauges of brokers when it is scraped: a `Collector` of prometheus-client. Calls `before` first."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self._brokers: list[Broker] = []
        self._measured: dict[tuple[str, str], tuple[LagReport, float]] = {}

    def watch(self, broker: Broker) -> None:
        """Read this broker too; called again, do nothing."""
        if all(broker is not known for known in self._brokers):
            self._brokers.append(broker)

    def measured(self, report: LagReport) -> None:
        """Note a measurement of a group."""
        self._measured[report.stream, report.group] = report, monotonic()

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the names, so that registering asks no broker."""
        return [_gauge(name) for name in MEANINGS]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return all gauges as they are now."""
        self._before()
        found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in MEANINGS}
        for name, labels, value in (*self._health(), *self._statuses(), *self._lags()):
            of_name = found[name]
            of_name[labels] = TOGETHER.get(name, _added)(of_name[labels], value) if labels in of_name else value
        for name, values in found.items():
            family = _gauge(name)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def _health(self) -> Iterator[Sample]:
        for health in (broker.health() for broker in self._brokers):
            yield "live", (), float(health.live.ok)
            yield "ready", (), float(health.ready.ok)
            if health.loop_delay is not None:
                yield "event_loop_delay_seconds", (), health.loop_delay

    def _statuses(self) -> Iterator[Sample]:
        for status in (status for broker in self._brokers for status in broker.status):
            group = status.stream, status.group
            yield "subscription_ready", group, float(status.ready)
            yield "paused", group, float(status.paused is not None)
            yield "running", group, status.running
            yield "buffered", group, status.buffered
            yield "waiting", group, status.delayed

    def _lags(self) -> Iterator[Sample]:
        for broker in self._brokers:
            fresh_since = monotonic() - max(AT_LEAST, STALE * broker.settings.lag_interval)
            for group in {(status.stream, status.group) for status in broker.status}:
                report, at = self._measured.get(group, (None, 0.0))
                yield from _lag(group, report if at >= fresh_since else None)


def _lag(group: tuple[str, str], report: LagReport | None) -> Iterator[Sample]:
    """Return the gauges of a group that was measured lately, or was not (`None`)."""
    yield "lag_known", group, float(report is not None and report.lag is not None)
    if report is None:
        return
    for name, value in (
        ("lag", report.lag),
        ("rate_in", report.rate_in),
        ("rate_out", report.rate_out),
        ("time_to_drain_seconds", report.time_to_drain),
    ):
        if value is not None:
            yield name, group, value
    yield "pending", group, report.pending
    yield "oldest_age_seconds", group, report.oldest_age or 0.0


Sample = tuple[str, tuple[str, ...], float]
"""A gauge's name, its labels, and its value."""

MEANINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "live": ("Whether all brokers of the process are live.", ()),
    "ready": ("Whether all brokers of the process are ready.", ()),
    "event_loop_delay_seconds": ("How long the event loop took to answer, the last time it was asked.", ()),
    "subscription_ready": ("Whether the reads of the subscription come back, and it does not starve.", GROUP),
    "paused": ("Whether the subscription is paused.", GROUP),
    "running": ("Deliveries in a handler.", GROUP),
    "buffered": ("Deliveries that wait for a free worker, or for another delivery of their key.", GROUP),
    "waiting": ("Deliveries that wait for their retry, for a copy, or for Redis to accept their fate.", GROUP),
    "lag_known": ("Whether the lag is known now.", GROUP),
    "lag": ("Entries not yet delivered to the group; missing if unknown.", GROUP),
    "pending": ("Entries delivered to the group and not yet settled.", GROUP),
    "rate_in": ("Events added a second, over the last minute; missing if unknown.", GROUP),
    "rate_out": ("Events settled a second, over the last minute; missing if unknown.", GROUP),
    "time_to_drain_seconds": ("Until all is settled if both rates stay; missing if unknown or never.", GROUP),
    "oldest_age_seconds": ("Age of the oldest entry that is not settled; 0 if all are.", GROUP),
}
"""The meaning and the labels of each gauge."""

TOGETHER: dict[str, Callable[[float, float], float]] = {
    "live": min,
    "ready": min,
    "event_loop_delay_seconds": max,
    "subscription_ready": min,
    "paused": max,
    "lag_known": max,
    "lag": max,
    "pending": max,
    "rate_in": max,
    "rate_out": max,
    "time_to_drain_seconds": max,
    "oldest_age_seconds": max,
}
"""How gauges of the same labels are put together, unless they are added."""


def _added(one: float, other: float) -> float:
    return one + other


def _gauge(name: str) -> GaugeMetricFamily:
    meaning, labels = MEANINGS[name]
    return GaugeMetricFamily(f"redis_streams_{name}", meaning, labels=labels)
