"""How many entries are asked for at once, after replies that were too big to come through (P6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio.connection.handful import Handful
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
