"""Prometheus: every figure equals the facts behind it, is bounded, and is missing where it is not known (P33)."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    ConfigError,
    Connection,
    Delivery,
    Reject,
    RetryPolicy,
    Settings,
    StreamConsumer,
    StreamTypeError,
)
from redis_streams_aio.integrations import prometheus, prometheus_gauges
from redis_streams_aio.integrations.asgi import probes
from redis_streams_aio.integrations.prometheus import Prometheus
from redis_streams_aio.monitoring import lag
from redis_streams_aio.telemetry import (
    DeadLettered,
    DuplicateDropped,
    EntriesVanished,
    Fact,
    Handled,
    LeaseLost,
    Published,
    PublishFailed,
    Reclaimed,
    RetryScheduled,
    StepFailed,
    Telemetry,
)
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_probes import client_of

FAST = Settings(block_ms=100, command_timeout=2, reclaim_interval=0.1, lag_interval=0.05)
AT_ONCE = RetryPolicy(max_failures=2, base=0.01)
ALLOWED = {"stream", "group", "handler", "outcome", "le"}
DEADLINE = 30
GROUP = {"stream": "orders", "group": "g"}
BILL = {**GROUP, "handler": "bill"}


class Scraped:
    """The metrics of one exposition, as prometheus-client's own parser reads them."""

    def __init__(self, text: str, read: Callable[[str], Any] = read_text) -> None:
        self.families = {family.name: family for family in read(text)}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name.removeprefix("redis_streams_"), frozenset(sample.labels.items()))
                assert key not in self.samples, f"twice: {key}"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str) -> float:
        return sum(value for (found, _), value in self.samples.items() if found == name)


def scrape(metrics: Prometheus) -> Scraped:
    _, text = metrics.exposition()
    return Scraped(text.decode())


def made(url: str, *, settings: Settings = FAST) -> tuple[Broker, Prometheus, list[Fact]]:
    metrics, facts = Prometheus(CollectorRegistry()), list[Fact]()
    broker = Broker(url, group="g", settings=settings, observers=[metrics, facts.append])
    metrics.watch(broker)
    return broker, metrics, facts


def all_of(facts: list[Fact], kind: type[Any]) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


# -- counters -----------------------------------------------------------------------------------------------------


async def test_p33_every_counter_equals_the_facts_behind_it(url: str) -> None:
    broker, metrics, facts = made(url)
    tried: Counter[int] = Counter()

    @broker.handler("orders", retry=AT_ONCE, deduplicate=60)
    async def bill(order: Order) -> None:
        tried[order.number] += 1
        if order.number % 5 == 1 and tried[order.number] == 1:
            raise KeyError("once")
        if order.number % 5 == 2:
            raise KeyError("always")
        if order.number % 5 == 3:
            raise Reject("never")

    @broker.handler("clicks", batch=10, retry=AT_ONCE)
    async def count(clicks: list[Order], batch: BatchDelivery) -> None:
        for index, click in enumerate(clicks):
            if click.number == 3:
                batch.fail(index, ValueError("three"))

    async with broker:
        for number in range(50):
            await broker.publish("orders", Order(number), event_id=f"e{number}")
        await broker.publish("orders", Order(0), event_id="e0")
        await broker.publish("orders", {"x": 1}, event_type="Unheard")
        await broker.publish_many("clicks", [Order(number) for number in range(20)])
        await until(lambda: sum(status.settled for status in broker.status) == 72, DEADLINE)
        await until(lambda: len(all_of(facts, Handled)) >= 50 + 20 + 20 + 1, DEADLINE)
    seen = scrape(metrics)
    handled = Counter((fact.stream, fact.handler, fact.outcome) for fact in all_of(facts, Handled))
    assert handled == {
        ("orders", "bill", "acknowledged"): 30,
        ("orders", "bill", "retried"): 20,
        ("orders", "bill", "dead_letter"): 20,
        ("clicks", "count", "acknowledged"): 19,
        ("clicks", "count", "retried"): 1,
        ("clicks", "count", "dead_letter"): 1,
    }
    for (stream, handler, outcome), times in handled.items():
        assert seen("handled_total", stream=stream, group="g", handler=handler, outcome=outcome) == times
    assert seen.total("handled_total") == len(all_of(facts, Handled))
    assert seen("failed_total", **BILL) == 40
    assert len(all_of(facts, RetryScheduled)) == 21
    dead = Counter((fact.stream, fact.group, fact.handler) for fact in all_of(facts, DeadLettered))
    assert dead["orders", "g", ""] == 1, "the event that nobody handles"
    for (stream, group, handler), times in dead.items():
        assert seen("dead_lettered_total", stream=stream, group=group, handler=handler) == times
    assert seen.total("dead_lettered_total") == sum(dead.values()) == 22
    assert seen.total("duplicates_total") == len(all_of(facts, DuplicateDropped)) == 1
    durations = sum(fact.seconds for fact in all_of(facts, Handled) if fact.handler == "bill")
    assert seen("handler_duration_seconds_count", **BILL) == 70
    assert seen("handler_duration_seconds_sum", **BILL) == pytest.approx(durations)
    assert seen("latency_seconds_count", **BILL) == 30, "of events that were acknowledged"
    assert seen("latency_seconds_bucket", **BILL, le="+Inf") == 30


