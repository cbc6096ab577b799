"""Thresholds of `check`, and its formats."""

from __future__ import annotations

import json
import re

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from redis_streams_aio.cli import check_formats
from redis_streams_aio.cli.check_formats import Report
from redis_streams_aio.cli.thresholds import CODES, Bounds, BoundsType, measured, worst


@pytest.mark.parametrize(
    ("bounds", "value", "state"),
    [
        (Bounds(10, 20), 9, "ok"),
        (Bounds(10, 20), 10, "warning"),
        (Bounds(10, 20), 19.9, "warning"),
        (Bounds(10, 20), 20, "critical"),
        (Bounds(None, 20), 19, "ok"),
        (Bounds(10, None), 99, "warning"),
        (Bounds(10, 20), None, "unknown"),
        (Bounds(), None, "ok"),
        (Bounds(2, 1, is_least=True), 2, "ok"),
        (Bounds(2, 1, is_least=True), 1, "warning"),
        (Bounds(2, 1, is_least=True), 0, "critical"),
    ],
)
def test_a_value_has_the_state_of_the_bound_that_it_reaches(bounds: Bounds, value: float | None, state: str) -> None:
    assert bounds.state(value) == state


def test_what_is_not_known_is_worse_than_a_warning() -> None:
    assert worst([]) == "ok"
    assert worst(["ok", "warning", "unknown"]) == "unknown"
    assert worst(["unknown", "critical", "warning"]) == "critical"


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("1000,10000", Bounds(1000, 10_000)),
        ("100", Bounds(100)),
        (",100", Bounds(None, 100)),
        ("90s, 5min", Bounds(90, 300)),
        ("2h,1d", Bounds(7_200, 86_400)),
        ("none", Bounds()),
    ],
)
def test_bounds_are_read(text: str, bounds: Bounds) -> None:
    assert BoundsType(is_age=True).convert(text, None, None) == bounds


@pytest.mark.parametrize("text", ["", ",", "many", "-1", "1,2,3", "5min"])
def test_what_is_no_threshold_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected WARNING,CRITICAL such as 1000,10000, one of them, or none"):
        BoundsType().convert(text, None, None)


ODD = "o\"r\\d|e'r=s"
REPORT = Report(
    [
        measured(ODD, "billing", "lag", 12_480, Bounds(1000, 10_000)),
        measured(ODD, "billing", "age", 450.5, Bounds(300, 1800)),
        measured(ODD, "mail", "lag", None, Bounds(1000, 10_000)),
        measured(ODD, "mail", "consumers", 0, Bounds(2, 1, is_least=True)),
        measured(ODD, "mail", "dead letters", 0, Bounds(1)),
    ]
)


def test_people_read_one_line_for_each_problem() -> None:
    assert [*check_formats.text(REPORT)] == [
        f"CRITICAL {ODD} / billing: lag 12,480 (critical from 10,000)",
        f"UNKNOWN {ODD} / mail: lag is unknown",
        f"CRITICAL {ODD} / mail: consumers 0 (critical below 1)",
        f"WARNING {ODD} / billing: age 7.5 min (warning from 5.0 min)",
    ]
    assert [*check_formats.text(Report(REPORT.checks[-1:]))] == ["OK 1 group is within bounds"]


def test_nagios_reads_one_line_with_one_bar_and_performance_data() -> None:
    [line] = check_formats.nagios(REPORT)
    told, _, data = line.partition(" | ")
    assert told.startswith("REDIS STREAMS CRITICAL - ")
    assert "|" not in told + data
    parts = re.findall(r"'((?:[^']|'')+)'=([\d.]+)(s?);([\d.]*);([\d.]*)(?: |$)", data)
    assert [part[1:] for part in parts] == [
        ("12480", "", "1000", "10000"),
        ("450.5", "s", "300", "1800"),
        ("0", "", "2", "1"),
        ("0", "", "1", ""),
    ]


def test_prometheus_reads_what_it_is_given() -> None:
    families = {
        each.name: each for each in text_string_to_metric_families("\n".join(check_formats.prometheus(REPORT)) + "\n")
    }
    states = families["redis_streams_check_state"].samples
    assert (states[0].labels, states[0].value) == ({}, CODES["critical"])
    assert [(each.labels["check"], each.value) for each in states[1:]] == [
        ("lag", 2),
        ("age", 1),
        ("lag", 3),
        ("consumers", 2),
        ("dead_letters", 0),
    ]
    values = families["redis_streams_check_value"].samples
    assert [each.value for each in values] == [12_480, 450.5, 0, 0], "an unknown lag has no sample"
    assert {each.labels["stream"] for each in values} == {ODD}


def test_json_has_the_state_and_all_values() -> None:
    [line] = check_formats.json(REPORT)
    shown = json.loads(line)
    assert (shown["state"], shown["code"], shown["problem"], len(shown["checks"])) == ("critical", 2, None, 5)
    assert shown["checks"][2]["value"] is None


@pytest.mark.parametrize("style", check_formats.FORMATS)
def test_a_problem_without_values_is_told_in_each_format(style: str) -> None:
    report = Report([], "Redis does not answer", "unknown")
    assert report.state == "unknown"
    assert any("3" in line or "UNKNOWN" in line for line in check_formats.FORMATS[style](report))
