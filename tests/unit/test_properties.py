"""Properties of the decisions: fates, the lag rule and its signal, the backoff. (The schedule has a model.)"""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import (
    BatchDelivery,
    DecodeError,
    GroupInfo,
    LagReport,
    Reject,
    RetryLater,
    RetryPolicy,
    SettledError,
    StreamInfo,
)
from redis_streams_aio.checks.times import LONGEST_DELAY
from redis_streams_aio.connection.backoff import LONGEST, SHORTEST, SharedBackoff, delays
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.attempt import Ended, fate_after
from redis_streams_aio.consumer.work.buffer_size import BufferSize, room
from redis_streams_aio.events.batch import close_batch
from redis_streams_aio.events.delivery import Delivery, HandlerInstructions, Receiver, close
from redis_streams_aio.events.follow_ups import FollowUp
from redis_streams_aio.handlers.fates import ABANDON, ACK, Ack, Complete, DeadLetter, Fate, Retry
from redis_streams_aio.handlers.retry import decide
from redis_streams_aio.handlers.routes import Route
from redis_streams_aio.monitoring.lag import Marks, is_behind, known_lag

# -- fates ------------------------------------------------------------------------------------------------------

POLICY = RetryPolicy(max_failures=3, give_up_on=(KeyError,))
errors = st.sampled_from([ValueError("x"), KeyError("x"), Reject("no"), RetryLater(1), asyncio.CancelledError()])


def route(deduplicate: float | None = None) -> Route:
    async def call(_: object, __: object) -> None: ...

    return Route(
        "handle", call, lambda fields: fields, call, POLICY, "cancel", deduplicate, shows_delivery=True, alone=call
    )


RECEIVER = Receiver("s", "g", "c", "handle")


def entry(*fields: bytes, number: int = 1) -> Entry:
    return Entry("s", b"%d-0" % number, list(fields))


def fate_of(
    error: BaseException | None, one: Entry, by: Route, told: HandlerInstructions | None = None, now: float = 1000.0
) -> Fate:
    """The fate of an entry whose handler has ended like this."""
    return fate_after(Ended(error, told, 0.5), one, by, now)


@given(
    raised=st.none() | errors,
    told=st.sampled_from(["nothing", "ack", "fail"]),
    told_error=errors.filter(lambda error: not isinstance(error, asyncio.CancelledError)),
    follow_ups=st.integers(0, 2),
    deduplicate=st.none() | st.floats(1, 10),
    event_id=st.sampled_from([None, b"", b"e"]),
    failures=st.integers(0, 4),
    lost=st.booleans(),
)
async def test_p1_only_what_was_handled_is_acknowledged(
    raised: BaseException | None,
    told: str,
    told_error: Exception,
    follow_ups: int,
    deduplicate: float | None,
    event_id: bytes | None,
    failures: int,
    lost: bool,
) -> None:
    """What the handler said wins over what it raised; nothing is published for one that failed (P10, P12)."""
    one = entry(*(() if event_id is None else (b"event_id", event_id)))
    one.failures, one.prepared, one.payload = failures, True, object()
    one.begin()
    if lost:
        one.lose()
    delivery = Delivery(one, RECEIVER)
    for _ in range(follow_ups):
        delivery._instructed().follow_ups.append(FollowUp(("XADD",), atomic=True))
    if told == "ack":
        delivery.ack()
    elif told == "fail":
        delivery.fail(told_error)
    error = raised if told == "nothing" else None if told == "ack" else told_error
    fate = fate_of(raised, one, route(deduplicate), close(delivery))
    assert close(Delivery(one, RECEIVER)) is None, "the next attempt starts without them"
    remembered = deduplicate if event_id else None
    if error is None:
        assert isinstance(fate, Ack | Complete)
        assert isinstance(fate, Complete) == bool(follow_ups or remembered)
        assert not isinstance(fate, Complete) or (len(fate.follow_ups), fate.remember) == (follow_ups, remembered)
        assert one.prepared, "nothing to decode again"
    elif lost and isinstance(error, asyncio.CancelledError):
        assert fate is ABANDON
    else:
        assert isinstance(fate, Retry | DeadLetter)
        counts = not isinstance(error, Reject | RetryLater)
        assert fate.failures == failures + counts
        if isinstance(fate, Retry):
            assert isinstance(error, RetryLater) or fate.failures < POLICY.max_failures
        else:
            assert fate.reason == {Reject: "rejected", KeyError: "gave_up"}.get(type(error), "failures")
        assert not one.prepared, "a handler may have changed the payload: it is decoded afresh"


