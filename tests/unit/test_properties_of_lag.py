"""The lag watcher and telemetry on a Redis in memory: what is measured, who is told, and who may raise."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator

import pytest

from redis_streams_aio import Connection, LagReport, LagWatcher, StreamTypeError
from redis_streams_aio.connection.packing import Argument
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.monitoring.lag import COUNTED_AT_MOST
from redis_streams_aio.telemetry import Fact, LagHigh, LagLow, LagMeasured, StepFailed, Telemetry

GROUPS = [("s", "g"), ("s", "g"), ("s", "absent"), ("nowhere", "g")]


@pytest.fixture
async def memory() -> AsyncIterator[Connection]:
    """Entries of the seconds 1000, 2000 and 3000, and a group that has read none of them."""
    async with Connection("memory://") as connection:
        for second in (1000, 2000, 3000):
            await connection.call("XADD", "s", f"{second}000-0", "a", "b")
        await connection.call("XGROUP", "CREATE", "s", "g", "0")
        yield connection


async def read(connection: Connection, count: int) -> None:
    await connection.call("XREADGROUP", "GROUP", "g", "c", "COUNT", count, "STREAMS", "s", ">")


async def test_p28_a_group_is_measured_as_it_reads_and_settles(memory: Connection) -> None:
    watcher = LagWatcher(memory, GROUPS)
    [report] = await watcher.run_once()
    assert (report.stream, report.group, report.lag, report.pending, report.behind) == ("s", "g", 3, 0, 3)
    assert report.oldest_age is not None
    now = report.oldest_age + 1000
    assert now > 1_600_000_000, "seconds since 1970: the entry says that it is of its first second"
    await read(memory, 2)
    [report] = await watcher.run_once()
    assert (report.lag, report.pending) == (1, 2)
    await memory.call("XACK", "s", "g", "1000000-0")
    [report] = await watcher.run_once()
    assert (report.lag, report.pending) == (1, 1)
    assert report.oldest_age == pytest.approx(now - 2000, abs=300), "the oldest that is pending"
    await memory.call("XACK", "s", "g", "2000000-0")
    [report] = await watcher.run_once()
    assert report.oldest_age == pytest.approx(now - 3000, abs=300), "the oldest that is unread"
    await read(memory, 9)
    await memory.call("XACK", "s", "g", "3000000-0")
    [report] = await watcher.run_once()
    assert report == LagReport("s", "g", 0, 0, None, time_to_drain=0.0)
    assert watcher.reports == {("s", "g"): report}


async def test_an_entry_from_the_future_has_no_negative_age(memory: Connection) -> None:
    await memory.call("XGROUP", "CREATE", "t", "g", "0", "MKSTREAM")
    await memory.call("XADD", "t", f"{2**60}-0", "a", "b")
    [report] = await LagWatcher(memory, [("t", "g")]).run_once()
    assert report.oldest_age == 0


async def test_p20_a_lag_that_redis_does_not_know_is_counted_or_unknown(memory: Connection) -> None:
    await memory.call("XGROUP", "SETID", "s", "g", "1000000-0")
    await memory.call("XDEL", "s", "2000000-0")
    [report] = await LagWatcher(memory, GROUPS).run_once()
    assert report.lag == 1
    for number in range(COUNTED_AT_MOST - 2):
        await memory.call("XADD", "s", f"4000000-{number}", "a", "b")
    [report] = await LagWatcher(memory, GROUPS).run_once()
    assert report.lag == COUNTED_AT_MOST - 1
    await memory.call("XADD", "s", "5000000-0", "a", "b")
    [report] = await LagWatcher(memory, GROUPS).run_once()
    assert report.lag is None, "as many as are counted, or more"


async def test_p20_a_lag_that_redis_knows_is_not_counted(memory: Connection) -> None:
    for number in range(COUNTED_AT_MOST):
        await memory.call("XADD", "s", f"4000000-{number + 1}", "a", "b")
    [report] = await LagWatcher(memory, GROUPS).run_once()
    assert report.lag == COUNTED_AT_MOST + 3


async def test_the_age_is_that_of_the_oldest_unsettled_entry(memory: Connection) -> None:
    await memory.call("XADD", "t", f"{round((time.time() - 100) * 1000)}-0", "a", "b")
    await memory.call("XGROUP", "CREATE", "t", "g", "0")
    [report] = await LagWatcher(memory, [("t", "g")]).run_once()
    assert report.oldest_age == pytest.approx(100, abs=20)


async def test_p28_whoever_wants_to_know_is_told_once_when_it_rises_and_once_when_it_falls(memory: Connection) -> None:
    facts: list[Fact] = []
    told: list[tuple[str, int]] = []
    watcher = LagWatcher(
        memory,
        GROUPS,
        high=2,
        low=1,
        on_high=lambda report: told.append(("high", report.behind)),
        on_low=lambda report: told.append(("low", report.behind)),
        telemetry=Telemetry([facts.append]),
    )
    assert not watcher.is_behind("s", "g")
    await watcher.run_once()
    await watcher.run_once()
    assert (told, watcher.is_behind("s", "g")) == ([("high", 3)], True)
    await read(memory, 3)
    await memory.call("XACK", "s", "g", "1000000-0")
    await watcher.run_once()
    assert (told, watcher.is_behind("s", "g")) == ([("high", 3)], True)
    await memory.call("XACK", "s", "g", "2000000-0")
    await watcher.run_once()
    await watcher.run_once()
    assert (told, watcher.is_behind("s", "g")) == ([("high", 3), ("low", 1)], False)
    kinds = [type(fact) for fact in facts]
    assert kinds == [LagMeasured, LagHigh, LagMeasured, LagMeasured, LagMeasured, LagLow, LagMeasured]
    assert [fact.report.behind for fact in facts if isinstance(fact, LagMeasured)] == [3, 3, 2, 1, 1]
    assert [fact.report.behind for fact in facts if isinstance(fact, LagHigh | LagLow)] == [3, 1]
    await LagWatcher(memory, GROUPS, high=2, low=1).run_once()  # with nobody to tell


async def test_measuring_takes_no_connection_of_its_own(memory: Connection) -> None:
    await LagWatcher(memory, GROUPS).run_once()
    assert len([*memory._links]) == 1


async def test_a_group_that_is_done_is_measured_in_one_round_trip(
    memory: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await read(memory, 9)
    await memory.call("XACK", "s", "g", "1000000-0", "2000000-0", "3000000-0")
    monkeypatch.setattr(memory, "call", None)
    assert await LagWatcher(memory, GROUPS[:1]).run_once() == [LagReport("s", "g", 0, 0, None, time_to_drain=0.0)]


async def test_p20_entries_that_go_while_they_are_measured_have_no_age(
    memory: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = memory.call

    async def too_late(*command: Argument) -> Reply:
        await call("XTRIM", "s", "MAXLEN", 0)
        return await call(*command)

    monkeypatch.setattr(memory, "call", too_late)
    assert await LagWatcher(memory, GROUPS).run_once() == [LagReport("s", "g", 3, 0, None)]


async def test_one_sick_stream_hides_none(memory: Connection) -> None:
    await memory.call("SET", "text", "no stream")
    watcher = LagWatcher(memory, [("text", "g"), *GROUPS])
    with pytest.raises(StreamTypeError):
        await watcher.run_once()
    assert list(watcher.reports) == [("s", "g")]


def test_p28_the_marks_are_at_ten_thousand_and_a_thousand() -> None:
    watcher = LagWatcher(Connection("memory://"), GROUPS)
    for behind, expected in ((10_000, False), (10_001, True), (1_001, True), (1_000, False)):
        watcher._signal(LagReport("s", "g", behind, 0, None))
        assert watcher.is_behind("s", "g") == expected, behind


def test_p14_an_observer_that_raises_is_logged_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    facts: list[Fact] = []

    def broken(_: Fact) -> None:
        raise ValueError("a bug of the user's")

    telemetry = Telemetry([broken, facts.append])
    fact = StepFailed(duty="read", error="away", delay=1.0)
    assert telemetry.wants(StepFailed)
    assert not Telemetry().wants(StepFailed)
    with caplog.at_level(logging.WARNING):
        telemetry.emit(fact)
        telemetry.emit(LagMeasured(report=LagReport("s", "g", 1, 1, None)))
    assert facts[0] is fact
    assert [(record.levelname, record.name) for record in caplog.records] == [
        ("WARNING", "redis_streams_aio"),
        ("ERROR", "redis_streams_aio"),
        ("ERROR", "redis_streams_aio"),
    ]
    assert caplog.records[0].getMessage() == str(fact) == "cannot read now, trying again in 1 s: away"
    assert caplog.records[1].getMessage() == f"callback {broken!r} raised"
    assert caplog.records[1].exc_info is not None


def test_a_callback_gets_what_it_is_called_with() -> None:
    got: list[object] = []

    def callback(first: int, *, second: int) -> None:
        got.extend((first, second))

    Telemetry().guard(callback, 1, second=2)
    assert got == [1, 2]


def test_an_observer_may_end_the_program() -> None:
    def leave(_: Fact) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Telemetry([leave]).emit(StepFailed(duty="read", error="away", delay=1.0))


def test_an_observer_gets_the_kinds_of_facts_that_it_wants() -> None:
    class Some:
        kinds = (StepFailed, LagHigh)

        def __init__(self) -> None:
            self.got: list[Fact] = []

        def __call__(self, fact: Fact) -> None:
            self.got.append(fact)

    some, everything = Some(), list[Fact]()
    telemetry = Telemetry([some, everything.append])
    failed = StepFailed(duty="read", error="away", delay=1.0)
    measured = LagMeasured(report=LagReport("s", "g", 1, 1, None))
    for fact in (failed, measured, failed):
        telemetry.emit(fact)
    assert some.got == [failed, failed]
    assert everything == [failed, measured, failed]
    assert [Telemetry([some]).wants(kind) for kind in (StepFailed, LagHigh, LagMeasured)] == [True, True, False]
