"""The judge of failovers sees what is wrong with a run, and the table says the worst of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.failovers.judge import Fault, Outcome, judge
from tests.failovers.table import Cell, table, write
from tests.failovers.traffic import Handled, Published

FAULT = Fault(began=10.0, ended=12.0, hit=["hit"])


def published(*numbers: int, stream: str = "hit") -> list[Published]:
    return [Published(stream, number, f"{number}-0", float(number), number + 0.001) for number in numbers]


def handled(*numbers: float, stream: str = "hit", late: float = 0.01) -> list[Handled]:
    return [Handled(stream, int(number), f"{int(number)}-0", number + late) for number in numbers]


def outcome(
    sent: Sequence[Published], done: Sequence[Handled], kept: Sequence[int] = range(20), other: Sequence[int] = ()
) -> Outcome:
    return judge(FAULT, sent, done, {"hit": {f"{n}-0" for n in kept}, "other": {f"{n}-0" for n in other}})


def test_an_honest_run_has_nothing_against_it() -> None:
    found = outcome(published(*range(17)), handled(*range(17)))
    assert (found.lost, found.gone, found.twice, found.disordered) == (0, 0, 0, 0)
    assert found.fault == 2.0
    assert found.gap == pytest.approx(1.0)


def test_the_gap_is_the_longest_pause_that_ends_after_the_fault_began() -> None:
    assert outcome([], handled(1, 9, 14, 15, 16)).gap == pytest.approx(5.0)
    assert outcome([], handled(1, 9.5)).gap == pytest.approx(6.49), "it never went on"
    assert outcome([], []).gap == pytest.approx(6.0)


def test_what_redis_has_and_nobody_handled_is_lost_and_what_it_has_not_is_gone() -> None:
    found = outcome(published(1, 2, 3), handled(1), kept=[1, 2])
    assert (found.lost, found.gone) == (1, 1)


def test_second_runs_are_counted_and_are_no_disorder() -> None:
    found = outcome(published(1, 2, 3), [*handled(1, 2), *handled(1, 2, 3)])
    assert (found.twice, found.disordered) == (2, 0)


def test_a_first_run_behind_a_later_event_is_out_of_order() -> None:
    assert outcome(published(1, 2, 3), handled(1, 3, 2)).disordered == 1


def test_other_shards_are_measured_before_and_after() -> None:
    sent = published(*range(1, 15), stream="other")
    done = [*handled(*range(1, 10), stream="other"), *handled(*range(10, 15), stream="other", late=0.5)]
    found = outcome(sent, done, other=range(15))
    assert found.others_before == pytest.approx(0.01)
    assert found.others_after == pytest.approx(0.5)


def test_the_table_has_the_worst_of_the_runs(tmp_path: Path) -> None:
    runs = [Outcome(3.0, 3.4, 0, 2, 5, 0, 0.01, 0.012), Outcome(3.2, 3.44, 0, 0, 1, 0, 0.011, 0.01)]
    page = tmp_path / "page.md"
    page.write_text("# Failovers\n\n## Results\n\nold\n")
    write(page, {Cell("valkey-9.1", "cluster", "kill"): runs})
    written = page.read_text()
    row = "| cluster | primary killed (SIGKILL) | valkey 9.1 | 3.0-3.2 s | 3.4 s | 0 | 2 | 5 | 0 | 11 → 12 ms |\n"
    assert written.startswith("# Failovers\n\n## Results\n\n| topology |")
    assert written.endswith(row)
    assert "old" not in written


def test_nothing_is_said_of_other_shards_where_there_are_none() -> None:
    assert table({Cell("redis-7.0", "sentinel", "kill"): [Outcome(3, 3, 0, 0, 0, 0, 0, 0)]}).endswith("| 0 | - |\n")


def test_a_page_without_the_heading_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Failovers\n")
    with pytest.raises(ValueError, match="no heading '## Results'"):
        write(page, {})
