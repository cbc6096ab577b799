"""The pure parts of the benchmarks: figures, tables, pictures and the page that they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks import pages, plots, report, workload
from benchmarks.consuming import Tally, work_off
from benchmarks.contenders import Handlers, Way
from benchmarks.job import Job
from benchmarks.results import Results, Spread
from benchmarks.runner import Case, Measurement
from benchmarks.scenarios import NAMES, cases, rounds
from benchmarks.scenarios.growth import point

ROOT = Path(__file__).parent.parent.parent
RAW, OURS = (Case("consume", "one by one", who) for who in ("raw", "ours"))


def results(case: Case, *rates: float, uvloop: bool = False) -> list[Measurement]:
    return [Measurement(case, at, {"rate": rate, "cpu_us": 9.0}, uvloop=uvloop) for at, rate in enumerate(rates)]


# -- orders -----------------------------------------------------------------------------------------------------


def test_an_order_has_200_bytes_and_becomes_another_one_by_replacing_its_number() -> None:
    first, last = (msgspec.json.encode(workload.order(number)) for number in (workload.FIRST, 9_999_999))
    assert len(first) == len(last) == 200
    assert first.replace(b"%d" % workload.FIRST, b"9999999") == last


def test_the_books_know_what_was_handled_twice_and_when_enough_was_handled() -> None:
    tally = Tally(3, enough=2)
    for number in (0, 2, 2):
        assert not tally.done.is_set() or number == 2
        tally.add(workload.order(workload.FIRST + number))
    assert (tally.count, tally.twice, tally.done.is_set()) == (2, 1, True)
    assert tally.first <= tally.last


async def test_a_contender_that_hands_out_an_event_twice_is_told() -> None:
    job = Job(scenario="consume", variant="one by one", contender="ours", url="", events=2, cpus=[])
    with pytest.raises(RuntimeError, match="1 events were handled twice"):
        await work_off(job, Stutterer())


class Stutterer:
    """Hands out the first event twice."""

    IMPORTS = ""

    async def open(self, url: str) -> None: ...

    async def publish(self, stream: str, order: workload.Order) -> None: ...

    async def publish_many(self, stream: str, orders: Sequence[workload.Order]) -> None: ...

    async def consume(self, streams: Sequence[str], handlers: Handlers, way: Way) -> None:
        for number in (0, 0, 1):
            await handlers.one(workload.order(workload.FIRST + number))

    async def close(self) -> None: ...


# -- figures ----------------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    """Not the ratio of the medians: what slows the machine for a round slows both."""
    measured = Results([*results(RAW, 100, 10, 50), *results(OURS, 50, 20, 25)])
    assert measured.ratio(OURS, "rate") == 0.5
    assert measured.spread(OURS, "rate") == Spread(25, 20, 50)


def test_variants_that_raw_does_not_have_are_compared_with_its_first() -> None:
    batches = Case("consume", "batches of 100", "ours")
    assert Results([*results(RAW, 100), *results(batches, 150)]).ratio(batches, "rate") == 1.5


def test_what_uvloop_makes_of_a_figure_and_runs_with_it_are_kept_apart() -> None:
    measured = Results([*results(OURS, 100, 10), *results(OURS, 130, 13, uvloop=True)])
    assert measured.gain(OURS, "rate") == 1.3
    assert measured.spread(OURS, "rate") == Spread(55, 10, 100)
    assert Results(results(OURS, 100)).gain(OURS, "rate") is None


def test_a_round_with_a_problem_gives_no_figures_and_is_told() -> None:
    wrong = Measurement(OURS, 1, problem="Traceback ...\n3 events were handled twice")
    measured = Results([*results(RAW, 100, 100), *results(OURS, 80), wrong])
    assert measured.spread(OURS, "rate") == Spread(80, 80, 80)
    assert "| consume one by one ours | 3 events were handled twice |" in report.report(measured)


# -- tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (7, "7"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (123.4, "123"),
        (52_345, "52,300"),
        (1_234_567, "1,230,000"),
    ],
)
def test_numbers_have_three_digits_that_say_something(value: float, shown: str) -> None:
    assert report.number(value) == shown


def test_the_columns_of_a_table_line_up() -> None:
    lines = report.table(["", "raw"], [["consume", "1"], ["io", "20,000"]]).splitlines()
    assert lines == ["|         |    raw |", "|---------|-------:|", "| consume |      1 |", "| io      | 20,000 |"]


def test_the_report_has_rates_ratios_and_extremes() -> None:
    text = report.report(Results([*results(RAW, 100, 200, 300), *results(OURS, 50, 100, 150)]))
    assert "**Events a second**" in text
    assert "| consume: one by one | 200 [100-300] | 100 [50-150] |          - |       0.50 |" in text
    assert "**Less is better**" not in text, "nothing of it was measured"


# -- scenarios --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_is_measured_at_least_once_and_shown(name: str) -> None:
    assert rounds(name, 1) == 1
    assert cases(name, ("raw", "ours"))
    assert name in {*report.RATES, *report.OTHERS, "growth"}


def test_the_points_of_growth_can_be_told_from_their_names() -> None:
    assert point("1000 pending entries of a dead consumer") == ("pending entries of a dead consumer", 1000)


# -- pictures ---------------------------------------------------------------------------------------------------

BARS = [plots.Bar("consume: one by one", "ours", 1.2), plots.Bar("consume: one by one", "FastStream", 0.02)]
CURVES = [plots.Curve("raw", [(1, 50_000), (100, 40_000)]), plots.Curve("ours", [(1, 52_000), (100, 41_000)])]


@pytest.mark.parametrize(
    "picture",
    [
        plots.ratios(BARS, "a < b"),
        plots.lengths(BARS, "a < b", "ms"),
        plots.panels([plots.Panel("subscriptions", CURVES)], "a < b"),
    ],
    ids=["ratios", "lengths", "panels"],
)
def test_pictures_are_well_formed_and_nothing_leaves_them(picture: str) -> None:
    root = ET.fromstring(picture)
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for element in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(element.get(name, 0)) <= most


def test_a_bar_of_what_is_faster_begins_at_raw_and_one_of_what_is_slower_ends_there() -> None:
    root = ET.fromstring(plots.ratios(BARS, "t"))
    rects = [element for element in root.iter() if element.tag.endswith("rect") and element.get("height") == "12"]
    faster, slower = rects[:2]
    end_of_slower = float(slower.attrib["x"]) + float(slower.attrib["width"])
    assert float(faster.attrib["x"]) == pytest.approx(end_of_slower, abs=0.2)


def test_labels_that_would_touch_are_moved_apart() -> None:
    assert plots._apart([100, 104, 200], 15) == [94.5, 109.5, 200]


def test_axes_begin_at_nothing_and_reach_beyond_the_most() -> None:
    assert plots._steps(60) == [0, 20, 40, 60]
    assert plots._steps(0.9)[-1] >= 0.9


# -- the page ---------------------------------------------------------------------------------------------------


def test_figures_are_written_between_the_comments_of_the_page_and_pictures_beside_it(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{pages.BEGIN}old\n{pages.END}after\n", encoding="utf-8")
    pages.write(page, Results([*results(RAW, 100), *results(OURS, 150)]), "a machine")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{pages.BEGIN}\na machine.\n\n**Events a second**")
    assert text.endswith(f"\n\n{pages.END}after\n")
    assert "old" not in text
    assert [picture.name for picture in (tmp_path / "performance").iterdir()] == ["ratios.svg"]


def test_a_page_without_the_comments_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        pages.filled("nothing here", "figures")


def test_the_page_of_the_docs_has_the_comments_and_its_pictures() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert pages.filled(text, "figures")
    assert all(f"performance/{name}.svg" in text for name in pages.PICTURES)
