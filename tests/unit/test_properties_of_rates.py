"""Rates in and out, and the time to drain: never guessed, and exact where events come and go evenly (P28)."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import LagReport
from redis_streams_aio.monitoring.lag import Marks, is_behind
from redis_streams_aio.monitoring.rates import LEAST, WINDOW, Counts, Rates, remember, time_to_drain

NUMBERS = st.integers(0, 10**9)


def report(lag: int | None, pending: int = 0, age: float | None = None) -> LagReport:
    return LagReport("s", "g", lag, pending, age)


@given(
    st.floats(1, 1000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.lists(st.floats(0.1, 30), min_size=1, max_size=50),
)
def test_p28_even_rates_are_measured_exactly(start: float, per_in: int, per_out: int, gaps: list[float]) -> None:
    per_out = min(per_in, per_out)
    rates, now, found = Rates(), start, report(0)
    rates.rated(report(0), 0, now)
    for gap in gaps:
        now += gap
        added = round(per_in * (now - start))
        settled = round(per_out * (now - start))
        found = rates.rated(report(added - settled), added, now)
    if found.rate_in is None or found.rate_out is None:
        assert now - start < LEAST + 0.5, "it was long enough"
        return
    assert found.rate_in == pytest.approx(per_in, abs=1 / LEAST + 1e-6)
    assert found.rate_out == pytest.approx(per_out, abs=1 / LEAST + 1e-6)


@given(st.lists(st.tuples(st.floats(0, 100), NUMBERS, st.one_of(st.none(), NUMBERS)), max_size=30))
def test_p28_rates_are_never_negative_and_the_past_is_bounded(steps: list[tuple[float, int, int | None]]) -> None:
    rates, now = Rates(), 0.0
    for gap, added, behind in steps:
        now += gap
        found = rates.rated(report(behind), added, now)
        for rate in (found.rate_in, found.rate_out, found.time_to_drain):
            assert rate is None or rate >= 0
        if behind is None:
            assert (found.rate_in, found.rate_out, found.time_to_drain) == (None, None, None)
        past = rates._past["s", "g"]
        assert len(past) <= 2 * WINDOW + 2
        assert [each.at for each in past] == sorted(each.at for each in past)


def test_the_past_begins_anew_where_numbers_go_back() -> None:
    past = deque([Counts(0, 100, 50), Counts(10, 200, 150)])
    remember(past, Counts(20, 5, 0))
    assert list(past) == [Counts(20, 5, 0)]
    remember(past, Counts(30, 6, 1))
    remember(past, Counts(31, 6, 0))
    assert list(past) == [Counts(31, 6, 0)], "a group that was moved back"


def test_measurements_that_follow_each_other_at_once_are_not_kept() -> None:
    past: deque[Counts] = deque()
    for at in (0.0, 0.1, 0.2, 0.6):
        remember(past, Counts(at, 1, 1))
    assert [each.at for each in past] == [0.0, 0.6]


def test_where_the_number_of_added_entries_is_unknown_so_are_the_rates() -> None:
    rates = Rates()
    assert rates.rated(report(5), None, 0.0) == report(5)
    rates.rated(report(5), 10, 1.0)
    assert rates.rated(report(5), 20, 3.0).rate_in == 5.0


@pytest.mark.parametrize(
    ("behind", "rate_in", "rate_out", "expected"),
    [
        (0, None, None, 0.0),
        (100, 10.0, 20.0, 10.0),
        (100, 20.0, 20.0, None),
        (100, 30.0, 20.0, None),
        (100, None, 20.0, None),
        (100, 20.0, None, None),
    ],
)
def test_p28_the_time_to_drain(
    behind: int, rate_in: float | None, rate_out: float | None, expected: float | None
) -> None:
    assert time_to_drain(behind, rate_in, rate_out) == expected


@pytest.mark.parametrize(
    ("was_behind", "age", "behind", "expected"),
    [
        (False, 59.0, 1, False),
        (False, 61.0, 1, True),
        (False, None, 101, True),
        (True, 31.0, 1, True),
        (True, 30.0, 1, False),
        (True, 30.0, 11, True),
        (True, None, 0, False),
    ],
)
def test_p28_a_group_is_behind_by_age_too(was_behind: bool, age: float | None, behind: int, expected: bool) -> None:
    assert is_behind(was_behind, report(behind, 0, age), Marks(100, 10, 60.0)) == expected
