"""OpenTelemetry: names, kinds, units and attributes are those of the conventions and of our page, and nothing more.

The golden tables here are the page docs/opentelemetry.md in code. A name that the conventions change, or that we do,
is a difference here.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from redis.asyncio import Redis

from redis_streams_aio import BatchDelivery, Broker, ConfigError, Delivery, Reject, RetryLater, RetryPolicy, Settings
from redis_streams_aio.exceptions import RedisStreamsError
from redis_streams_aio.integrations.opentelemetry import OpenTelemetry, Relation, names
from redis_streams_aio.telemetry import Fact, LeaseLost
from redis_streams_aio.testing.waiting import until
from tests.events import Order

PAGE = Path(__file__).parent.parent.parent / "docs" / "opentelemetry.md"
AT_ONCE = RetryPolicy(max_failures=2, base=0.01, jitter=False)
PROPAGATOR = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


class Seen:
    """An `OpenTelemetry` with exporters in memory."""

    def __init__(self, **options: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.otel = OpenTelemetry(
            tracer_provider=self.tracers,
            meter_provider=MeterProvider([self._metrics]),
            propagator=PROPAGATOR,
            **options,
        )

    def broker(self, url: str, **options: Any) -> Broker:
        return Broker(
            url,
            group="g",
            settings=Settings(**{"consumer": "me", "reclaim_interval": 0.1, **options}),
            middleware=[self.otel.handling],
            publish_middleware=[self.otel.publishing],
            observers=[self.otel.observer],
        )

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._spans.get_finished_spans()

    def of(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    @property
    def untold(self) -> int:
        return len(self.otel.observer._spans)

    def metrics(self) -> Iterator[Any]:
        data = self._metrics.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "redis_streams_aio"
                yield from scope.metrics

    def points(self, name: str) -> list[Any]:
        return [point for metric in self.metrics() if metric.name == name for point in metric.data.data_points]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def context_of(span: ReadableSpan) -> trace.SpanContext:
    return cast("trace.SpanContext", span.context)


# -- the golden tables --------------------------------------------------------------------------------------------

PUBLISHED = {
    "messaging.system": "redis",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
    "messaging.destination.name": "orders",
    "messaging.redis.event_type": "Order",
}
PROCESSED = {
    "messaging.system": "redis",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "orders",
    "messaging.consumer.group.name": "g",
    "messaging.client.id": "me",
    "messaging.redis.handler": "handle",
}
METRICS = {
    "messaging.client.operation.duration": ("s", {"messaging.operation.name", "messaging.operation.type"}),
    "messaging.process.duration": (
        "s",
        {
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.consumer.group.name",
            "messaging.redis.handler",
            "messaging.redis.outcome",
        },
    ),
    "messaging.client.sent.messages": ("{message}", {"messaging.operation.name", "messaging.operation.type"}),
    "messaging.client.consumed.messages": (
        "{message}",
        {
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.consumer.group.name",
            "messaging.redis.handler",
            "messaging.redis.outcome",
        },
    ),
    "messaging.redis.dead_letters": (
        "{message}",
        {"messaging.consumer.group.name", "messaging.redis.dead_letter.reason"},
    ),
    "messaging.redis.reclaimed": ("{message}", {"messaging.consumer.group.name"}),
    "messaging.redis.leases_lost": ("{message}", {"messaging.consumer.group.name"}),
    "messaging.redis.vanished": ("{message}", {"messaging.consumer.group.name"}),
    "messaging.redis.lag": ("{message}", {"messaging.consumer.group.name"}),
    "messaging.redis.lag.known": ("1", {"messaging.consumer.group.name"}),
    "messaging.redis.pending": ("{message}", {"messaging.consumer.group.name"}),
    "messaging.redis.oldest_age": ("s", {"messaging.consumer.group.name"}),
}
SHARED = {"messaging.system", "messaging.destination.name"}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@pytest.mark.parametrize("relation", ["parent", "link"])
async def test_a_published_and_handled_event(url: str, redis: Redis, relation: Relation) -> None:
    seen = Seen(relation=relation)
    broker = seen.broker(url)
    inside: list[trace.SpanContext] = []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        inside.append(trace.get_current_span().get_span_context())
        await asyncio.sleep(0.01)

    async with broker:
        entry_id = await broker.publish("orders", Order(1), event_id="o-1")
        await until(lambda: seen.of("process orders"))
        assert not trace.get_current_span().get_span_context().is_valid
    publish, process = seen.spans
    assert (publish.name, publish.kind, publish.status.status_code) == (
        "publish orders",
        SpanKind.PRODUCER,
        StatusCode.UNSET,
    )
    assert attributes(publish) == {
        **PUBLISHED,
        "messaging.message.id": entry_id,
        "messaging.redis.event_id": "o-1",
    }
    assert (process.name, process.kind, process.status.status_code) == (
        "process orders",
        SpanKind.CONSUMER,
        StatusCode.UNSET,
    )
    assert attributes(process) == {
        **PROCESSED,
        "messaging.message.id": entry_id,
        "messaging.redis.event_type": "Order",
        "messaging.redis.event_id": "o-1",
        "messaging.redis.delivery_count": 1,
        "messaging.redis.failure_count": 0,
    }
    [settled] = process.events
    assert settled.name == "messaging.redis.settled"
    assert dict(settled.attributes or {}) == {
        "messaging.message.id": entry_id,
        "messaging.redis.outcome": "acknowledged",
    }
    assert process.end_time is not None
    assert process.start_time is not None
    assert 10_000_000 <= process.end_time - process.start_time <= settled.timestamp - process.start_time + 1_000_000
    assert inside == [context_of(process)]
    if relation == "parent":
        assert process.parent == context_of(publish) or process.parent.span_id == context_of(publish).span_id  # type: ignore[union-attr]
        assert context_of(process).trace_id == context_of(publish).trace_id
        assert process.links == ()
    else:
        assert process.parent is None
        assert context_of(process).trace_id != context_of(publish).trace_id
        assert [link.context.span_id for link in process.links] == [context_of(publish).span_id]
    [(_, entry)] = await redis.xrange("orders")
    assert entry["h:traceparent"].split("-")[2] == f"{context_of(publish).span_id:016x}"
    assert seen.untold == 0


async def test_a_batch_has_links_to_its_items(url: str) -> None:
    seen = Seen(relation="parent")
    broker = seen.broker(url)

    @broker.handler("orders", batch=3, within=5, retry=AT_ONCE)
    async def handle(orders: list[Order], batch: BatchDelivery) -> None:
        if batch[0].failures == 0:
            batch.fail(0, ValueError("the first"))

    async with broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2), Order(3)])
        await until(lambda: len(seen.of("process orders")) == 2)
    created, [sent] = seen.of("create orders"), seen.of("publish orders")
    assert [span.kind for span in created] == [SpanKind.PRODUCER] * 3
    for span in created:
        assert attributes(span) == {
            **PUBLISHED,
            "messaging.operation.name": "create",
            "messaging.operation.type": "create",
        }
    assert sent.kind is SpanKind.CLIENT
    assert attributes(sent) == {
        name: value for name, value in PUBLISHED.items() if name != "messaging.redis.event_type"
    } | {"messaging.batch.message_count": 3}
    batch, alone = seen.of("process orders")
    assert attributes(batch) == {**PROCESSED, "messaging.batch.message_count": 3}
    assert batch.parent is None
    assert [link.context.span_id for link in batch.links] == [context_of(span).span_id for span in created]
    assert [dict(link.attributes or {})["messaging.message.id"] for link in batch.links] == ids
    assert Counter(events(batch)) == {"messaging.redis.settled": 3, "messaging.redis.retry": 1}
    assert attributes(alone)["messaging.batch.message_count"] == 1
    assert events(alone) == ["messaging.redis.settled"]
    assert seen.untold == 0


async def test_failures_wishes_and_dead_letters_are_events_of_spans(url: str, redis: Redis) -> None:
    seen = Seen()
    broker = seen.broker(url)

    @broker.handler("orders", retry=AT_ONCE, concurrency=4)
    async def handle(order: Order, delivery: Delivery) -> None:
        if order.number == 0:
            raise KeyError("always")
        if order.number == 1:
            raise Reject("no")
        if order.number == 2 and delivery.first_failure == 0 and not asked:
            asked.append(1)
            raise RetryLater(0.01)

    asked: list[int] = []
    async with broker:
        for number in range(3):
            await broker.publish("orders", Order(number))
        await broker.publish("orders", {"number": "x"}, event_type="Order")
        await until(lambda: broker.status[0].settled == 4)
    assert seen.untold == 0
    told = sorted(
        (events(span), span.status.status_code.name, attributes(span).get("error.type"))
        for span in seen.of("process orders")
    )
    assert told == [
        (["exception", "messaging.redis.dead_letter", "messaging.redis.settled"], "ERROR", "KeyError"),
        (["exception", "messaging.redis.retry", "messaging.redis.settled"], "UNSET", None),
        (["messaging.redis.dead_letter", "messaging.redis.settled"], "ERROR", "rejected"),
        (["messaging.redis.postponed", "messaging.redis.settled"], "UNSET", None),
        (["messaging.redis.settled"], "UNSET", None),
    ]
    every = {event.name: dict(event.attributes or {}) for span in seen.of("process orders") for event in span.events}
    assert every["messaging.redis.retry"].keys() == {
        "messaging.message.id",
        "messaging.redis.failure_count",
        "messaging.redis.retry.delay",
    }
    assert every["messaging.redis.dead_letter"].keys() == {
        "messaging.message.id",
        "messaging.redis.failure_count",
        "messaging.redis.dead_letter.reason",
    }
    assert every["messaging.redis.postponed"].keys() == {"messaging.message.id", "messaging.redis.retry.delay"}
    reasons = {
        dict(point.attributes)["messaging.redis.dead_letter.reason"] for point in seen.points(names.DEAD_LETTERS)
    }
    assert reasons == {"failures", "rejected", "undecodable"}
    failed = {
        dict(point.attributes).get("error.type"): dict(point.attributes)["messaging.redis.outcome"]
        for point in seen.points(names.CONSUMED)
    }
    assert failed[None] in ("acknowledged", "postponed")
    assert failed["KeyError"] in ("retried", "dead_letter")
    assert failed["redis_streams_aio.exceptions.Reject"] == "dead_letter"


async def test_a_lost_lease_and_a_redelivery_are_told(url: str, redis: Redis) -> None:
    seen, begun = Seen(), asyncio.Event()
    broker = seen.broker(url)

    @broker.handler("orders", lease=0.6)
    async def handle(order: Order, delivery: Delivery) -> None:
        if delivery.deliveries == 1:
            begun.set()
            await asyncio.sleep(3600)

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await asyncio.wait_for(begun.wait(), 20)
        await redis.xclaim("orders", "g", "thief", 0, [entry_id], idle=60_000)
        await until(lambda: len(seen.of("process orders")) == 2, 20)
    lost, again = seen.of("process orders")
    assert events(lost) == ["messaging.redis.lease_lost", "messaging.redis.settled"]
    assert dict(lost.events[1].attributes or {})["messaging.redis.outcome"] == "lost"
    assert events(again) == ["messaging.redis.redelivered", "messaging.redis.settled"]
    assert [point.value for point in seen.points(names.LEASES_LOST)] == [1]
    assert [point.value for point in seen.points(names.RECLAIMED)] == [1]


async def test_what_a_handler_publishes_belongs_to_its_trace(url: str) -> None:
    seen = Seen()
    broker = seen.broker(url)

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish("{orders}:bills", order)
        await broker.publish("letters", order)

    @broker.handler("{orders}:bills")
    async def send(order: Order) -> None: ...
    @broker.handler("letters")
    async def read(order: Order) -> None: ...

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(seen.spans) == 6)
    [process] = seen.of("process orders")
    for name in ("create {orders}:bills", "publish letters"):
        [span] = seen.of(name)
        assert span.parent is not None
        assert span.parent.span_id == context_of(process).span_id, name
    assert len({context_of(span).trace_id for span in seen.spans}) == 1


async def test_baggage_travels_too_and_nothing_leaks_into_the_next_event(url: str) -> None:
    seen, got = Seen(relation="link"), list[Any]()
    broker = seen.broker(url)

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(baggage.get_baggage("tenant"))

    async with broker:
        token = context.attach(baggage.set_baggage("tenant", "t-1"))
        await broker.publish("orders", Order(1))
        context.detach(token)
        await broker.publish("orders", Order(2))
        await until(lambda: len(got) == 2)
    assert got == ["t-1", None]


async def test_an_event_that_was_created_elsewhere_keeps_its_context(url: str, redis: Redis) -> None:
    seen = Seen()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with seen.broker(url) as broker:
        await broker.publish("orders", Order(1), headers={"traceparent": parent})
    [(_, entry)] = await redis.xrange("orders")
    assert entry["h:traceparent"] == parent
    [span] = seen.spans
    assert [f"{link.context.span_id:016x}" for link in span.links] == ["b7ad6b7169203331"]


async def test_publishing_that_fails(url: str, redis: Redis) -> None:
    seen = Seen(server_address="redis.example", server_port=6379)
    await redis.set("text", "not a stream")
    async with seen.broker(url) as broker:
        with pytest.raises(RedisStreamsError):
            await broker.publish("text", Order(1))
        with pytest.raises(RedisStreamsError):
            await broker.publish_many("text", [Order(1)])
    one, created, together = seen.spans
    for span in (one, together):
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == "redis_streams_aio.exceptions.StreamTypeError"
    assert created.status.status_code is StatusCode.UNSET
    for span in seen.spans:
        assert (attributes(span)["server.address"], attributes(span)["server.port"]) == ("redis.example", 6379)
    [point] = seen.points(names.OPERATION_DURATION)
    assert dict(point.attributes)["error.type"] == "redis_streams_aio.exceptions.StreamTypeError"


@pytest.mark.parametrize("fails", [False, True])
async def test_without_the_observer_spans_end_with_their_handler(url: str, fails: bool) -> None:
    seen = Seen()
    broker = Broker(url, group="g", middleware=[seen.otel.handling])

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def handle(order: Order) -> None:
        if fails:
            raise KeyError("a")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(seen.spans) == 1)
    [span] = seen.spans
    assert events(span) == (["exception"] if fails else [])
    assert span.status.status_code is (StatusCode.ERROR if fails else StatusCode.UNSET)
    assert seen.untold == 0


async def test_the_end_of_a_drain_ends_all_spans(url: str) -> None:
    seen, begun = Seen(), asyncio.Event()
    broker = seen.broker(url, grace=0.05)

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with broker:
        await broker.publish("orders", Order(1))
        await asyncio.wait_for(begun.wait(), 20)
    [span] = seen.of("process orders")
    assert dict(span.events[-1].attributes or {})["messaging.redis.outcome"] == "released"
    assert seen.untold == 0


# -- metrics ----------------------------------------------------------------------------------------------------


async def test_all_metrics(url: str, redis: Redis) -> None:
    seen = Seen()
    broker = seen.broker(url, lag_interval=0.05)

    @broker.handler("orders", retry=AT_ONCE)
    async def handle(order: Order) -> None:
        if order.number == 2:
            raise ValueError("two")

    async with broker:
        for number in range(3):
            await broker.publish("orders", Order(number))
        await until(lambda: broker.status[0].settled == 3)
        await broker.measure_lag()
        seen.otel.observer(LeaseLost(stream="orders", group="g", id="1-0"))
        await until(lambda: seen.points(names.LAG_KNOWN))
    found = {metric.name: metric for metric in seen.metrics()}
    assert found.keys() == METRICS.keys() - {names.RECLAIMED, names.VANISHED}
    for name, metric in found.items():
        unit, own = METRICS[name]
        assert metric.unit == unit, name
        for point in metric.data.data_points:
            assert set(point.attributes) - {"error.type"} == SHARED | own, name
            assert not isinstance(point, HistogramDataPoint) or point.explicit_bounds == BUCKETS
    [sent] = seen.points(names.SENT)
    assert sent.value == 3
    outcomes = {dict(p.attributes)["messaging.redis.outcome"]: p.value for p in seen.points(names.CONSUMED)}
    assert outcomes == {"acknowledged": 2, "retried": 1, "dead_letter": 1}
    assert sum(point.count for point in seen.points(names.PROCESS_DURATION)) == 4
    assert [point.value for point in seen.points(names.LAG_KNOWN)] == [1]
    assert [point.value for point in seen.points(names.LAG)] == [0]


def test_the_names_are_those_of_the_conventions() -> None:
    """Every name without `redis` is one of the conventions that is not deprecated; so are units and descriptions."""
    known = {
        value
        for name, value in vars(messaging_attributes).items()
        if name.startswith("MESSAGING_") and isinstance(value, str)
    }
    deprecated = {"messaging.operation", "messaging.client_id"}
    ours = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]
    metrics = {names.OPERATION_DURATION, names.PROCESS_DURATION, names.SENT, names.CONSUMED}
    of_the_conventions = [each for each in ours if each.startswith("messaging.") and ".redis." not in each]
    assert set(of_the_conventions) - metrics <= known - deprecated
    assert {value.value for value in messaging_attributes.MessagingOperationTypeValues} >= {"create", "send", "process"}
    instruments = list(reference())
    assert {each[0] for each in instruments} == metrics
    seen = Seen()
    seen.otel.observer._measures._sent.add(1)
    seen.otel.observer._measures._consumed.add(1)
    seen.otel.observer._measures._operation.record(1)
    seen.otel.observer._measures._process.record(1)
    assert {(each.name, each.unit, each.description) for each in seen.metrics()} == {
        (name, unit, CONSUMED if name == names.CONSUMED else description) for name, unit, description in instruments
    }


CONSUMED = "Number of messages that were delivered to the application."


def reference() -> Iterator[tuple[str, str, str]]:
    """The four metrics as the package of the conventions makes them."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("reference")
    for name in ("client_operation_duration", "process_duration", "client_sent_messages", "client_consumed_messages"):
        made: Any = getattr(messaging_metrics, f"create_messaging_{name}")(meter)
        (made.add if hasattr(made, "add") else made.record)(1)
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        yield metric.name, metric.unit, metric.description


def test_the_page_names_everything_and_nothing_else() -> None:
    page = PAGE.read_text(encoding="utf-8")
    ours = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    assert set(re.findall(r"`((?:messaging|error|server)\.[a-z_.]*[a-z_])`", page)) == ours


# -- options ----------------------------------------------------------------------------------------------------


def test_a_wrong_relation_is_refused() -> None:
    with pytest.raises(ConfigError, match='relation=\'child\': expected "parent" or "link"'):
        OpenTelemetry(relation="child")  # type: ignore[arg-type]


async def test_without_an_sdk_nothing_happens(url: str, redis: Redis) -> None:
    otel, facts = OpenTelemetry(), list[Fact]()
    broker = Broker(
        url,
        group="g",
        middleware=[otel.handling],
        publish_middleware=[otel.publishing],
        observers=[otel.observer, facts.append],
    )
    done = asyncio.Event()

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        done.set()

    async with broker:
        await broker.publish("orders", Order(1))
        await asyncio.wait_for(done.wait(), 20)
    [(_, entry)] = await redis.xrange("orders")
    assert "h:traceparent" not in entry
