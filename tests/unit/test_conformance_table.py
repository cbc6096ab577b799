"""The table of results: what reports say of a test comes to be its cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from redis_streams_aio.testing.conformance import table
from redis_streams_aio.testing.conformance.table import FAILED, PASSED, Report

FIRST, SECOND, THIRD = (test.name for test in table.suite()[:3])
REPORT = f"""<testsuites><testsuite name="pytest">
  <properties><property name="server" value="valkey 9.1.2"/></properties>
  <testcase classname="c" name="{FIRST}" time="0.1"/>
  <testcase classname="c" name="{SECOND}" time="0.1"><skipped message="no network">f:1</skipped></testcase>
  <testcase classname="c" name="{THIRD}" time="0.1"><failure message="assert">trace</failure></testcase>
</testsuite></testsuites>"""


def cells(text: str, row: int) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[row + 1].strip("|").split("|")][3:]


def test_a_report_of_pytest_is_read(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    file.write_text(REPORT)
    assert table.read(file) == Report("valkey 9.1.2", {FIRST: PASSED, SECOND: "no network", THIRD: FAILED})


def test_a_report_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    file.write_text("<testsuites/>")
    with pytest.raises(ValueError, match="names no server"):
        table.read(file)


def test_servers_are_columns_and_reasons_are_footnotes() -> None:
    text = table.table([Report("one", {FIRST: PASSED, SECOND: "no network"}), Report("two", {FIRST: FAILED})])
    assert cells(text, 0 - 1) == ["one", "two"]
    assert cells(text, 1) == [PASSED, FAILED]
    assert cells(text, 2) == ["-[^1]", "?"], "no report is not a pass"
    assert text.endswith("\n[^1]: Skipped: no network.\n")


def test_a_test_that_failed_once_has_failed_whatever_the_other_reports_of_that_server_say() -> None:
    reports = [Report("one", {FIRST: PASSED}), Report("one", {FIRST: FAILED}), Report("one", {FIRST: PASSED})]
    assert cells(table.table(reports), 1) == [FAILED]


def test_only_the_results_of_a_page_are_written(tmp_path: Path) -> None:
    page, report = tmp_path / "page.md", tmp_path / "report.xml"
    report.write_text(REPORT)
    page.write_text("# Page\n\n## Results\n\nsurpassed\n")
    table.main(str(page), str(report))
    assert page.read_text().startswith("# Page\n\n## Results\n\n|  | test |")
    assert "surpassed" not in page.read_text()
    page.write_text("# Page\n")
    with pytest.raises(ValueError, match="no heading"):
        table.main(str(page), str(report))
