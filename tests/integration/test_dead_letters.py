"""Dead letters: listed, shown, replayed to the group that gave them up, purged, and kept within bounds (P12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    ConfigError,
    Connection,
    DeadLetterMessage,
    DeadLetterNotFoundError,
    DeadLetters,
    Delivery,
    FieldsCodec,
    GroupNotFoundError,
    History,
    PermissionDeniedError,
    RedisRefusedError,
    RedisUnavailableError,
    Reject,
    ReplayReport,
    RetryPolicy,
    Settings,
    StreamConsumer,
    StreamNotFoundError,
    StreamTypeError,
)
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

DEAD = "{orders}:g:dead"
FAILURES = "{orders}:g:failures"
ONCE = RetryPolicy(max_failures=1)
TWICE = RetryPolicy(max_failures=2, base=0.001)
QUICK = Settings(reclaim_interval=0.03, block_ms=50)
NONE: tuple[int, ...] = ()
ALL = range(1_000_000)


class Attempt(NamedTuple):
    """What a handler was told when it was called."""

    number: int
    id: str
    failures: int
    deliveries: int
    history: History | None


def service(
    url: str, *, bad: Container[int] = NONE, group: str = "g", retry: RetryPolicy = TWICE, settings: Settings = QUICK
) -> tuple[Broker, list[Attempt]]:
    """A broker whose handler fails on the bad ones, and its attempts."""
    broker = Broker(url, group=group, settings=settings)
    attempts: list[Attempt] = []

    @broker.handler("orders", retry=retry)
    async def handle(order: Order, delivery: Delivery) -> None:
        attempts.append(Attempt(order.number, delivery.id, delivery.failures, delivery.deliveries, delivery.history))
        if order.number in bad:
            raise ValueError(f"number {order.number} is bad")

    return broker, attempts


async def given_up(url: str, *numbers: int, group: str = "g", retry: RetryPolicy = TWICE) -> list[DeadLetterMessage]:
    """Publish events, and have a group give them up; its dead letters."""
    broker, _ = service(url, bad=ALL, group=group, retry=retry)
    async with broker:
        await broker.publish_many("orders", [Order(number) for number in numbers])
        letters = DeadLetters(broker.connection, "orders", group)
        await until(lambda: counted(letters, len(numbers)))
        return await letters.list(count=10_000)


async def counted(letters: DeadLetters, count: int) -> bool:
    return await letters.count() == count


async def nothing_is_left(redis: Redis, group: str = "g") -> bool:
    """Everything in the stream was delivered to the group and settled, and nothing is remembered of it."""
    about = {one["name"]: one for one in await redis.xinfo_groups("orders")}[group]
    undelivered = await redis.xrange("orders", f"({about['last-delivered-id']}")
    failures = await redis.hlen(f"{{orders}}:{group}:failures")
    return (about["pending"], undelivered, failures) == (0, [], 0)


async def written(redis: Redis, entry_id: str = "*", *, key: str = DEAD, **became: object) -> str:
    """A dead letter, written by hand."""
    whole = {"reason": "failures", "error": "ValueError: no", "failures": 2, "deliveries": 1, "stream": "orders"}
    whole |= {"group": "g", "consumer": "c", "id": "5-1"} | became
    event = {"event_type": "Order", "payload": '{"number":1}'}
    return str(await redis.xadd(key, event | {f"dead:{name}": str(value) for name, value in whole.items()}, entry_id))


@pytest.fixture
def letters(connection: Connection) -> DeadLetters:
    return DeadLetters(connection, "orders", "g")


def ids_of(found: list[DeadLetterMessage]) -> list[str]:
    return [letter.id for letter in found]


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


# -- listing and showing ----------------------------------------------------------------------------------------


async def test_p12_a_dead_letter_says_what_became_of_the_event(url: str, redis: Redis, letters: DeadLetters) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=TWICE)
    async def handle(order: Order) -> None:
        raise ValueError("no such customer")

    async with broker:
        entry_id = await broker.publish("orders", Order(1), key="ada", event_id="e-1", headers={"trace": "t"})
        await until(lambda: counted(letters, 1))
    [letter] = await letters.list()
    assert await letters.show(letter.id) == letter
    assert (letter.reason, letter.error) == ("failures", "ValueError: no such customer")
    assert "raise ValueError" in letter.traceback
    assert (letter.failures, letter.deliveries, letter.replays) == (2, 1, 0)
    assert (letter.stream, letter.group, letter.entry_id) == ("orders", "g", entry_id)
    assert letter.consumer
    assert (letter.event_type, letter.key, letter.event_id, letter.headers) == ("Order", "ada", "e-1", {"trace": "t"})
    assert letter.payload == b'{"number":1,"customer":"ada","total":1.0}'
    raw = Redis.from_url(url, protocol=2)
    [(_, original)] = await raw.xrange("orders")
    await raw.aclose()
    assert letter.fields == tuple(item for pair in original.items() for item in pair)
    published = int(entry_id.partition("-")[0])
    assert letter.first_failure is not None
    assert at(published) <= letter.first_failure <= letter.timestamp


async def test_p12_they_are_listed_by_reason(url: str, letters: DeadLetters) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", event_type="Order", retry=RetryPolicy(max_failures=1, give_up_on=(KeyError,)))
    async def handle(order: Order) -> None:
        if order.number == 1:
            raise Reject("nothing to bill")
        raise KeyError("x") if order.number == 2 else ValueError("y")

    async with broker:
        for event_type, payload in (("Order", 1), ("Order", 2), ("Order", 3), ("Order", "x"), ("Strange", 5)):
            await broker.publish("orders", {"number": payload}, event_type=event_type)
        await until(lambda: counted(letters, 5))
    reasons = ["rejected", "gave_up", "failures", "undecodable", "unhandled"]
    assert [letter.reason for letter in await letters.list()] == reasons
    for reason in reasons:
        assert [letter.reason for letter in await letters.list(reason=reason)] == [reason]
    assert await letters.list(reason="deadline") == []


async def test_p12_they_are_listed_by_time_to_the_millisecond(redis: Redis, letters: DeadLetters) -> None:
    for entry_id in ("1700000000000-0", "1700000000001-0", "1700000000001-1", "1700000000002-0"):
        await written(redis, entry_id)
    everything = ids_of(await letters.list())
    assert len(everything) == 4
    assert ids_of(await letters.list(since=at(1700000000001))) == everything[1:]
    assert ids_of(await letters.list(until=at(1700000000001))) == everything[:3]
    assert ids_of(await letters.list(since=at(1700000000001), until=at(1700000000001))) == everything[1:3]
    assert await letters.list(until=at(1699999999999)) == []
    assert await letters.list(since=at(1700000000003)) == []
    assert ids_of(await letters.list(since=at(-5), until=datetime.max.replace(tzinfo=UTC))) == everything
    elsewhere = at(1700000000001).astimezone(tz=None)
    assert ids_of(await letters.list(since=elsewhere, until=elsewhere)) == everything[1:3]


async def test_p12_times_without_a_zone_are_refused(letters: DeadLetters) -> None:
    naive = datetime(2026, 1, 31)  # noqa: DTZ001  # it is the point
    for times in ({"since": naive}, {"until": naive}):
        with pytest.raises(ConfigError, match="give a time zone"):
            await letters.list(**times)
        with pytest.raises(ConfigError, match="give a time zone"):
            await letters.purge(**times)


async def test_p12_they_are_listed_page_by_page(redis: Redis, letters: DeadLetters) -> None:
    ids = [await written(redis, reason="rejected" if number % 70 == 69 else "failures") for number in range(250)]
    assert ids_of(await letters.list()) == ids[:100]
    assert ids_of(await letters.list(count=10_000)) == ids
    assert ids_of(await letters.list(count=1)) == ids[:1]
    assert await letters.list(count=0) == []
    pages, page = [], await letters.list(count=60)
    while page:
        pages.append(ids_of(page))
        page = await letters.list(after=page[-1].id, count=60)
    assert [len(one) for one in pages] == [60, 60, 60, 60, 10]
    assert [letter_id for one in pages for letter_id in one] == ids
    rejected = [letter_id for number, letter_id in enumerate(ids) if number % 70 == 69]
    assert ids_of(await letters.list(reason="rejected")) == rejected
    assert ids_of(await letters.list(reason="rejected", after=rejected[0], count=1)) == rejected[1:2]
    with pytest.raises(ConfigError, match="after: 'nope' is not the id"):
        await letters.list(after="nope")


async def test_p12_the_time_holds_for_a_page_too(redis: Redis, letters: DeadLetters) -> None:
    for number in range(1, 4):
        await written(redis, f"170000000000{number}-0")
    assert await letters.list(since=at(1700000000003), after="1700000000001-0") == await letters.list(
        since=at(1700000000003)
    )


async def test_p12_a_letter_that_is_not_there_is_an_error(redis: Redis, letters: DeadLetters) -> None:
    there = await written(redis)
    for step in (letters.show, letters.replay, letters.purge):
        with pytest.raises(DeadLetterNotFoundError, match="no dead letter '1700000000000-0'"):
            await step("1700000000000-0")
        for wrong in ("nope", "", "-", "+", "*", f"({there}"):
            with pytest.raises(ConfigError, match="is not the id of a dead letter"):
                await step(wrong)
    with pytest.raises(DeadLetterNotFoundError):
        await letters.purge([there, "1700000000000-0"])
    assert await letters.count() == 1, "all or nothing"


async def test_p12_half_an_id_is_that_of_one_letter(redis: Redis, letters: DeadLetters) -> None:
    """As Redis has it where it takes one id: `1700` is `1700-0`."""
    first, second = await written(redis, "1700000000000-0"), await written(redis, "1700000000000-1")
    assert (await letters.show("1700000000000")).id == first
    assert await letters.purge("1700000000000", dry_run=True) == 1
    assert await letters.purge(["1700000000000", first]) == 1
    assert ids_of(await letters.list()) == [second]
    with pytest.raises(DeadLetterNotFoundError):
        await letters.show("1700000000000")


async def test_p12_one_that_is_named_twice_is_meant_once(url: str, redis: Redis, letters: DeadLetters) -> None:
    [letter] = await given_up(url, 1)
    assert await letters.purge([letter.id, letter.id], dry_run=True) == 1
    assert await letters.replay([letter.id, letter.id]) == ReplayReport(1, 0, 0)


async def test_p12_what_is_not_there_at_all_has_no_letters(letters: DeadLetters) -> None:
    assert (await letters.count(), await letters.list()) == (0, [])
    assert await letters.replay() == ReplayReport(0, 0, 0)
    assert await letters.purge() == 0


async def test_p12_a_key_that_is_no_stream_is_named(redis: Redis, letters: DeadLetters) -> None:
    await redis.set(DEAD, "text")
    for step in (letters.count, letters.list, letters.replay, letters.purge):
        with pytest.raises(StreamTypeError, match="orders}:g:dead"):
            await step()


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ("stream", {"stream": "or ders", "group": "g"}),
        ("group", {"stream": "orders", "group": ""}),
        ("dead_letter", {"stream": "orders", "group": "g", "dead_letter": "a\nb"}),
    ],
)
async def test_p12_names_that_cannot_be_are_refused(connection: Connection, wrong: str, names: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=wrong):
        DeadLetters(connection, **names)


async def test_p12_a_graveyard_for_many_keeps_them_apart(connection: Connection, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":1}'}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    mine = await written(redis, key="graveyard")
    others = [
        await written(redis, key="graveyard", group="h"),
        await written(redis, key="graveyard", stream="clicks"),  # of a group of the same name
    ]
    letters = DeadLetters(connection, "orders", "g", dead_letter="graveyard")
    assert (letters.key, ids_of(await letters.list())) == ("graveyard", [mine])
    for other in others:
        for step in (letters.show, letters.replay, letters.purge):
            with pytest.raises(DeadLetterNotFoundError):
                await step(other)
    assert await letters.replay() == ReplayReport(1, 0, 0)
    assert await letters.purge() == 0
    assert [entry_id for entry_id, _ in await redis.xrange("graveyard")] == others


# -- replay, in place -------------------------------------------------------------------------------------------


async def test_p12_a_replay_in_place_keeps_the_id_and_goes_to_that_group_alone(url: str, redis: Redis) -> None:
    other, others_attempts = service(url, group="h")
    async with other:
        [letter] = await given_up(url, 1)
        broker, attempts = service(url)
        async with broker:
            letters = DeadLetters(broker.connection, "orders", "g")
            assert await letters.replay(letter.id) == ReplayReport(in_place=1, copied=0, gone=0)
            await until(lambda: len(attempts) == 1)
            await broker.publish("orders", Order(2))
            await until(lambda: len(others_attempts) == 2)
            await until(lambda: nothing_is_left(redis, "g"))
            await until(lambda: nothing_is_left(redis, "h"))
            assert await letters.count() == 0
    assert [attempt.number for attempt in others_attempts] == [1, 2]
    [again, _] = attempts
    assert (again.id, again.failures, again.deliveries) == (letter.entry_id, 0, 1)
    assert letter.first_failure is not None
    assert again.history == History(
        id=letter.entry_id,
        failures=2,
        first_failure=letter.first_failure.timestamp(),
        reason="failures",
        error="ValueError: number 1 is bad",
        replays=1,
    )
    assert await redis.xlen("orders") == 2


async def test_p12_a_replay_waits_for_a_group_that_is_away(url: str, redis: Redis, letters: DeadLetters) -> None:
    found = await given_up(url, 1, 2)
    assert await letters.replay() == ReplayReport(2, 0, 0)
    assert (await redis.xpending("orders", "g"))["pending"] == 2
    broker, attempts = service(url)
    async with broker:
        await until(lambda: len(attempts) == 2)
        await until(lambda: nothing_is_left(redis))
    assert [attempt.id for attempt in attempts] == [letter.entry_id for letter in found]
    assert [attempt.history.replays for attempt in attempts if attempt.history] == [1, 1]


async def test_p12_what_fails_again_is_a_dead_letter_again_with_all_its_failures(url: str, redis: Redis) -> None:
    [first] = await given_up(url, 1)
    broker, attempts = service(url, bad=ALL)
    async with broker:
        letters = DeadLetters(broker.connection, "orders", "g")
        latest = first
        for lives in (2, 3):
            await letters.replay(latest.id)
            await until(lambda n=lives: len(attempts) == (n - 1) * 2)
            await until(lambda: counted(letters, 1))
            earlier, [latest] = latest, await letters.list()
            assert latest.id != earlier.id
            assert (latest.failures, latest.replays, latest.deliveries) == (2 * lives, lives - 1, 1)
            assert (latest.entry_id, latest.first_failure) == (first.entry_id, first.first_failure)
            assert latest.fields == first.fields
    assert [attempt.failures for attempt in attempts] == [0, 1, 0, 1]
    assert [attempt.history.failures for attempt in attempts if attempt.history] == [2, 2, 4, 4]
    assert await nothing_is_left(redis)


async def test_p12_its_history_survives_a_retry_and_a_takeover(url: str, redis: Redis) -> None:
    [letter] = await given_up(url, 1)
    slow = RetryPolicy(max_failures=5, base=0.3, jitter=False)
    first, attempts_of_first = service(url, bad=ALL, retry=slow)
    async with first:
        await DeadLetters(first.connection, "orders", "g").replay()
        await until(lambda: redis.hexists(FAILURES, letter.entry_id))
    second, attempts_of_second = service(url, retry=slow)
    async with second:
        await until(lambda: attempts_of_second)
        await until(lambda: nothing_is_left(redis))
    [one], [other] = attempts_of_first, attempts_of_second
    assert (one.failures, other.failures) == (0, 1)
    assert one.history == other.history is not None


async def test_p12_some_are_replayed_by_id_or_by_reason_or_time(url: str, redis: Redis, letters: DeadLetters) -> None:
    found = await given_up(url, *range(6))
    for _ in range(2):
        await written(redis, reason="rejected", id=found[0].entry_id)
    broker, attempts = service(url)
    async with broker:
        assert await letters.replay([found[4].id, found[2].id]) == ReplayReport(2, 0, 0)
        assert (await letters.replay(found[5].id)).replayed == 1
        assert (await letters.replay(until=found[0].timestamp - timedelta(milliseconds=1))).replayed == 0
        assert (await letters.replay(reason="deadline")).replayed == 0
        assert (await letters.replay([])).replayed == 0
        await until(lambda: sorted(attempt.number for attempt in attempts) == [2, 4, 5])
        assert (await letters.replay(reason="failures", since=found[0].timestamp)).replayed == 3
        await until(lambda: sorted(attempt.number for attempt in attempts) == list(range(6)))
    assert [letter.reason for letter in await letters.list()] == ["rejected", "rejected"]
    for filters in ({"reason": "failures"}, {"since": found[0].timestamp}, {"until": found[0].timestamp}):
        with pytest.raises(ConfigError, match="ids: cannot be combined"):
            await letters.replay(found[0].id, **filters)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="ids: cannot be combined"):
            await letters.purge(found[0].id, **filters)  # type: ignore[arg-type]


async def test_p12_all_are_replayed_over_many_pages(url: str, redis: Redis, letters: DeadLetters) -> None:
    await given_up(url, *range(350))
    broker, attempts = service(url)
    async with broker:
        assert await letters.replay() == ReplayReport(350, 0, 0)
        await until(lambda: sorted(attempt.number for attempt in attempts) == list(range(350)))
        await until(lambda: nothing_is_left(redis))
    assert await letters.count() == 0


async def test_p12_a_dry_run_says_what_would_be_and_does_nothing(url: str, redis: Redis, letters: DeadLetters) -> None:
    found = await given_up(url, 1, 2, 3)
    await redis.xdel("orders", found[1].entry_id)
    before = await redis.xrange("orders"), await redis.xrange(DEAD)
    assert await letters.replay(dry_run=True, rate=0.001) == ReplayReport(2, 1, 0)
    assert await letters.replay([found[1].id], dry_run=True) == ReplayReport(0, 1, 0)
    assert await letters.replay(reason="rejected", dry_run=True) == ReplayReport(0, 0, 0)
    assert await letters.purge(dry_run=True) == 3
    assert (await redis.xrange("orders"), await redis.xrange(DEAD)) == before
    assert await nothing_is_left(redis)
    assert await letters.replay() == ReplayReport(2, 1, 0)


async def test_p12_a_replay_goes_no_faster_than_told(url: str, letters: DeadLetters) -> None:
    await given_up(url, *range(5))
    began = asyncio.get_running_loop().time()
    assert (await letters.replay(rate=20)).replayed == 5
    assert asyncio.get_running_loop().time() - began >= 4 / 20
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="rate"):
            await letters.replay(rate=wrong)


async def test_p12_letters_that_come_while_it_runs_are_left_for_the_next_time(url: str, redis: Redis) -> None:
    """Also with an end in the future: what fails again at once must not be replayed without end."""
    found = await given_up(url, *range(120), retry=ONCE)
    broker, attempts = service(url, bad=ALL, retry=ONCE)
    async with broker:
        letters = DeadLetters(broker.connection, "orders", "g")
        later = datetime.now(UTC) + timedelta(days=1)
        async with asyncio.timeout(5):
            report = await letters.replay(until=later, rate=250)
        assert report.replayed == len(found)
        await until(lambda: len(attempts) == len(found))
        await until(lambda: counted(letters, len(found)))


async def test_p12_two_who_replay_all_at_once_replay_each_once(url: str, redis: Redis, letters: DeadLetters) -> None:
    found = await given_up(url, *range(60))
    await redis.xdel("orders", *(letter.entry_id for letter in found[::3]))
    broker, attempts = service(url)
    async with broker, Connection(url) as elsewhere:
        reports = await asyncio.gather(letters.replay(), DeadLetters(elsewhere, "orders", "g").replay())
        await until(lambda: sorted(attempt.number for attempt in attempts) == list(range(60)))
        await until(lambda: nothing_is_left(redis))
    assert sum(report.in_place for report in reports) == 40
    assert sum(report.copied for report in reports) == 20
    assert 0 < sum(report.gone for report in reports) <= 60, "both saw nearly all of them, and each got only some"
    assert len(attempts) == 60
    assert await letters.count() == 0


async def test_p12_an_entry_that_will_be_delivered_anyway_is_not_handed_out_twice(
    url: str, redis: Redis, letters: DeadLetters
) -> None:
    await given_up(url, 1, 2)
    await redis.xgroup_setid("orders", "g", "0")
    assert await letters.replay() == ReplayReport(2, 0, 0)
    assert (await redis.xpending("orders", "g"))["pending"] == 0
    broker, attempts = service(url)
    async with broker:
        await until(lambda: nothing_is_left(redis))
    assert [attempt.number for attempt in attempts] == [1, 2]


async def test_p12_an_entry_in_somebodys_hands_stays_there(url: str, redis: Redis, letters: DeadLetters) -> None:
    await given_up(url, 1)
    await redis.xgroup_setid("orders", "g", "0")
    await redis.xreadgroup("g", "somebody", {"orders": ">"})
    assert await letters.replay() == ReplayReport(1, 0, 0)
    [pending] = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert (pending["consumer"], pending["times_delivered"]) == ("somebody", 1)


async def test_p12_nothing_is_remembered_of_a_replayed_entry_that_vanished(
    url: str, redis: Redis, letters: DeadLetters
) -> None:
    [letter] = await given_up(url, 1)
    await letters.replay()
    await redis.xdel("orders", letter.entry_id)
    broker, attempts = service(url)
    async with broker:
        await until(lambda: broker.status[0].vanished == 1)
        await until(lambda: nothing_is_left(redis))
    assert attempts == []


async def test_p12_a_batch_handler_gets_replayed_events_with_their_history(
    url: str, redis: Redis, letters: DeadLetters
) -> None:
    found = await given_up(url, 1, 2)
    await redis.xdel("orders", found[0].entry_id)
    got: dict[int, History | None] = {}
    broker = Broker(url, settings=QUICK)

    @broker.handler("orders", group="g", batch=10, within=0.05)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        got.update({order.number: batch[index].history for index, order in enumerate(orders)})

    others: list[int] = []

    @broker.handler("orders", group="h", start="$", batch=10, within=0.05)
    async def other(orders: list[Order]) -> None:
        others.extend(order.number for order in orders)

    async with broker:
        assert await letters.replay() == ReplayReport(1, 1, 0)
        await until(lambda: len(got) == 2)
        await broker.publish("orders", Order(3))
        await until(lambda: others)
        await until(lambda: nothing_is_left(redis, "g"))
        await until(lambda: nothing_is_left(redis, "h"))
    assert [got[number].id for number in (1, 2)] == [letter.entry_id for letter in found]  # type: ignore[union-attr]
    assert (got[3], others) == (None, [3])


# -- replay, as a copy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "trimmed"])
async def test_p12_an_event_whose_entry_is_gone_comes_back_as_a_copy_for_that_group_alone(
    url: str, redis: Redis, how: str
) -> None:
    other, others_attempts = service(url, group="h")
    async with other:
        [letter] = await given_up(url, 1)
        await until(lambda: nothing_is_left(redis, "h"))
        await (
            redis.xdel("orders", letter.entry_id) if how == "deleted" else redis.xtrim("orders", 0, approximate=False)
        )
        broker, attempts = service(url)
        async with broker:
            letters = DeadLetters(broker.connection, "orders", "g")
            assert await letters.replay(letter.id) == ReplayReport(in_place=0, copied=1, gone=0)
            await until(lambda: len(attempts) == 1)
            await until(lambda: nothing_is_left(redis, "g"))
            await until(lambda: nothing_is_left(redis, "h"))
            assert other.status[0].settled == 2, "acknowledged"
            assert await letters.count() == 0
    assert [attempt.number for attempt in others_attempts] == [1], "unhandled"
    assert await redis.exists("{orders}:h:dead") == 0
    [again] = attempts
    [(entry_id, _)] = await redis.xrange("orders")
    assert (again.id, again.failures, again.deliveries) == (entry_id, 0, 1)
    assert again.history is not None
    assert (again.history.id, again.history.failures, again.history.replays) == (letter.entry_id, 2, 1)


async def test_p12_a_copy_is_the_event_as_it_was(url: str, redis: Redis, letters: DeadLetters) -> None:
    broker = Broker(url, group="g", settings=QUICK)
    seen: list[Delivery] = []

    @broker.handler("orders", retry=ONCE)
    async def handle(order: Order, delivery: Delivery) -> None:
        seen.append(delivery)
        if len(seen) == 1:
            raise ValueError("no")

    async with broker:
        entry_id = await broker.publish("orders", Order(1), key="ada", event_id="e-1", headers={"trace": "t"})
        await until(lambda: counted(letters, 1))
        await redis.xdel("orders", entry_id)
        await letters.replay()
        await until(lambda: len(seen) == 2)
    first, copy = seen
    assert copy._entry.fields == first._entry.fields
    assert (copy.event.key, copy.event.event_id, copy.event.headers) == ("ada", "e-1", {"trace": "t"})
    assert copy.event.event_type == "Order"
    assert copy.id != first.id


async def test_p12_a_copy_that_fails_again_is_a_dead_letter_of_the_same_event(url: str, redis: Redis) -> None:
    [first] = await given_up(url, 1)
    await redis.xdel("orders", first.entry_id)
    broker, attempts = service(url, bad=ALL)
    async with broker:
        letters = DeadLetters(broker.connection, "orders", "g")
        for lives in (2, 3):
            assert (await letters.replay()).copied == 1
            await until(lambda n=lives: len(attempts) == (n - 1) * 2)
            await until(lambda: counted(letters, 1))
            [letter] = await letters.list()
            assert (letter.failures, letter.replays) == (2 * lives, lives - 1)
            assert (letter.entry_id, letter.first_failure) == (first.entry_id, first.first_failure)
            assert letter.fields == first.fields
    assert [attempt.history.replays for attempt in attempts if attempt.history] == [1, 1, 2, 2]
    assert await nothing_is_left(redis)


async def test_p12_a_copy_is_decoded_again_and_may_be_undecodable_again(url: str, redis: Redis) -> None:
    broker, attempts = service(url)
    async with broker:
        letters = DeadLetters(broker.connection, "orders", "g")
        entry_id = await broker.publish("orders", {"number": "x"}, event_type="Order")
        await until(lambda: counted(letters, 1))
        await redis.xdel("orders", entry_id)
        [first] = await letters.list()
        await letters.replay()
        await until(lambda: gone_and_back(letters, first.id))
        [second] = await letters.list()
    assert (second.reason, second.replays, second.fields) == ("undecodable", 1, first.fields)
    assert (second.failures, second.first_failure, second.entry_id) == (0, None, entry_id)
    assert attempts == []


async def gone_and_back(letters: DeadLetters, letter_id: str) -> bool:
    found = await letters.list()
    return len(found) == 1 and found[0].id != letter_id


async def test_p12_a_plain_consumer_of_another_group_does_not_get_a_copy(
    url: str, redis: Redis, connection: Connection, letters: DeadLetters
) -> None:
    [letter] = await given_up(url, 1)
    await redis.xdel("orders", letter.entry_id)
    await redis.xgroup_create("orders", "h", "$")
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":2}'})
    await letters.replay()
    for group, numbers in (("g", [2, 1]), ("h", [2])):
        got: list[int] = []
        async with StreamConsumer(connection, "orders", group, payload_type=Order, block=0.02) as consumer:
            consuming = asyncio.create_task(consumed(consumer, got))
            await until(lambda n=numbers, g=got: g == n)
            await until(lambda g=group: nothing_is_left(redis, g), what="acknowledged, with nothing after it")
            consumer.stop()
            await consuming
        assert got == numbers


async def consumed(consumer: StreamConsumer[Order], got: list[int]) -> None:
    async for event in consumer.subscribe():
        got.append(event.payload.number)
        await consumer.acknowledge(event)


# -- replay, when things are not as they should be --------------------------------------------------------------


async def test_p12_a_replay_for_a_group_that_is_gone_leaves_the_letter(
    url: str, redis: Redis, letters: DeadLetters
) -> None:
    [letter] = await given_up(url, 1)
    await redis.xgroup_destroy("orders", "g")
    for chosen in (None, letter.id):
        with pytest.raises(GroupNotFoundError, match="orders.*g"):
            await letters.replay(chosen)
    await redis.delete("orders")
    with pytest.raises(StreamNotFoundError, match="orders"):
        await letters.replay()
    assert await letters.list() == [letter]
    assert await redis.exists("orders") == 0


async def test_p12_a_dry_run_tells_that_the_group_is_gone(url: str, redis: Redis, letters: DeadLetters) -> None:
    await given_up(url, 1)
    await redis.xgroup_destroy("orders", "g")
    with pytest.raises(GroupNotFoundError, match="orders.*g"):
        await letters.replay(dry_run=True)
    await redis.delete("orders")
    with pytest.raises(StreamNotFoundError, match="orders"):
        await letters.replay(dry_run=True)


async def test_p12_a_replay_while_redis_is_full_loses_nothing(new_server: Callable[..., Server]) -> None:
    server = new_server("--maxmemory", "0", "--maxmemory-policy", "noeviction")
    found = await given_up(server.url, 1, 2)
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    await redis.xdel("orders", found[0].entry_id)
    async with Connection(server.url, command_timeout=2) as connection:
        letters = DeadLetters(connection, "orders", "g")
        await redis.config_set("maxmemory", "1")
        with pytest.raises(RedisRefusedError, match="OOM"):
            await letters.replay(found[0].id)
        assert await letters.list() == found
        assert await redis.xlen("orders") == 1
        await in_place_or_not_at_all(letters, redis, found[1])
        await redis.config_set("maxmemory", "0")
        await letters.replay()
        assert await letters.count() == 0
    broker, attempts = service(server.url)
    async with broker:
        await until(lambda: len(attempts) == 2)
        await until(lambda: nothing_is_left(redis))
    await redis.aclose()
    assert sorted(attempt.number for attempt in attempts) == [1, 2]
    assert all(attempt.history for attempt in attempts)


async def in_place_or_not_at_all(letters: DeadLetters, redis: Redis, letter: DeadLetterMessage) -> None:
    """A replay in place needs next to no memory: servers may or may not refuse it; never is it half done."""
    try:
        await letters.replay(letter.id)
        replayed = 1
    except RedisRefusedError:
        replayed = 0
    assert (await redis.xpending("orders", "g"))["pending"] == replayed
    assert await letters.count() == 2 - replayed
    assert await redis.hlen(FAILURES) == replayed


@pytest.mark.parametrize("missing", ["xadd", "xclaim", "hdel", "hset", "xdel"])
@pytest.mark.parametrize("entry", ["there", "gone"])
async def test_p12_a_replay_without_permission_is_not_half_done(
    url: str, redis: Redis, missing: str, entry: str
) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":1}'}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    letter_id = await written(redis, id="5-1" if entry == "there" else "4-1")
    await redis.execute_command("ACL", "SETUSER", "op", "reset", "on", ">pass", "~*", "+@all", f"-{missing}")
    needed = missing == "xdel" or (missing == "xadd") == (entry == "gone")
    try:
        async with Connection(url.replace("redis://", "redis://op:pass@")) as limited:
            if needed:
                with pytest.raises(PermissionDeniedError):
                    await DeadLetters(limited, "orders", "g").replay()
            else:
                assert (await DeadLetters(limited, "orders", "g").replay()).replayed == 1
    finally:
        await redis.execute_command("ACL", "DELUSER", "op")
    if needed:
        assert [found for found, _ in await redis.xrange(DEAD)] == [letter_id]
        assert (await redis.xlen("orders"), (await redis.xpending("orders", "g"))["pending"]) == (1, 0)
        assert await redis.exists(FAILURES) == 0


async def test_p12_a_replay_beside_garbage_is_not_half_done(redis: Redis, letters: DeadLetters) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":1}'}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    await redis.set(FAILURES, "garbage")
    await written(redis, id="5-1")
    with pytest.raises(StreamTypeError):
        await letters.replay()
    assert (await letters.count(), (await redis.xpending("orders", "g"))["pending"]) == (1, 0)


async def test_p12_without_redis_it_says_so(new_server: Callable[..., Server]) -> None:
    server = new_server()
    async with Connection(server.url, command_timeout=0.3) as connection:
        letters = DeadLetters(connection, "orders", "g")
        assert await letters.count() == 0
        server.stop()
        for step in (letters.count, letters.list, letters.replay, letters.purge):
            with pytest.raises(RedisUnavailableError):
                await step()


# -- purge ------------------------------------------------------------------------------------------------------


async def test_p12_they_are_purged_by_id_by_filter_and_all(redis: Redis, letters: DeadLetters) -> None:
    reasons = ["failures", "rejected", "failures", "rejected", "failures"]
    ids = [await written(redis, f"170000000000{index}-0", reason=reason) for index, reason in enumerate(reasons)]
    assert await letters.purge([]) == 0
    assert await letters.purge(ids[0]) == 1
    assert await letters.purge(reason="rejected", until=at(1700000000002)) == 1
    assert await letters.purge(since=at(1700000000005)) == 0
    assert ids_of(await letters.list()) == ids[2:]
    assert await letters.purge([ids[2]]) == 1
    assert await letters.purge() == 2
    assert await letters.count() == 0


async def test_p12_thousands_are_purged(redis: Redis, letters: DeadLetters) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for _ in range(2_500):
            pipeline.xadd(DEAD, {"a": "b", "dead:reason": "failures", "dead:group": "g"})
        await pipeline.execute()
    assert await letters.purge(reason="failures") == 2_500
    assert await letters.count() == 0


# -- bounds -----------------------------------------------------------------------------------------------------


async def test_p12_at_most_so_many_are_kept_the_newest(url: str, redis: Redis, letters: DeadLetters) -> None:
    bounded = Settings(reclaim_interval=0.03, dead_letter_maxlen=3)
    broker, _ = service(url, bad=ALL, retry=ONCE, settings=bounded)
    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: nothing_is_left(redis))
    newest = [letter.payload for letter in await letters.list()]
    assert newest == [f'{{"number":{number},"customer":"ada","total":1.0}}'.encode() for number in (7, 8, 9)]


async def test_p12_a_bound_is_kept_for_letters_of_before(url: str, redis: Redis, letters: DeadLetters) -> None:
    ids = [await written(redis) for _ in range(5)]
    broker, _ = service(url, settings=Settings(dead_letter_maxlen=2))
    async with broker:
        await until(lambda: counted(letters, 2))
    assert ids_of(await letters.list()) == ids[3:]


async def test_p12_letters_past_their_time_go_when_new_ones_come(redis: Redis, url: str, letters: DeadLetters) -> None:
    broker, _ = service(url, bad=ALL, retry=ONCE, settings=Settings(dead_letter_retention=3600))
    async with broker:
        old = await written(redis, "1700000000000-0")
        await broker.publish("orders", Order(1))
        await until(lambda: nothing_is_left(redis))
        await until(lambda: counted(letters, 1))
    assert ids_of(await letters.list()) != [old]


async def test_p12_letters_past_their_time_go_also_when_no_new_ones_come(
    url: str, redis: Redis, letters: DeadLetters
) -> None:
    """Looked after at the start, and then every min(60, retention / 4) seconds."""
    now = int((await redis.time())[0]) * 1000
    old, young = await written(redis, f"{now - 7_200_000}-0"), await written(redis, f"{now - 1_800_000}-0")
    broker, _ = service(url, settings=Settings(dead_letter_retention=3600))
    async with broker:
        await until(lambda: counted(letters, 1))
    assert ids_of(await letters.list()) == [young] != [old]
    broker, _ = service(url, settings=Settings(dead_letter_retention=0.2))
    async with broker:
        await until(lambda: counted(letters, 0), 2)
        await written(redis)
        await until(lambda: counted(letters, 0), 2)


async def test_p12_without_a_bound_all_are_kept(url: str, redis: Redis, letters: DeadLetters) -> None:
    await written(redis, "1-1")
    broker, _ = service(url, bad=ALL, retry=ONCE)
    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(20)])
        await until(lambda: nothing_is_left(redis))
    assert await letters.count() == 21


# -- hard cases -------------------------------------------------------------------------------------------------


async def test_p12_a_dead_letter_of_a_dead_letter(url: str, redis: Redis, connection: Connection) -> None:
    [inner] = await given_up(url, 1)
    mourner = Broker(url, group="m", settings=QUICK)
    mourned: list[Delivery] = []

    @mourner.handler(DEAD, retry=TWICE)
    async def mourn(order: Order, delivery: Delivery) -> None:
        mourned.append(delivery)
        if len(mourned) <= 2:
            raise LookupError("no grave")

    letters = DeadLetters(connection, DEAD, "m")
    async with mourner:
        await until(lambda: counted(letters, 1))
        [outer] = await letters.list()
        assert (outer.stream, outer.group, outer.entry_id) == (DEAD, "m", inner.id)
        assert (outer.reason, outer.error, outer.failures) == ("failures", "LookupError: no grave", 2)
        assert outer.payload == inner.payload
        assert b"dead:reason" in outer.fields
        assert await DeadLetters(connection, "orders", "g").list() == [inner], "it is still there"
        assert (await letters.replay()).in_place == 1
        await until(lambda: len(mourned) == 3)
        assert mourned[-1]._entry.fields == list(outer.fields)
        assert mourned[-1].history is not None
        assert mourned[-1].history.error == "LookupError: no grave"
    broker, attempts = service(url)
    async with broker:
        assert (await DeadLetters(connection, "orders", "g").replay()).in_place == 1
        await until(lambda: attempts)
    assert (attempts[0].number, attempts[0].id) == (1, inner.entry_id)


FOREIGN: dict[str, dict[str | bytes, str | bytes]] = {
    "nothing of ours": {"a": "b"},
    "bytes": {b"\xff": b"\xfe", b"dead:reason": b"\xff", b"dead:group": b"g"},
    "no numbers": {"dead:reason": "r", "dead:group": "g", "dead:failures": "x", "dead:first_failure": "y"},
    "infinite": {"dead:reason": "r", "dead:group": "g", "dead:failures": "inf", "dead:first_failure": "inf"},
    "no number": {"dead:reason": "r", "dead:group": "g", "dead:replays": "nan", "dead:first_failure": "nan"},
    "huge": {"dead:reason": "r", "dead:group": "g", "dead:replays": "1e300", "dead:failures": "1e25"},
    "no id": {"a": "b", "dead:reason": "r", "dead:group": "g", "dead:id": "garbage"},
    "a range for an id": {"a": "b", "dead:reason": "r", "dead:group": "g", "dead:id": "-"},
    "too big an id": {"a": "b", "dead:reason": "r", "dead:group": "g", "dead:id": "99999999999999999999-1"},
    "digits of others": {"a": "b", "dead:reason": "r", "dead:group": "g", "dead:id": "\N{ARABIC-INDIC DIGIT FIVE}-1"},
    "half an id": {"a": "b", "dead:reason": "r", "dead:group": "g", "dead:id": "5"},
    "no MessagePack": {"dead:fields": "garbage", "dead:reason": "r", "dead:group": "g"},
    "half of it": {"dead:fields": b"\x91\xa1a", "dead:reason": "r", "dead:group": "g"},
    "only the reason": {"dead:reason": "failures"},
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_p12_entries_of_others_among_the_dead_letters(
    url: str, redis: Redis, letters: DeadLetters, kind: str
) -> None:
    """They are listed, shown, replayed and purged as far as they go, and never stand in the way of the others."""
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":7}'}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    foreign = str(await redis.xadd(DEAD, FOREIGN[kind]))
    ours = await written(redis)
    assert ids_of(await letters.list()) == [foreign, ours]
    assert (await letters.show(foreign)).id == foreign
    assert await letters.replay(dry_run=True) == ReplayReport(1, 1, 0)
    assert await letters.purge(dry_run=True) == 2
    assert await letters.replay() == ReplayReport(1, 1, 0)
    assert await letters.count() == 0
    broker, attempts = service(url)
    async with broker:
        await until(lambda: [attempt.number for attempt in attempts] == [7])
        await until(lambda: gone_and_back(letters, ""))
        [again] = await letters.list()
        assert (again.reason, again.replays >= 1) == ("undecodable", True)
        assert await letters.purge() == 1


@pytest.mark.parametrize("pairs", [2_999, 3_001, 5_000])
async def test_p12_entries_of_thousands_of_fields(url: str, redis: Redis, letters: DeadLetters, pairs: int) -> None:
    """More than a Lua script can pass on at once: replayed in place, and as copies."""
    fields = {f"field{index}": str(index) for index in range(pairs)}
    broker = Broker(url, group="g", settings=QUICK)
    got: list[tuple[dict[str, str], Delivery]] = []

    @broker.handler("orders", codec=FieldsCodec(), retry=ONCE)
    async def handle(order: dict[str, str], delivery: Delivery) -> None:
        got.append((order, delivery))
        if len(got) <= 2:
            raise ValueError("no")

    async with broker:
        entry_id = await redis.xadd("orders", fields)
        await until(lambda: counted(letters, 1))
        [letter] = await letters.list()
        assert letter.fields == tuple(item.encode() for pair in fields.items() for item in pair)
        assert (await letters.replay()).in_place == 1
        await until(lambda: len(got) == 2)
        await until(lambda: counted(letters, 1))
        await redis.xdel("orders", entry_id)
        assert (await letters.replay()).copied == 1
        await until(lambda: len(got) == 3)
        await until(lambda: nothing_is_left(redis))
    assert [order for order, _ in got] == [fields] * 3
    assert [delivery.history.replays for _, delivery in got if delivery.history] == [1, 2]