async def test_p33_latency_is_from_the_entry_id_to_the_end_of_the_handler(url: str, redis: Redis) -> None:
    broker, metrics, _ = made(url)

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    long_ago = int((time.time() - 100) * 1000)
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":1}'}, id=f"{long_ago}-0")
    async with broker:
        await until(lambda: scrape(metrics)("latency_seconds_count", **BILL) == 1, DEADLINE)
    taken = scrape(metrics)("latency_seconds_sum", **BILL)
    assert taken is not None
    assert 99 < taken < 200


async def test_p33_what_was_published_and_what_was_not_is_counted(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, metrics, facts = made(url)
    async with broker:
        for number in range(3):
            await broker.publish("orders", Order(number))
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await redis.set("broken", "no stream")
        with pytest.raises(StreamTypeError):
            await broker.publish("broken", Order(1))
        monkeypatch.setattr(prometheus, "MOST_STREAMS", 4)
        for number in range(6):
            await broker.publish(f"stream-{number}", Order(number))
    seen = scrape(metrics)
    published = all_of(facts, Published)
    assert seen("published_total", stream="orders") == 13
    assert seen.total("published_total") == sum(fact.count for fact in published) == 19
    assert seen.total("published_bytes_total") == sum(fact.bytes for fact in published) > 0
    assert (
        seen("publish_failed_total", stream="broken") == sum(fact.count for fact in all_of(facts, PublishFailed)) == 1
    )
    assert seen("publish_duration_seconds_count", stream="orders") == 4, "calls"
    assert seen("published_total", stream="(others)") == 4
    assert len([name for name, _ in seen.samples if name == "published_total"]) == 5, "no more of them"


def test_p33_nothing_is_lost_between_counting_and_scraping_in_another_thread() -> None:
    metrics, over = Prometheus(CollectorRegistry()), threading.Event()

    def scraping() -> None:
        while not over.is_set():
            scrape(metrics)

    thread = threading.Thread(target=scraping)
    thread.start()
    attempt = Handled(**BILL, id="1-0", began=1.0, seconds=0.5, outcome="acknowledged")  # type: ignore[arg-type]
    for _ in range(20_000):
        metrics(attempt)
    over.set()
    thread.join()
    seen = scrape(metrics)
    assert seen("handled_total", **BILL, outcome="acknowledged") == 20_000
    assert seen("handler_duration_seconds_bucket", **BILL, le="0.5") == 20_000, "a bound belongs to its bucket"
    assert seen("handler_duration_seconds_bucket", **BILL, le="0.25") == 0
    assert seen("handler_duration_seconds_sum", **BILL) == pytest.approx(10_000)


async def test_p20_p33_what_was_taken_over_lost_or_vanished_is_counted(url: str, redis: Redis) -> None:
    broker, metrics, facts = made(url)
    go_on = asyncio.Event()

    @broker.handler("orders", lease=0.6, concurrency=20, order="none")
    async def bill(order: Order, delivery: Delivery) -> None:
        await go_on.wait()

    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    for number in range(4):
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number}}}'})
    await redis.xreadgroup("g", "gone", {"orders": ">"})
    ids = [entry_id for entry_id, _ in await redis.xrange("orders")]
    await redis.xclaim("orders", "g", "gone", 0, ids, idle=60_000)
    async with broker:
        await until(lambda: broker.status[0].running == 4, DEADLINE)
        await redis.xclaim("orders", "g", "thief", 0, ids[:1], idle=0)
        await redis.xdel("orders", ids[1])
        await until(lambda: all_of(facts, LeaseLost) and all_of(facts, EntriesVanished), DEADLINE)
        go_on.set()
        await until(lambda: len(all_of(facts, Handled)) >= 4, DEADLINE)
    seen = scrape(metrics)
    assert seen("reclaimed_total", **GROUP) == sum(fact.count for fact in all_of(facts, Reclaimed)) >= 4
    assert seen("lost_leases_total", **BILL) == len(all_of(facts, LeaseLost))
    assert seen("lost_entries_total", **GROUP) == sum(len(fact.ids) for fact in all_of(facts, EntriesVanished)) == 1
    lost = sum(fact.outcome == "lost" for fact in all_of(facts, Handled))
    assert (seen("handled_total", **BILL, outcome="lost") or 0) == lost


