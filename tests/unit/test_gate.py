"""The gate's last lines: what each session came to, what was left out, and how many tests passed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SUMMARY = runpy.run_path(str(Path(__file__).parent.parent.parent / ".ci" / "summary.py"), run_name="summary")
LOG = """\
nox > Running session gate
nox > Running session tests-3.11
nox > coverage run -m pytest -q -n 3
..........                                                               [100%]
2507 passed, 3 skipped in 287.61s (0:04:47)
nox > coverage report
nox > Session tests-3.11 was successful in 5 minutes.
nox > Running session pythons-3.13
nox > Missing interpreters will error by default on CI systems.
nox > Session pythons-3.13 skipped: Python interpreter 3.13 not found.
nox > Running session servers(server='redis-8.2')
nox > pytest -q -n 3 tests/integration
E           1 failed, 34 passed, 11 skipped in 35.03s
1 failed, 34 passed, 11 skipped in 35.03s
FAILED tests/integration/test_conformance.py::test_the_suite_passes_on_memory
\x1b[31m1 failed\x1b[0m, 400 passed, 1 warning, 2 errors in 99.00s
nox > Command pytest -q -n 3 tests/integration failed with exit code 1
nox > Session servers(server='redis-8.2') failed.
nox > Running session lint
All checks passed!
nox > Session lint was successful in a second.
nox > failed: servers(server='redis-8.2')
nox > Session gate aborted.
nox > Running session latest
nox > pytest -q tests/unit
100 passed in 9.00s
nox > pytest -q tests/test_examples.py
20 passed in 9.00s
nox > Session latest was successful.
nox > Ran multiple sessions:
nox > * tests-3.11: success
"""


def test_each_session_is_told_with_its_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a failing test shows of another pytest's output counts for nothing."""
    log = tmp_path / "log"
    log.write_text(LOG)
    SUMMARY["main"](log)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "session by session:",
        "  gate: ABORTED",
        "  tests-3.11: successful in 5 minutes, 2507 passed, 3 skipped",
        "  servers(server='redis-8.2'): FAILED, 1 failed, 400 passed, 2 error",
        "  lint: successful in a second",
        "  latest: successful, 120 passed",
        "not run:",
        "  pythons-3.13: Python interpreter 3.13 not found.",
        "3027 passed, 3 failed",
    ]


def test_a_run_that_broke_off_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text("nox > Running session tests-3.11\nnox > uv pip install\nerror: no such thing\n")
    SUMMARY["main"](log)
    said = capsys.readouterr().out.splitlines()
    assert said[2:] == ["  tests-3.11: did not end", "not run:", "  nothing was left out", "0 passed, 0 failed"]
