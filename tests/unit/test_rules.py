"""The pure parts: ids, names, retries, the schedule of lanes, the size of the buffer, the lag. Most as properties."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import ConfigError, GroupInfo, LagReport, Reject, RetryLater, RetryPolicy, StreamInfo
from redis_streams_aio.checks import names
from redis_streams_aio.connection.backoff import LONGEST, SHORTEST, delays
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.buffer_size import GROWTH, BufferSize, room
from redis_streams_aio.consumer.work.schedule import Schedule
from redis_streams_aio.events import dead_letter, entry_ids, keys, replays
from redis_streams_aio.handlers.error_texts import describe, traceback_of, writable
from redis_streams_aio.handlers.fates import DeadLetter, Retry
from redis_streams_aio.handlers.retry import decide
from redis_streams_aio.monitoring.lag import known_lag

ids = st.tuples(st.integers(0, 2**63), st.integers(0, 2**64 - 1))


# -- ids and names --------------------------------------------------------------------------------------------


@given(ids)
def test_the_previous_id_is_the_greatest_below(entry_id: tuple[int, int]) -> None:
    text = f"{entry_id[0]}-{entry_id[1]}"
    before = entry_ids.parse(entry_ids.previous(text))
    if entry_id == (0, 0):
        assert before == (0, 0)
    else:
        following = (before[0], before[1] + 1) if before[1] < 2**64 - 1 else (before[0] + 1, 0)
        assert following == entry_id


def test_ids_compare_as_redis_compares_them() -> None:
    assert entry_ids.parse("9-10") < entry_ids.parse("10-9") < entry_ids.parse("10-10")
    assert entry_ids.parse("5") == entry_ids.parse("5-0")
    assert entry_ids.timestamp("1000-7") == datetime.fromtimestamp(1, UTC)


@pytest.mark.parametrize("start", ["0", "$", "0-0", "1700000000000", "1700000000000-5"])
def test_start_positions_that_are(start: str) -> None:
    assert entry_ids.start_position(start) == start


@pytest.mark.parametrize("start", ["", "yesterday", ">", "-1", "1-", "1-2-3", "+", datetime(2026, 1, 1)])  # noqa: DTZ001
def test_start_positions_that_are_not(start: str | datetime) -> None:
    with pytest.raises(ConfigError, match="start="):
        entry_ids.start_position(start)


def test_a_time_starts_with_the_first_entry_of_its_millisecond() -> None:
    assert entry_ids.start_position(datetime.fromtimestamp(2, UTC)) == f"1999-{2**64 - 1}"
    assert entry_ids.start_position(datetime.fromtimestamp(0, UTC) - timedelta(days=9)) == "0-0"


@given(st.text("ab:{}é", min_size=1) | st.text(min_size=1))
def test_siblings_are_on_the_streams_slot(stream: str) -> None:
    if "}" in stream and _hash_tag(stream) == stream:
        return  # no key can be beside it
    assert _hash_tag(keys.dead_letters(stream, "g")) == _hash_tag(stream)


def _hash_tag(key: str) -> str:
    """What Redis Cluster hashes: the text between the first { and the first } after it, if there is any."""
    opening = key.find("{")
    closing = key.find("}", opening + 1)
    return key[opening + 1 : closing] if opening >= 0 and closing > opening + 1 else key


def test_consumer_names_are_their_own() -> None:
    assert len({names.consumer_name() for _ in range(100)}) == 100


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_on_one_slot_have_the_same_hash_tag(stream: str, other: str) -> None:
    assert keys.on_one_slot(stream, other) == (_hash_tag(stream) == _hash_tag(other))
    assert keys.on_one_slot("orders", "{orders}:invoices")
    assert not keys.on_one_slot("orders", "invoices")


# -- dead letters and replays on the wire ----------------------------------------------------------------------

field_lists = st.lists(st.binary(max_size=20), min_size=1, max_size=8).map(lambda values: values * 2)


@given(field_lists, st.text(max_size=20), st.integers(0, 9), st.floats(0, 4e9))
def test_a_dead_letter_is_read_as_it_was_written(
    fields: list[bytes], error: str, failures: int, first_failure: float
) -> None:
    entry = Entry("orders", b"5-1", fields, deliveries=3)
    entry.first_failure = round(first_failure, 3)
    fate = DeadLetter("failures", writable(error), failures, "trace")
    written = dead_letter.compose(entry, fate, entry.stream, "g", "c")
    letter = dead_letter.parse("9-0", [item if isinstance(item, bytes) else str(item).encode() for item in written])
    assert letter.fields == tuple(fields)
    assert (letter.reason, letter.error, letter.traceback) == ("failures", writable(error), "trace")
    assert (letter.failures, letter.deliveries, letter.replays, letter.entry_id) == (failures, 3, 0, "5-1")
    assert (letter.first_failure.timestamp() if letter.first_failure else 0) == pytest.approx(entry.first_failure)
    history = dead_letter.history_of(letter)
    assert replays.unwrap(replays.wrap(fields, "g", history)) == ("g", fields, history)


@given(field_lists)
def test_whatever_stands_among_the_dead_letters_is_read(fields: list[bytes]) -> None:
    assert dead_letter.parse("1-0", fields).fields is not None
    replays.unwrap([replays.FOR_GROUP, b"g", replays.HISTORY, *fields])


# -- retry ----------------------------------------------------------------------------------------------------

policies = st.builds(
    RetryPolicy,
    max_failures=st.integers(1, 20),
    base=st.floats(0, 100),
    factor=st.floats(1, 10),
    cap=st.floats(0, 1000),
    jitter=st.booleans(),
    deadline=st.none() | st.floats(0.1, 1000),
)


@given(policies, st.integers(1, 5000))
def test_a_delay_is_never_negative_nor_beyond_the_cap(policy: RetryPolicy, failures: int) -> None:
    assert 0 <= policy.delay(failures) <= policy.cap


@given(policies, st.integers(0, 30), st.floats(0, 2000))
def test_every_failure_is_retried_or_dead_lettered_within_the_limits(
    policy: RetryPolicy, failures: int, failing_for: float
) -> None:
    fate = decide(ValueError("x"), failures, policy, failing_for)
    assert fate.failures == failures + 1
    if isinstance(fate, Retry):
        assert fate.failures < policy.max_failures
        assert policy.deadline is None or failing_for + fate.delay <= policy.deadline
    else:
        assert fate.reason in ("failures", "deadline")


@given(policies, st.integers(0, 100), st.floats(0, 1e6))
def test_retry_later_and_reject_count_no_failure(policy: RetryPolicy, failures: int, delay: float) -> None:
    assert decide(RetryLater(delay), failures, policy) == Retry(delay, failures, f"retry in {delay:g} s")
    rejected = decide(Reject("no"), failures, policy)
    assert isinstance(rejected, DeadLetter)
    assert (rejected.reason, rejected.error, rejected.failures) == ("rejected", "no", failures)


def test_policies_per_exception() -> None:
    policy = RetryPolicy(retry_on=(LookupError,), give_up_on=(KeyError,))
    assert isinstance(decide(IndexError("x"), 0, policy), Retry)
    assert decide(KeyError("x"), 0, policy).reason == "gave_up"  # type: ignore[union-attr]
    assert decide(ValueError("x"), 0, policy).reason == "gave_up"  # type: ignore[union-attr]


def test_delays_grow_to_the_cap_without_jitter() -> None:
    policy = RetryPolicy(base=1, factor=2, cap=5, jitter=False)
    assert [policy.delay(failures) for failures in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize(
    "options",
    [{"max_failures": 0}, {"max_deliveries": 0}, {"base": -1}, {"factor": 0.5}, {"cap": -1}, {"deadline": 0}],
)
def test_policies_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RetryPolicy(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        RetryLater(float("nan"))


def test_errors_are_told_in_one_line_and_tracebacks_are_cut() -> None:
    assert describe(ValueError("two\nlines")) == "ValueError: two lines"
    assert len(describe(ValueError("x" * 10_000))) == 1024
    assert len(traceback_of(ValueError("x" * 100_000))) == 8192


# -- the schedule ---------------------------------------------------------------------------------------------


@given(st.data())
def test_lanes_keep_their_order_and_nothing_is_lost(data: st.DataObject) -> None:
    """However deliveries are added, taken, delayed and done with: one of a lane at a time, in the order they came."""
    schedule, now, added = Schedule(), 0.0, 0
    running: list[Entry] = []
    came: dict[object, list[bytes]] = defaultdict(list)
    left: dict[object, list[bytes]] = defaultdict(list)
    for _ in range(data.draw(st.integers(1, 60))):
        action = data.draw(st.sampled_from(["add", "take", "leave", "delay", "wait"]))
        if action == "add":
            entry = Entry("s", str(added).encode(), [])
            entry.lane = data.draw(st.sampled_from([None, "a", "b", "c"]))
            if due := data.draw(st.sampled_from([0.0, now + 1])):
                entry.wait(due)
            came[entry.lane].append(entry.raw_id)
            schedule.add(entry)
            added += 1
        elif action == "take" and (taken := schedule.take(now)) is not None:
            assert taken.until <= now, "too early"
            assert taken.lane is None or taken.lane not in {other.lane for other in running}, "two of one lane"
            taken.begin()
            running.append(taken)
        elif action in ("leave", "delay") and running:
            entry = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if action == "leave":
                left[entry.lane].append(entry.raw_id)
                schedule.leave(entry)
            else:
                entry.wait(now + data.draw(st.integers(0, 3)))
                schedule.delay(entry)
        elif action == "wait":
            now += 1
    assert schedule.buffered + schedule.delayed + len(running) + sum(map(len, left.values())) == added
    now += 10
    while running or (taken := schedule.take(now)) is not None:
        entry = running.pop() if running else taken
        assert entry is not None
        left[entry.lane].append(entry.raw_id)
        schedule.leave(entry)
    assert (schedule.buffered, schedule.delayed, schedule.next_due) == (0, 0, None)
    for lane, order in came.items():
        assert sorted(left[lane]) == sorted(order)
        if lane is not None:
            assert left[lane] == order


@given(st.data())
def test_batches_keep_the_order_of_lanes_and_lose_nothing(data: st.DataObject) -> None:
    """However batches are taken and end, with any of their items to be handled again."""
    schedule, now = Schedule(), 0.0
    count = data.draw(st.integers(1, 60))
    for number in range(count):
        entry = Entry("s", f"{number:02}".encode(), [])
        entry.lane = data.draw(st.sampled_from([None, "a", "b", "c"]))
        schedule.add(entry)
    left: list[Entry] = []
    while len(left) < count:
        now += 1
        most = data.draw(st.integers(1, 10))
        batch = schedule.take_batch(now, most)
        assert len(batch) <= most
        assert len(batch) == 1 or not any(entry.failures for entry in batch), "one that failed comes alone"
        again = []
        for entry in batch:
            assert entry.until <= now, "too early"
            entry.begin()
            if data.draw(st.booleans()) and entry.failures < 3:
                entry.failures += data.draw(st.integers(0, 1))
                entry.wait(now + data.draw(st.integers(0, 3)))
                again.append(entry)
            else:
                left.append(entry)
        schedule.end_batch(batch, again)
        assert schedule.buffered + schedule.delayed == count - len(left)
    assert (schedule.take(now + 10), schedule.next_due) == (None, None)
    assert sorted(entry.raw_id for entry in left) == [f"{number:02}".encode() for number in range(count)]


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 10))
def test_without_failures_batches_are_the_order_of_their_lanes(lanes: list[str], most: int) -> None:
    schedule = Schedule()
    came: dict[object, list[bytes]] = defaultdict(list)
    for number, lane in enumerate(lanes):
        entry = Entry("s", str(number).encode(), [])
        entry.lane = lane
        came[lane].append(entry.raw_id)
        schedule.add(entry)
    left: dict[object, list[bytes]] = defaultdict(list)
    while batch := schedule.take_batch(0.0, most):
        for entry in batch:
            left[entry.lane].append(entry.raw_id)
        schedule.end_batch(batch, [])
    assert left == came


# -- how much to buffer -----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 10)), max_size=30), st.integers(1, 500))
def test_the_buffer_never_exceeds_its_bound_nor_a_quarter_second_of_work(
    samples: list[tuple[int, float]], most: int
) -> None:
    buffer_size = BufferSize(most)
    for done, seconds in samples:
        before = buffer_size.limit
        buffer_size.measured(done, seconds)
        assert 0 <= buffer_size.limit <= most
        assert buffer_size.limit <= max(before, 1) * GROWTH
        assert buffer_size.limit <= done / max(seconds, 1e-6) * 0.25


@given(st.integers(-10, 300), st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_reads_fit_the_room(free: int, limit: int, buffered: int, idle: int) -> None:
    count = room(free=free, limit=limit, buffered=buffered, idle=idle)
    assert 0 <= count <= max(0, free)
    assert count + buffered <= max(limit, idle, buffered)
    if idle and not buffered and free > 0:
        assert count > 0, "an idle worker and nothing to do: read"


# -- the lag rule ---------------------------------------------------------------------------------------------


def _stream(last_id: str | None, length: int, added: int = 0) -> StreamInfo:
    return StreamInfo("s", length, 1, None, last_id, last_id or "0-0", max(added, length))


def _group(last_delivered: str, lag: int | None) -> GroupInfo:
    return GroupInfo("g", 1, 0, last_delivered, None, lag)


@pytest.mark.parametrize(
    ("stream", "group", "lag"),
    [
        (_stream("5-0", 5), _group("5-0", 3), 0),  # Redis 7.0 after a trim: says 3 with nothing to read
        (_stream("5-0", 5), _group("9-0", None), 0),
        (_stream(None, 0), _group("0-0", None), 0),
        (_stream("5-0", 2, added=9), _group("1-0", 8), 2),  # Valkey after a trim: says 8 of 2
        (_stream("5-0", 5), _group("1-0", 4), 4),
        (_stream("5-0", 5), _group("1-0", None), None),
        (_stream("5-0", 2, added=9), _group("1-0", 10), None),  # more than there ever were
        (_stream("5-0", 2, added=9), _group("1-0", 2**64 - 1), None),
    ],
)
def test_p20_lag_is_believed_only_where_it_can_be(stream: StreamInfo, group: GroupInfo, lag: int | None) -> None:
    assert known_lag(stream, group) == lag


def test_behind_counts_what_is_not_settled() -> None:
    assert LagReport("s", "g", 3, 4, None).behind == 7
    assert LagReport("s", "g", None, 4, None).behind == 4


def test_backoff_stays_within_its_bounds() -> None:
    waits = delays()
    assert all(SHORTEST / 2 <= next(waits) <= LONGEST for _ in range(1000))


@pytest.mark.parametrize("lane", ["k", None])
def test_p7_a_lost_entry_holds_up_nothing_until_it_would_be_due(lane: str | None) -> None:
    """Lost in a batch that is handled again later, and lost behind another one of its lane."""
    schedule = Schedule()
    lost, front, behind = (Entry("s", b"%d-0" % number, []) for number in range(3))
    for entry in (lost, front, behind):
        entry.lane = lane
    schedule.add(lost)
    [taken] = schedule.take_batch(0, 1)
    taken.begin()
    taken.wait(100.0)
    taken.lose()
    schedule.end_batch([taken], [taken])
    schedule.add(behind)
    assert schedule.take(0) is lost
    schedule.leave(lost)
    assert schedule.take(0) is behind
    schedule.leave(behind)
    schedule.add(front)
    lost.wait(100.0)
    schedule.add(lost)
    schedule.add(behind)
    assert schedule.take(0) is front
    schedule.leave(front)
    assert {schedule.take(0), (schedule.leave(lost), schedule.take(0))[1]} == {lost, behind}
