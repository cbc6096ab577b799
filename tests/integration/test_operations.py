"""What docs/operations has: every metric and label that it names is one that a broker exposes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from redis_streams_aio import Broker
from redis_streams_aio.integrations.asgi import probes
from redis_streams_aio.testing.waiting import until
from tests.docs import dashboard
from tests.events import Order
from tests.integration.test_probes import client_of
from tests.integration.test_prometheus import AT_ONCE, DEADLINE, GROUP, Scraped, made, scrape

OPERATIONS = dashboard.DASHBOARD.parent
OF_THE_SCRAPE = {"instance", "job"}
"""Labels that Prometheus adds to each target."""
VARIABLES = {"$stream", "$group", "$__rate_interval", "${datasource}"}


async def exposed(url: str) -> dict[str, set[str]]:
    """The labels of each series that a real broker exposes after a small run, by its name."""
    broker, metrics, _ = made(url)

    @broker.handler("orders", retry=AT_ONCE, deduplicate=60)
    async def bill(order: Order) -> None:
        if order.number:
            raise KeyError

    async with broker:
        await broker.publish_many("orders", [Order(0), Order(1)])
        await until(lambda: scrape(metrics).total("dead_lettered_total") == 1, DEADLINE)
        await until(lambda: scrape(metrics)("event_loop_delay_seconds") is not None, DEADLINE)
        await until(lambda: scrape(metrics)("lag", **GROUP) is not None, DEADLINE)
        await until(lambda: scrape(metrics)("rate_in", **GROUP) is not None, DEADLINE)
        await until(lambda: scrape(metrics)("time_to_drain_seconds", **GROUP) is not None, DEADLINE)
        seen = scrape(metrics)
    return {**_series(seen), **_of_families_without_samples(metrics)}


def _series(seen: Scraped) -> dict[str, set[str]]:
    return {f"redis_streams_{name}": {label for label, _ in labels} for name, labels in seen.samples}


def _of_families_without_samples(metrics: Any) -> dict[str, set[str]]:
    """Counters of what did not happen in the run: they have their names and labels all the same."""
    counters = [each for each in vars(metrics).values() if hasattr(each, "_labelnames")]
    return {f"{each._name}_total": set(each._labelnames) for each in counters if each._type == "counter"}


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The series of an expression, each with the labels that it is chosen by."""
    for name, selector in re.findall(r"(redis_streams_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))


def grouped(expression: str) -> set[str]:
    return {name.strip() for names in re.findall(r"by \(([^)]*)\)", expression) for name in names.split(",")}


def check(expression: str, shown: str, series: dict[str, set[str]]) -> None:
    """Fail for a name, a label, or a label in a legend or text that is not there."""
    names = dict(used(expression))
    assert names, expression
    for name, labels in names.items():
        assert name in series, name
        assert labels <= series[name], (name, labels)
    here = set.intersection(*(series[name] for name in names)) | OF_THE_SCRAPE
    by = grouped(expression)
    assert by <= here | {"le"}, expression
    told = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", shown))
    assert told <= (by or here), (expression, told)
    assert set(re.findall(r"\$\{?\w+\}?", expression)) <= VARIABLES


async def test_p33_every_panel_shows_what_a_broker_exposes(url: str) -> None:
    series = await exposed(url)
    panels = json.loads(dashboard.DASHBOARD.read_text("utf-8"))["panels"]
    assert len(panels) > 12
    for panel in panels:
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            check(target["expr"], target["legendFormat"], series)
    named = {name for panel in panels for target in panel["targets"] for name, _ in used(target["expr"])}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series} - {
        name for name in series if name.endswith("_created")
    }
    left_out = {name for name in shown if name not in {re.sub(r"_bucket$", "", each) for each in named}}
    assert {re.sub(r"^redis_streams_", "", name) for name in left_out if not name.endswith("_created")} == {
        "published_bytes_total",
        "publish_duration_seconds",
        "subscription_ready",
    }, "a metric that no panel shows"


async def test_p33_every_alert_is_about_what_a_broker_exposes(url: str) -> None:
    series = await exposed(url)
    [group] = yaml.safe_load((OPERATIONS / "alerts.yaml").read_text("utf-8"))["groups"]
    rules = group["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}
        check(rule["expr"], rule["annotations"]["summary"], series)


def test_the_dashboard_and_its_picture_are_up_to_date() -> None:
    assert dashboard.DASHBOARD.read_text("utf-8") == dashboard.dashboard(), "run python -m tests.docs.dashboard"
    assert dashboard.PICTURE.read_text("utf-8") == dashboard.picture(), "run it, and look at the picture"


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard.PANELS
        for x in range(panel.x, panel.x + panel.width)
        for y in range(panel.y, panel.y + panel.height)
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


async def test_keda_finds_its_value_where_the_scaled_object_says(url: str) -> None:
    scaled = yaml.safe_load((OPERATIONS / "scaledobject.yaml").read_text("utf-8"))
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["type"] == "metrics-api"
    place = trigger["metadata"]
    path = re.fullmatch(r"http://[^/]+/broker(/scale/\w+/\w+)", place["url"])
    assert path is not None
    broker = Broker(url, group="billing")

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with broker, client_of(probes(broker)) as client:
        answer = await client.get(path[1])
    assert answer.json()[place["valueLocation"]] == 0
    assert float(place["targetValue"]) > 0
    assert scaled["spec"]["fallback"]["replicas"] > 0, "while nobody knows"


@pytest.mark.parametrize("file", sorted(OPERATIONS.glob("*.yaml")), ids=lambda file: Path(file).name)
def test_every_file_is_valid_yaml(file: Path) -> None:
    assert all(isinstance(each, dict) for each in yaml.safe_load_all(file.read_text("utf-8")))