async def test_p33_the_events_of_an_iterator_are_counted(url: str) -> None:
    metrics = Prometheus(CollectorRegistry())
    async with (
        Connection(url) as connection,
        Broker(url) as broker,
        StreamConsumer(connection, "orders", "g", payload_type=Order, telemetry=Telemetry([metrics])) as consumer,
    ):
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        async for event in consumer.subscribe():
            await consumer.acknowledge(event)
            if event.payload.number == 2:
                break
    seen = scrape(metrics)
    assert seen("handled_total", **GROUP, handler="", outcome="acknowledged") == 3
    assert seen("latency_seconds_count", **GROUP, handler="") == 3


async def test_p33_no_label_is_unbounded(url: str) -> None:
    broker, metrics, _ = made(url)

    @broker.handler("orders", unknown="skip")
    async def bill(order: Order) -> None: ...

    async with broker:
        for number in range(30):
            await broker.publish(
                "orders", {"n": number}, event_type=f"Type{number}", key=f"k{number}", event_id=f"e{number}"
            )
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 31, DEADLINE)
    seen = scrape(metrics)
    assert {name for _, labels in seen.samples for name, _ in labels} <= ALLOWED
    assert len([name for name, _ in seen.samples if name.endswith("_total")]) < 20


# -- gauges -------------------------------------------------------------------------------------------------------