async def test_a_plain_return_is_the_plain_acknowledgement() -> None:
    assert fate_of(None, entry(), route()) is ACK


async def test_an_event_with_an_id_is_remembered_where_duplicates_are_dropped() -> None:
    assert fate_of(None, entry(b"event_id", b"e"), route(5.0)) == Complete((), 5.0)
    assert fate_of(None, entry(b"event_id", b"e"), route()) is ACK
    assert fate_of(None, entry(), route(5.0)) is ACK


async def test_what_an_await_had_cancelled_is_a_failure_like_any_other() -> None:
    async def was_cancelled() -> None:
        raise asyncio.CancelledError

    try:
        await was_cancelled()
    except asyncio.CancelledError as error:
        one = entry()
        one.failures = 2
        fate = fate_of(error, one, route())
    assert isinstance(fate, DeadLetter)
    assert fate.error == "RuntimeError: something that handle awaited was cancelled"
    assert "in was_cancelled" in fate.traceback


async def test_a_handler_that_decided_and_then_raised_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    one = entry()
    delivery = Delivery(one, RECEIVER)
    delivery.ack()
    told = close(delivery)
    assert fate_of(None, one, route(), told) is ACK
    assert caplog.records == []
    error = ValueError("after all")
    assert fate_of(error, one, route(), told) is ACK
    [record] = caplog.records
    assert record.getMessage() == f"{one!r}: handler handle raised after its decision, which stands"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize("delay", ["absent", "soon", -1, math.nan, LONGEST_DELAY + 1])
def test_p11_a_wish_that_cannot_be_is_a_failure(delay: object) -> None:
    class Later(RetryLater):
        def __init__(self) -> None:
            if delay != "absent":
                self.delay = delay  # type: ignore[assignment]

    fate = decide(Later(), 0, POLICY)
    assert isinstance(fate, Retry)
    assert fate.failures == 1
    assert decide(RetryLater(LONGEST_DELAY), 0, POLICY) == Retry(LONGEST_DELAY, 0, "retry in 3.16224e+07 s")


async def test_p13_a_payload_that_cannot_be_decoded_is_dead_at_once() -> None:
    one = entry()
    one.refusal, one.failures = DecodeError("no Order"), 2
    assert fate_of(one.refusal, one, route()) == DeadLetter("undecodable", "no Order", 2)
    assert isinstance(fate_of(DecodeError("raised by the handler"), entry(), route()), Retry)


async def test_p11_the_deadline_counts_from_the_first_failure() -> None:
    now = asyncio.get_running_loop().time()
    policy = RetryPolicy(deadline=100, base=1, jitter=False)
    for failing_since, reason in ((now - 90, Retry), (now - 99.5, DeadLetter), (0.0, Retry)):
        one = entry()
        one.failing_since = failing_since
        fate = fate_of(ValueError("x"), one, msgspec.structs.replace(route(), retry=policy), now=now)
        assert isinstance(fate, reason), failing_since
    strict = RetryPolicy(deadline=1.5, base=1, jitter=False)
    strictly = msgspec.structs.replace(route(), retry=strict)
    assert isinstance(fate_of(ValueError("x"), entry(), strictly, now=now), Retry), "its first failure is now"


