"""Plans: which step at Redis writes which fate, and how its result is read for each entry. No Redis."""

from __future__ import annotations

from redis_streams_aio.connection.steps import completing, dead_letters, retrying
from redis_streams_aio.connection.steps.completing import Completed, Completion
from redis_streams_aio.connection.steps.consumer import NOT_OURS, Consumer
from redis_streams_aio.connection.steps.dead_letters import DeadLetterOptions
from redis_streams_aio.connection.steps.retrying import Failed
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.settle.plans import RETRIES_AT_ONCE, Planned, Write, Written, plan
from redis_streams_aio.events import dead_letter
from redis_streams_aio.events.follow_ups import FollowUp
from redis_streams_aio.handlers.fates import Complete, DeadLetter, Retry
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT

WHO = Consumer("orders", "billing", "c")
OPTIONS = DeadLetterOptions("orders.dead", 100, 3600.0)
GIVEN_UP = DeadLetter("rejected", "no such customer", 2)


def planned(*writes: Write, unanswered: tuple[bytes, ...] = ()) -> list[Planned]:
    options = SubscriptionOptions(stream=WHO.stream, group=WHO.group)
    holdings = Holdings(Shared(None, SILENT), options, WHO.name)  # type: ignore[arg-type]  # nothing is sent
    return plan(writes, holdings, OPTIONS, unanswered)


def entry(number: int, *fields: bytes) -> Entry:
    return Entry(WHO.stream, b"%d-0" % number, list(fields or (b"event_type", b"Order")))


def test_retries_share_a_step_and_keep_the_time_of_their_first_failure() -> None:
    first, second = entry(1), entry(2)
    second.first_failure = 1700.0004
    [one] = planned(Write(first, Retry(0.25, 1, "down")), Write(second, Retry(60.0, 3, "still down")))
    failed = [Failed(b"1-0", 250, 1, 0, "down"), Failed(b"2-0", 60_000, 3, 1_700_000, "still down")]
    expected = retrying.failures(WHO, failed)
    assert (one.step.command, one.entries) == (expected.command, [first, second])
    assert one.read([1_700_001, NOT_OURS]) == [Written(1_700_001), NOT_OURS]


def test_no_step_of_retries_is_longer_than_the_server_may_be_busy() -> None:
    writes = [Write(entry(number), Retry(1.0, 1, "down")) for number in range(2 * RETRIES_AT_ONCE + 1)]
    steps = planned(*writes)
    assert [len(each.entries) for each in steps] == [RETRIES_AT_ONCE, RETRIES_AT_ONCE, 1]
    assert [one for each in steps for one in each.entries] == [write.entry for write in writes]
    assert steps[1].step.arguments[2] == b"%d-0" % RETRIES_AT_ONCE


def test_p12_a_completion_has_its_atomic_follow_ups_and_the_mark_of_its_event() -> None:
    done = entry(5, b"event_id", b"e-5")
    inside, before = ("XADD", "orders", "*", "a", "b"), ("XADD", "bills", "*", "c", "d")
    fate = Complete((FollowUp(inside, atomic=True), FollowUp(before, atomic=False)), 60.0)
    [one] = planned(Write(done, fate))
    expected = completing.completion(WHO, Completion(b"5-0", b"e-5", 60.0, [inside]))
    assert (one.step.command, one.entries) == (expected.command, [done])
    assert one.read(Completed.DONE) == [Written(wrote_follow_ups=True)]
    assert one.read(Completed.BEFORE) == one.read(Completed.COPY) == [Written()]


def test_a_completion_tells_that_its_entry_is_gone() -> None:
    gone = entry(5)
    gone.is_gone = True
    [one] = planned(Write(gone, Complete((), None)))
    assert one.step.command == completing.completion(WHO, Completion(b"5-0", None, None, [], vanished=True)).command


def test_a_dead_letter_that_was_sent_before_is_looked_for() -> None:
    first, second = entry(1), entry(2)
    steps = planned(Write(first, GIVEN_UP), Write(second, GIVEN_UP), unanswered=(b"2-0",))
    for one, held, tried in zip(steps, (first, second), (False, True), strict=True):
        fields = dead_letter.compose(held, GIVEN_UP, *WHO)
        expected = dead_letters.letter(WHO, held.raw_id, fields, OPTIONS, tried=tried)
        assert (one.step.command, one.entries) == (expected.command, [held])
    assert steps[0].read("9-0") == [Written()]
    assert steps[0].read(NOT_OURS) == [NOT_OURS]


def test_steps_are_retries_first_and_each_end_alone() -> None:
    ended, failed, given_up = entry(1), entry(2), entry(3)
    steps = planned(Write(ended, Complete((), None)), Write(failed, Retry(1.0, 1, "down")), Write(given_up, GIVEN_UP))
    assert [list(each.entries) for each in steps] == [[failed], [ended], [given_up]]
    assert planned() == []
