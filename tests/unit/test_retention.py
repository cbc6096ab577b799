"""`Retention`, and what a sweep tells: which group keeps a stream, which one a bound will hurt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from redis_streams_aio import ConfigError, Retention, ServerError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.retention import GroupState, Rules, Swept, swept
from redis_streams_aio.integrations.prometheus import Prometheus
from redis_streams_aio.monitoring.retention import PINNED_AFTER, Course, Watch, rules_of
from redis_streams_aio.telemetry import Fact, RetentionNear, RetentionPinned, UnsettledTrimmed

# -- the option ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "set max_length, max_age or acknowledged"),
        ({"acknowledged": False}, "set max_length, max_age or acknowledged"),
        ({"max_length": 5, "keep": 60}, "belong to acknowledged=True"),
        ({"max_age": 5, "groups": ["billing"]}, "belong to acknowledged=True"),
        ({"max_age": 5, "abandoned_after": 5}, "belong to acknowledged=True"),
        ({"max_age": 0}, r"^Retention\(max_age=0\): .* \(in seconds, a number\)"),
        ({"max_age": "7d"}, r"^Retention\(max_age='7d'\): .* \(in seconds, a number\)"),
        ({"max_length": True}, r"^Retention\(max_length=True\)"),
        ({"acknowledged": 1}, r"^Retention\(acknowledged=1\)"),
        ({"acknowledged": True, "keep": -1}, r"^Retention\(keep=-1\): .* \(in seconds, a number\)"),
        ({"acknowledged": True, "abandoned_after": 0}, r"^Retention\(abandoned_after=0\)"),
        ({"acknowledged": True, "groups": "billing"}, r"^Retention\(groups='billing'\)"),
        ({"acknowledged": True, "groups": ["${GROUP}"]}, "groups"),
        ({"acknowledged": True, "groups": [""]}, "groups"),
    ],
)
def test_p21_a_retention_that_cannot_work_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Retention(**given)


def test_p21_groups_of_the_broker_count_like_those_that_are_named() -> None:
    kept = Retention(acknowledged=True, keep=60, groups=("audit", "billing"))
    assert rules_of(kept, ["billing", "mail"]) == Rules(keep_settled=60, groups=("audit", "billing", "mail"))
    assert rules_of(Retention(max_age=5, max_length=9), []) == Rules(max_age=5, max_length=9)


# -- how many entries are behind an id ----------------------------------------------------------------------------


def state(name: str = "billing", **known: Any) -> GroupState:
    first = {"read": "0-0", "place": "1000-0", "placed_ms": 0, "stood_ms": 0, "counts": True, "pending": 0}
    nothing = {"entries_read": None, "taken_before": 0, "taken_by_age": 0, "taken_abandoned": 0}
    return GroupState(name=name, **{**first, **nothing, **known})


def found(now: int, length: int, first: int, last: int, groups: Sequence[GroupState] = (), added: int = -1) -> Swept:
    return Swept(
        now_ms=now,
        more=False,
        trimmed=0,
        length=length,
        added=length if added < 0 else added,
        first=f"{first}-0",
        last=f"{last}-0",
        groups=[*groups],
    )


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.data())
def test_p21_the_estimate_of_entries_is_right_where_it_was_noted(gaps: list[int], data: st.DataObject) -> None:
    """With a note after each entry it is exact, whatever was trimmed meanwhile; and it never counts the other way."""
    times = [1_000 + sum(gaps[: index + 1]) for index in range(len(gaps))]
    course = Course()
    course.note(1_000, 0)
    for index, time in enumerate(times):
        course.note(time, index + 1)
    trimmed = data.draw(st.integers(0, len(times) - 1))
    left = times[trimmed:]
    seen = found(times[-1], len(left), left[0], left[-1], added=len(times))
    estimated = [course.entries_from(f"{time}-0", seen) for time in left]
    exact = [len(left) - index for index in range(len(left))]
    assert all(abs(one - other) <= 1 for one, other in zip(estimated, exact, strict=True))
    assert estimated[0] == len(left)
    assert estimated == sorted(estimated, reverse=True)


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**9)), max_size=700), st.integers(0, 10**13))
def test_p21_the_estimate_stays_within_the_stream(notes: list[tuple[int, int]], place: int) -> None:
    course = Course()
    for now, added in notes:
        course.note(now, added)
    seen = found(10**13, 500, 10**12, 10**13 - 1, added=1_000_000)
    assert 0 <= course.entries_from(f"{place}-0", seen) <= 500


def test_p21_without_notes_entries_count_as_if_they_had_come_evenly() -> None:
    seen = found(2_000, 100, 1_000, 2_000)
    assert Course().entries_from("1500-0", seen) == 50
    assert Course().entries_from("1000-0", seen) == 100
    assert Course().entries_from("1-0", seen) == 100
    assert Course().entries_from("3000-0", seen) == 0


# -- facts --------------------------------------------------------------------------------------------------------

BY_LENGTH = Retention(max_length=100)


def told(watch: Watch, *seen: Swept) -> list[list[Fact]]:
    return [list(watch.facts(each)) for each in seen]


def test_p21_a_group_near_a_length_is_named_once_until_it_has_caught_up() -> None:
    watch = Watch("orders", BY_LENGTH)
    far = found(2_000, 90, 1_000, 2_000, [state(place="1000-0")])
    near = found(2_000, 70, 1_000, 2_000, [state(place="1000-0")])
    caught_up = found(2_000, 90, 1_000, 2_000, [state(place="2000-1", read="2000-0")])
    news = [RetentionNear(stream="orders", group="billing", bound="max_length", limit=100, reached=90)]
    assert told(watch, near, far, far, near, far, caught_up, far) == [[], news, [], [], [], [], news]


def test_p21_pending_entries_count_for_the_length_too() -> None:
    [facts] = told(Watch("orders", BY_LENGTH), found(2_000, 100, 1_000, 2_000, [state(place="1990-0", pending=85)]))
    assert facts == [RetentionNear(stream="orders", group="billing", bound="max_length", limit=100, reached=85)]


def test_p21_a_group_near_an_age_is_named() -> None:
    kept = Retention(max_age=10)
    old = found(9_500, 5, 500, 9_000, [state(place="1000-0")])
    [facts] = told(Watch("orders", kept), old)
    assert facts == [RetentionNear(stream="orders", group="billing", bound="max_age", limit=10, reached=8.5)]
    [nothing] = told(Watch("orders", kept), found(9_500, 5, 500, 9_000, [state(place="9000-1", read="9000-0")]))
    assert nothing == [], "it has settled all there is"
    [nothing] = told(Watch("orders", kept), found(9_500, 5, 500, 9_000, [state(place="0-1", read="-")]))
    assert nothing == [], "it does not exist"


def test_p21_a_group_that_is_about_to_count_no_more_is_named() -> None:
    kept = Retention(acknowledged=True, abandoned_after=100)
    [facts] = told(Watch("orders", kept), found(90_000, 5, 500, 9_000, [state(stood_ms=1_000, placed_ms=1_000)]))
    assert facts == [RetentionNear(stream="orders", group="billing", bound="abandoned_after", limit=100, reached=89)]


def test_p21_a_group_that_pins_the_stream_is_named_with_its_age_and_what_it_holds() -> None:
    watch = Watch("orders", Retention(acknowledged=True))
    age = round(PINNED_AFTER * 1000)
    slow, quick = state("slow", place="1000-0"), state("quick", place="1500-0", placed_ms=1)
    for now, expected in ((age - 1, []), (age, [RetentionPinned]), (age + 1, [])):
        facts = list(watch.facts(found(now, 100, 1_000, 2_000, [quick, slow])))
        assert [type(fact) for fact in facts] == expected
    [moved] = told(watch, found(2 * age, 100, 1_000, 2_000, [quick, state("slow", place="1200-0", placed_ms=age)]))
    assert [(fact.group, fact.place) for fact in moved if isinstance(fact, RetentionPinned)] == [("slow", "1200-0")]
    assert str(moved[0]).startswith("orders/slow: has settled nothing for 300 s, and keeps ")


def test_p21_who_has_settled_everything_pins_nothing() -> None:
    watch = Watch("orders", Retention(acknowledged=True))
    idle = state(place="2000-1", read="2000-0")
    assert told(watch, found(10**9, 100, 1_000, 2_000, [idle]), found(10**9, 0, 1_000, 0, [])) == [[], []]
    ignored = state(counts=False)
    assert told(watch, found(10**9, 100, 1_000, 2_000, [ignored])) == [[]]
    absent = state("audit", read="-", place="0-1")
    [facts] = told(watch, found(10**9, 100, 1_000, 2_000, [absent]))
    assert [(type(fact), fact.group) for fact in facts] == [(RetentionPinned, "audit")]  # type: ignore[attr-defined]


def test_p33_entries_that_a_bound_took_are_a_metric() -> None:
    registry = CollectorRegistry()
    count = Prometheus(registry)
    for lost in (3, 4):
        count(UnsettledTrimmed(stream="orders", group="billing", bound="max_age", count=lost))
    labels = {"stream": "orders", "group": "billing"}
    assert registry.get_sample_value("redis_streams_trimmed_unsettled_total", labels) == 7


# -- replies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [None, b"x", [], [b"1"], [b"1", b"", 0, 0, 0, 0, b"1-0", b"x", []], [b"1", b"", 0, 0, -1, 0, b"1-0", b"1-0", []]],
)
def test_a_reply_that_is_none_of_the_step_is_refused(reply: Reply) -> None:
    with pytest.raises(ServerError):
        swept(reply)