async def test_p28_p33_gauges_are_of_now(url: str) -> None:
    broker, metrics, _ = made(url)
    go_on = asyncio.Event()

    @broker.handler("orders", concurrency=3, order="none")
    async def bill(order: Order) -> None:
        await go_on.wait()

    assert scrape(metrics)("ready") == 0
    assert scrape(metrics)("live") == 1
    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(2000)])
        await until(
            lambda: (scrape(metrics)("running", **GROUP), scrape(metrics)("lag_known", **GROUP)) == (3, 1), DEADLINE
        )
        await until(lambda: (scrape(metrics)("lag", **GROUP) or 0) + (scrape(metrics)("pending", **GROUP) or 0) == 2000)
        seen = scrape(metrics)
        assert (seen("ready"), seen("live"), seen("subscription_ready", **GROUP), seen("paused", **GROUP)) == (
            1,
            1,
            1,
            0,
        )
        await until(lambda: scrape(metrics)("rate_out", **GROUP) == 0, DEADLINE, "its handlers wait")
        assert scrape(metrics)("time_to_drain_seconds", **GROUP) is None, "never, as it is now"
        age = seen("oldest_age_seconds", **GROUP)
        assert age is not None
        assert 0 < age < 60
        await until(lambda: scrape(metrics)("event_loop_delay_seconds") is not None, DEADLINE)
        go_on.set()
        await until(lambda: broker.status[0].settled == 2000, DEADLINE)
        await until(lambda: scrape(metrics)("pending", **GROUP) == 0, DEADLINE)
        seen = scrape(metrics)
        assert (seen("lag", **GROUP), seen("lag_known", **GROUP), seen("oldest_age_seconds", **GROUP)) == (0, 1, 0)
    seen = scrape(metrics)
    assert (seen("ready"), seen("live"), seen("lag", **GROUP)) == (0, 1, None)


async def test_p20_p33_an_unknown_lag_is_missing_and_not_0(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "COUNTED_AT_MOST", 3)
    broker, metrics, _ = made(url)
    go_on = asyncio.Event()

    @broker.handler("orders", concurrency=1)
    async def bill(order: Order) -> None:
        await go_on.wait()

    ids = [await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":1}'}) for _ in range(2000)]
    async with broker:
        await until(lambda: scrape(metrics)("lag_known", **GROUP) == 1, DEADLINE)
        await redis.xdel("orders", ids[-2])  # Redis does not know the lag any more
        await until(lambda: scrape(metrics)("lag_known", **GROUP) == 0, DEADLINE)
        seen = scrape(metrics)
        assert seen("lag", **GROUP) is None
        assert seen("pending", **GROUP), "this is known"
        go_on.set()


async def test_p33_what_was_measured_before_an_outage_says_nothing_about_now(
    new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_gauges, "AT_LEAST", 0.5)
    server = new_server()
    broker, metrics, facts = made(server.url)

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with broker:
        await until(lambda: scrape(metrics)("lag", **GROUP) == 0, DEADLINE)
        server.stop()
        await until(lambda: scrape(metrics)("lag_known", **GROUP) == 0, DEADLINE)
        seen = scrape(metrics)
        assert (seen("lag", **GROUP), seen("pending", **GROUP)) == (None, None)
        await until(lambda: (scrape(metrics)("ready"), scrape(metrics)("live")) == (0, 1), DEADLINE)
        await until(lambda: all_of(facts, StepFailed), DEADLINE)
        server.start()
        await until(lambda: scrape(metrics)("lag", **GROUP) == 0, DEADLINE)
    assert scrape(metrics)("failed_steps_total") == len(all_of(facts, StepFailed)) > 0


async def test_p33_two_brokers_of_a_process_have_each_series_once(url: str) -> None:
    metrics = Prometheus(CollectorRegistry())
    brokers = [Broker(url, group="g", settings=FAST, observers=[metrics]) for _ in range(2)]
    go_on = asyncio.Event()
    for broker in brokers:
        metrics.watch(broker)
        metrics.watch(broker)

        @broker.handler("orders", concurrency=2, order="none")
        async def bill(order: Order) -> None:
            await go_on.wait()

    async with brokers[0]:
        assert (scrape(metrics)("ready"), scrape(metrics)("live")) == (0, 1), "the other one is not open"
        async with brokers[1]:
            await brokers[0].publish_many("orders", [Order(number) for number in range(100)])
            await until(lambda: scrape(metrics)("running", **GROUP) == 4, DEADLINE)
            assert scrape(metrics)("ready") == 1
            go_on.set()


# -- the page -----------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent.parent / "docs" / "metrics.md").read_text("utf-8")


async def test_the_page_lists_every_metric_with_its_type_and_labels(url: str) -> None:
    broker, metrics, _ = made(url)

    @broker.handler("orders", retry=AT_ONCE)
    async def bill(order: Order) -> None:
        if order.number:
            raise KeyError

    async with broker:
        await broker.publish_many("orders", [Order(0), Order(1)])
        assert broker.ready
        await until(lambda: scrape(metrics).total("dead_lettered_total") == 1, DEADLINE)
        await until(lambda: scrape(metrics)("event_loop_delay_seconds") is not None, DEADLINE)
        await until(lambda: scrape(metrics)("lag", **GROUP) is not None, DEADLINE)
        seen = scrape(metrics)
    listed = {
        name.removesuffix("_total"): (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE)
    }
    found = {name: family for name, family in seen.families.items() if not name.endswith("_created")}
    assert {name: kind for name, (kind, _) in listed.items()} == {name: each.type for name, each in found.items()}
    for name, family in found.items():
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == listed[name][1], name
    assert all(family.documentation for family in found.values())


# -- how they are served ------------------------------------------------------------------------------------------


async def test_probes_serve_the_metrics_in_the_format_that_is_accepted(url: str) -> None:
    metrics = Prometheus(CollectorRegistry())
    broker = Broker(url, group="g", settings=FAST, observers=[metrics])

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with client_of(probes(broker)) as client, broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1, DEADLINE)
        await until(lambda: scrape(metrics)("handled_total", **BILL, outcome="acknowledged") == 1, DEADLINE)
        text = await client.get("/metrics", headers={"accept": "text/plain"})
        assert text.headers["content-type"].startswith("text/plain; version=")
        assert Scraped(text.text)("handled_total", **BILL, outcome="acknowledged") == 1
        accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        newer = await client.get("/metrics", headers={"accept": accept})
        assert newer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        seen = Scraped(newer.text, read_open_metrics)
        assert seen("handled_total", **BILL, outcome="acknowledged") == 1
        assert seen("ready") == 1, "they watch the broker"


