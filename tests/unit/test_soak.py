"""The soak's verdict: what grows is named, what only swings is not."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak.picture import draw
from tests.soak.verdict import LIMITS, Limit, Sample, Trend, growing_most, trends


def course(*values: float) -> list[Sample]:
    return [{"at": float(second), "handled": second * 100.0, "fds": value} for second, value in enumerate(values)]


def verdict(*values: float, may_grow: float = 2, warm_up: float = 0.0) -> bool:
    [trend] = trends(course(*values), {"fds": Limit(may_grow)}, warm_up)
    return trend.is_flat


@given(st.lists(st.integers(100, 102), min_size=3, max_size=50))
def test_what_swings_within_the_limit_is_flat(values: list[int]) -> None:
    assert verdict(*values)


@given(st.integers(3, 60), st.floats(0.2, 100))
def test_what_grows_all_the_time_is_not_flat(count: int, leak: float) -> None:
    grown = leak * (count - count // 3)  # between the middles of the two thirds
    assert verdict(*(number * leak for number in range(count)), may_grow=grown * 1.01)
    assert not verdict(*(number * leak for number in range(count)), may_grow=grown * 0.99)


def test_one_outlier_is_no_leak() -> None:
    assert verdict(*[10] * 20, 500, *[10] * 2)
    assert verdict(*[10] * 20, 10, 10, 500)


def test_what_falls_is_flat() -> None:
    assert verdict(*range(100, 0, -1))


def test_the_warm_up_does_not_count() -> None:
    growing, steady = range(10), [10] * 40
    assert verdict(*growing, *steady, warm_up=0.2)
    assert not verdict(*growing, *steady[:5], warm_up=0.0)


def test_a_limit_is_so_many_or_a_part_whatever_is_more() -> None:
    assert Trend("x", 1000, 1100, Limit(5, 0.1)).is_flat
    assert not Trend("x", 1000, 1101, Limit(5, 0.1)).is_flat
    assert Trend("x", 10, 15, Limit(5, 0.1)).is_flat
    assert not Trend("x", 10, 16, Limit(5, 0.1)).is_flat


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="2 samples are too few"):
        verdict(1, 1)


def test_types_that_grow_most_come_first() -> None:
    before = {"dict": 100, "list": 50, "Task": 3}
    after = {"dict": 101, "list": 40, "Task": 9, "Event": 2}
    assert growing_most(before, after) == [("Task", 6), ("Event", 2), ("dict", 1)]
    assert growing_most(before, after, count=1) == [("Task", 6)]


def test_the_picture_is_xml_and_names_what_grows_in_words_and_colour() -> None:
    samples = [dict.fromkeys(("at", "handled", *LIMITS), float(number + 1)) for number in range(12)]
    judged = trends(samples, {name: Limit(3) if name == "tasks" else Limit(100) for name in LIMITS})
    picture = ET.fromstring(draw(samples, judged))
    lines = [line.get("stroke") for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == len(LIMITS)
    assert len(set(lines)) == 2, "one colour for what is flat, another for what grows"
    assert lines.count(lines[list(LIMITS).index("tasks")]) == 1
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert set(LIMITS) <= set(texts)