@given(st.lists(st.sampled_from(["ack", "retry", "reject", "fail", ""]), min_size=1, max_size=8))
async def test_p15_each_item_of_a_batch_has_its_own_fate(said: list[str]) -> None:
    entries = [entry(number=number) for number, _ in enumerate(said)]
    batch = BatchDelivery(entries, RECEIVER)
    for index, word in enumerate(said):
        if word:
            extra = {"retry": (5,), "reject": ("bad row",), "fail": (ValueError("x"),)}.get(word, ())
            getattr(batch, word)(index, *extra)
    assert list(batch) == [batch[index] for index in range(len(batch))]
    assert [each.id for each in batch] == [one.raw_id.decode() for one in entries]
    told = close_batch(batch)
    assert sorted(told) == [index for index, word in enumerate(said) if word]
    fates = [fate_of(None, one, route(), told.get(index)) for index, one in enumerate(entries)]
    kinds = {"ack": Ack, "": Ack, "retry": Retry, "reject": DeadLetter, "fail": Retry}
    assert [type(fate) for fate in fates] == [kinds[word] for word in said]
    assert [fate.delay for fate, word in zip(fates, said, strict=True) if word == "retry"] == [5] * said.count("retry")
    assert {fate.error for fate, word in zip(fates, said, strict=True) if word == "reject"} <= {"bad row"}


def test_a_batch_is_lost_when_all_of_it_is() -> None:
    entries = [entry(number=number) for number in range(3)]
    batch = BatchDelivery(entries, RECEIVER)
    for one in entries[:2]:
        one.lose()
    assert not batch.lost
    entries[2].lose()
    assert batch.lost
    with pytest.raises(IndexError):
        batch.ack(3)
    assert close_batch(batch) == {}
    with pytest.raises(SettledError):
        batch.ack(0)
    assert repr(batch) == "<BatchDelivery of 3 0-0 to 2-0>"
    assert repr(BatchDelivery([], RECEIVER)) == "<BatchDelivery of 0>"


# -- how much to buffer -----------------------------------------------------------------------------------------


def test_p6_the_buffer_grows_to_a_quarter_second_of_work_step_by_step() -> None:
    buffer_size = BufferSize(most=400)
    assert buffer_size.limit == 0, "nothing is measured, so nothing is guessed"
    limits = []
    for done, seconds in ((100, 0.1),) * 5 + ((1000, 0.1),) * 2 + ((1, 1.0),):
        buffer_size.measured(done, seconds)
        limits.append(buffer_size.limit)
    assert limits == [4, 16, 64, 250, 250, 400, 400, 0]


@pytest.mark.parametrize(
    ("free", "limit", "buffered", "idle", "count"),
    [
        (100, 10, 3, 0, 7),
        (100, 10, 5, 0, 5),  # half empty: read
        (100, 10, 6, 0, 0),  # more than half full: put off
        (100, 10, 6, 6, 0),
        (100, 10, 6, 7, 4),  # but not while a worker is idle
        (3, 10, 0, 0, 3),
        (-1, 10, 0, 0, 0),
        (100, 0, 0, 2, 2),
    ],
)
def test_p6_reads_are_put_off_until_the_buffer_is_half_empty(
    free: int, limit: int, buffered: int, idle: int, count: int
) -> None:
    assert room(free=free, limit=limit, buffered=buffered, idle=idle) == count


# -- the lag rule and its signal --------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 50)), st.integers(0, 60), st.integers(0, 100), st.booleans())
def test_p20_a_lag_that_redis_knows_is_the_number_of_unread_entries(
    in_stream: set[int], last_delivered: int, too_much: int, known: bool
) -> None:
    """What Redis says may be too much (after a trim), or nothing; 0 is said only where nothing is unread."""
    unread = len([number for number in in_stream if number > last_delivered])
    last = f"{max(in_stream)}-0" if in_stream else None
    stream = StreamInfo("s", len(in_stream), 1, None, last, last or "0-0", 50 + 100)
    group = GroupInfo("g", 1, 0, f"{last_delivered}-0", None, unread + too_much if known else None)
    lag = known_lag(stream, group)
    assert (lag == 0) == (unread == 0)
    if unread:
        assert (lag is None) == (not known)
        assert lag is None or unread <= lag <= len(in_stream)
        assert lag is None or too_much or lag == unread