def test_a_second_one_in_a_registry_and_wrong_values_are_refused() -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Prometheus(registry)
    with pytest.raises(ConfigError, match="registry"):
        Prometheus("here")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="broker"):
        metrics.watch("here")  # type: ignore[arg-type]


MANY = """
import asyncio, sys
from redis_streams_aio import Broker
from redis_streams_aio.integrations.prometheus import Prometheus
from redis_streams_aio.testing.waiting import until

async def main():
    metrics = Prometheus()
    broker = Broker(sys.argv[1], group=sys.argv[2], observers=[metrics])
    metrics.watch(broker)
    done = []
    @broker.handler("orders")
    async def bill(order: dict) -> None:
        done.append(order)
    async with broker:
        await until(lambda: len(done) == 3, 30)
    print(metrics.exposition()[1].decode())

asyncio.run(main())
"""


async def test_processes_that_share_a_directory_are_counted_together(url: str, redis: Redis, tmp_path: Path) -> None:
    for number in range(3):
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number}}}'})
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    texts = []
    for group in ("one", "two"):
        command = [sys.executable, "-c", MANY, url, group]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        texts.append(done.stdout)
    seen = Scraped(texts[1])
    for group in ("one", "two"):
        assert seen("handled_total", stream="orders", group=group, handler="bill", outcome="acknowledged") == 3
    assert seen("ready") == 0, "gauges are of the process that is scraped, which has closed its broker"


async def test_another_server_can_serve_them(url: str) -> None:
    """prometheus-client's own, in a thread of its own."""
    from prometheus_client import start_http_server

    broker, metrics, _ = made(url)

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics._registry)
    try:
        async with broker, httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{server.server_port}/metrics")
            assert Scraped(answer.text)("subscription_ready", **GROUP) == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
