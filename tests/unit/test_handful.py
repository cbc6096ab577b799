"""How many entries are asked for at once, after replies that were too big to come through (P6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio.connection.handful import REPLY_BYTES, Handful
from redis_streams_aio.connection.replies import RawEntry
from redis_streams_aio.exceptions import RedisRefusedError, UnansweredError


def test_p6_half_as_many_are_asked_for_after_each_loss_down_to_one() -> None:
    handful = Handful(100)
    sizes = [handful.size]
    for _ in range(8):
        handful.lost(handful.size)
        sizes.append(handful.size)
    assert sizes == [100, 50, 25, 12, 6, 3, 1, 1, 1]


def test_p6_a_step_that_asked_for_less_says_more() -> None:
    handful = Handful(100)
    handful.lost(4)
    assert handful.size == 2


def test_only_a_reply_that_is_full_lets_the_number_grow() -> None:
    handful = Handful(100)
    handful.lost(100)
    handful.came(49)
    assert handful.size == 50
    handful.came(50)
    assert handful.size == 51


def test_what_was_lost_is_tried_again_only_slowly() -> None:
    """Where three are too many: one loss in eight steps, and not every second one."""
    handful = Handful(100)
    losses = 0
    for _ in range(240):
        if handful.size >= 3:
            handful.lost(handful.size)
            losses += 1
        else:
            handful.came(handful.size)
    assert 20 <= losses <= 30


@given(st.integers(1, 10_000), st.lists(st.booleans()))
def test_it_is_between_one_and_most_and_comes_back_to_most(most: int, lost: list[bool]) -> None:
    handful = Handful(most)
    for one in lost:
        (handful.lost if one else handful.came)(handful.size)
        assert 1 <= handful.size <= most
    for _ in range(most + 200):
        handful.came(handful.size)
    assert handful.size == most


def test_only_an_answer_that_was_lost_counts() -> None:
    handful = Handful(100)
    with pytest.raises(RedisRefusedError), handful.asking_for(100):
        raise RedisRefusedError("LOADING")
    assert handful.size == 100
    with pytest.raises(UnansweredError), handful.asking_for(100):
        raise UnansweredError("lost")
    assert handful.size == 50


def entries(many: int, size: int) -> list[RawEntry]:
    return [RawEntry(b"1-1", [b"payload", b"x" * size])] * many


def test_p6_no_more_is_asked_for_than_fits_into_a_reply() -> None:
    handful = Handful(100)
    handful.weigh(entries(3, 1_000_000))
    assert handful.size == 2
    assert handful.within(8 * REPLY_BYTES) == 16
    handful.weigh(entries(1, 3_000_000))
    assert handful.size == 1


def test_big_entries_are_remembered_for_a_while() -> None:
    handful = Handful(100)
    handful.weigh(entries(1, 1_000_000))
    sizes = []
    for _ in range(40):
        handful.weigh(entries(20, 100))
        sizes.append(handful.size)
    assert sizes == sorted(sizes)
    assert sizes[2] < 10
    assert sizes[-1] == 100


@pytest.mark.parametrize("many", [1, 7, 8, 9, 100, 1000])
def test_a_few_of_many_are_weighed(many: int) -> None:
    weighed = 0

    class Watched:
        @property
        def fields(self) -> list[bytes]:
            nonlocal weighed
            weighed += 1
            return [b"x"]

    Handful(100).weigh([Watched()] * many)
    assert min(many, 5) <= weighed <= 8


def test_nothing_that_came_says_nothing() -> None:
    handful = Handful(100)
    handful.weigh([])
    handful.weigh([RawEntry(b"1-1", None)])
    assert handful.size == 100
