"""The short form of the soak (`python -m tests.soak`): guests, crashes, cut connections; nothing grows or is lost.

It shows P1 (all that was published is handled), P2, P22 and P26 under load; what grows slowly shows in the long form.
"""

from __future__ import annotations

import logging

import pytest

from tests.soak.course import Plan, run

FILLS_FOR_LONGER = "memory of the server"
"""The streams have not yet come to their `max_length`."""


@pytest.mark.timeout(180)
async def test_a_short_soak_grows_nothing_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "redis_streams_aio")  # failures are part of the work
    report = await run(Plan(seconds=12, events=5_000, turn=0.7), lambda _: None)
    assert report.lost == 0, "published and never handled"
    grown = [trend for trend in report.trends if not trend.is_flat]
    assert [trend for trend in grown if trend.measure != FILLS_FOR_LONGER] == [], report.grown
    assert report.published >= 5_000
    for fact in ("DeadLettered", "RetryScheduled", "DuplicateDropped", "Reclaimed", "ConsumerRemoved"):
        assert report.facts[fact], f"the work had no {fact} in it"