@given(st.lists(st.tuples(st.none() | st.integers(0, 20), st.integers(0, 9))), st.integers(1, 15), st.data())
def test_p28_the_signal_rises_above_the_high_mark_and_falls_at_the_low_one(
    measured: list[tuple[int | None, int]], high: int, data: st.DataObject
) -> None:
    low = data.draw(st.integers(0, high - 1))
    behind = False
    for lag, pending in measured:
        report = LagReport("s", "g", lag, pending, None)
        before, behind = behind, is_behind(behind, report, Marks(high, low))
        if report.behind > high:
            assert behind
        if report.behind <= low and lag is not None:
            assert not behind
        if low < report.behind <= high or (lag is None and report.behind <= low):
            assert behind == before, "between the marks, and where the lag is unknown, it stays as it was"


# -- backoff ----------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 1), st.floats(1, 100))
def test_p16_each_wait_is_at_least_half_of_a_step_that_doubles(first: float, longest: float) -> None:
    step = first
    for wait, _ in zip(delays(first, longest), range(12), strict=False):
        assert step / 2 <= wait <= step * (1 + 1e-9)
        step = min(step * 2, longest)


def test_p16_waits_are_not_all_the_same() -> None:
    assert len({next(delays()) for _ in range(20)}) > 10, "or all clients come at once"
    first = [next(delays()) for _ in range(200)]
    assert min(first) < SHORTEST * 0.6
    assert max(first) > SHORTEST * 0.9, "from half of the step to all of it"
    assert len([wait for wait, _ in zip(delays(), range(50), strict=False) if wait > LONGEST / 2]) > 40


@given(st.lists(st.tuples(st.sampled_from(["wait", "refused"]), st.floats(0, 0.5)), min_size=1, max_size=60))
def test_p16_a_shared_backoff_lets_one_through_at_a_time(steps: list[tuple[str, float]]) -> None:
    """However many ask while Redis refuses: from one turn to the next is at least half of the shortest step."""
    shared, now = SharedBackoff(), 1000.0
    assert shared.wait(now) == 0, "open until somebody is refused"
    wait = shared.refused(now)
    assert SHORTEST / 2 <= wait <= SHORTEST
    turns = [now]
    for what, seconds in steps:
        now += seconds
        if what == "refused":
            assert 0 < shared.refused(now) <= LONGEST
        elif (wait := shared.wait(now)) == 0:
            turns.append(now)
        else:
            assert 0 < wait <= LONGEST
            assert shared.wait(now + wait * 0.99) > 0, "not before its time"
    assert all(later - earlier >= SHORTEST / 2 - 1e-9 for earlier, later in pairwise(turns))
    assert shared.wait(now + 2 * LONGEST) == 0, "whoever waits gets a turn"
    assert shared.wait(now + 2 * LONGEST) > 0, "and nobody else has it"
    shared.passed()
    assert [shared.wait(now), shared.wait(now)] == [0, 0]


def test_p16_a_refusal_that_took_long_costs_a_turn_of_its_own() -> None:
    shared = SharedBackoff()
    first = shared.refused(0.0)
    assert shared.refused(first / 2) == pytest.approx(first / 2), "within the turn: the same turn"
    assert shared.refused(10.0) >= SHORTEST, "the second step, half of 0.2 at least"
    assert shared.wait(10.0) > 0
    turn = shared._next_turn
    assert shared.wait(turn) == 0, "its time is its time"
    assert shared.wait(turn) > 0, "for one alone"
