"""A short run of every target, the same each time; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from tests.fuzz.running import FoundError, Target, run
from tests.fuzz.targets import TARGETS

INPUTS = 200


@pytest.fixture(autouse=True)
def _far_in_the_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the last day of the calendar is over first; and nothing is logged, which it would be 200 times."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_p13_whatever_others_wrote_is_read_or_refused(target: Target) -> None:
    run(target, 0, range(INPUTS))


def test_a_finding_names_its_input() -> None:
    def make(rng: object) -> list[int]:
        return [rng.randrange(10)]  # type: ignore[attr-defined]

    def check(given: list[int]) -> None:
        assert given[0] != 7

    with pytest.raises(FoundError, match=r"sevens, seed 3, input \d+: \[7\]") as caught:
        run(Target("sevens", 1, make, check), 3, range(1000))
    assert isinstance(caught.value.__cause__, AssertionError)


def test_an_input_is_the_same_whatever_ran_before_it() -> None:
    seen: list[object] = []
    for numbers in (range(5), range(4, 5)):
        run(Target("any", 1, TARGETS[0].make, seen.append), 1, numbers)
    assert seen[4] == seen[5]
