"""Copies of an event in two processes (P2, P7, P25): one that waits for another holds nothing that the other needs.

Where one broker meets what another process has left, that process is played with plain commands: what it had in its
hands, what it had begun, and how often it had failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, RetryLater, RetryPolicy, Settings
from redis_streams_aio.consumer import parking, room
from redis_streams_aio.events import keys
from redis_streams_aio.exceptions import PermissionDeniedError
from redis_streams_aio.testing.waiting import until
from tests.events import Order

ORDERS = ("stream", "key", "none")
FAILURES = keys.failures("orders", "g")


def make(
    url: str,
    got: list[int],
    order: str = "stream",
    *,
    lease: float = 0.5,
    batch: int | None = None,
    concurrency: int | None = None,
    count: int = 100,
) -> Broker:
    """A broker whose handler notes the numbers it was called with."""
    broker = Broker(url, group="g", settings=Settings(count=count, grace=0.1, reclaim_interval=0.1))
    options = {
        "deduplicate": 60,
        "order": order,
        "concurrency": concurrency or (1 if order == "stream" else 4),
        "lease": lease,
        "key": (lambda o: o.customer) if order == "key" else None,
    }

    async def handle(order: Order) -> None:
        got.append(order.number)

    async def load(orders: list[Order]) -> None:
        got.extend(order.number for order in orders)

    if batch is None:
        broker.handler("orders", **options)(handle)
    else:
        broker.handler("orders", batch=batch, within=0.01, **options)(load)
    return broker


class Other:
    """Another process of the group, by its commands."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.held: list[str] = []

    async def renew(self) -> None:
        """As long as it lives."""
        while True:
            if self.held:
                await self.redis.xclaim("orders", "g", "other", 0, self.held, justid=True)
            await asyncio.sleep(0.05)

    async def join(self) -> None:
        await self.redis.xgroup_create("orders", "g", "0", mkstream=True)

    async def read(self, count: int = 1) -> list[str]:
        [[_, entries]] = await self.redis.xreadgroup("g", "other", {"orders": ">"}, count=count)
        self.held += (read := [entry_id for entry_id, _ in entries])
        return read

    async def begin(self, entry_id: str, event_id: str) -> None:
        await self.redis.set(keys.done("orders", "g", event_id.encode()), entry_id)

    async def fail(self, entry_id: str, delay: float) -> float:
        """When its retry is due, in epoch seconds of Redis's clock."""
        seconds, microseconds = await self.redis.time()
        now = seconds + microseconds / 1_000_000
        await self.redis.hset(FAILURES, entry_id, f"1 {now * 1000:.0f} {(now + delay) * 1000:.0f} {delay * 1000:.0f} x")
        return now + delay

    async def leave(self, how: str, *ids: str) -> None:
        """Give back, as at the end of a drain, or renew no more."""
        self.held = [entry_id for entry_id in self.held if entry_id not in ids]
        if how == "drain":
            await self.redis.xclaim("orders", "g", keys.RELEASED, 0, ids, idle=86_400_000, retrycount=0, justid=True)
            await self.redis.incr(keys.releases("orders", "g"))


@pytest.fixture
async def other(redis: Redis) -> AsyncIterator[Other]:
    process = Other(redis)
    await process.join()
    renewing = asyncio.create_task(process.renew())
    yield process
    renewing.cancel()
    await asyncio.wait([renewing])


async def publish(url: str, *numbers: int, event_id: str | None = None) -> None:
    async with Broker(url) as broker:
        for number in numbers:
            await broker.publish("orders", Order(number), event_id=event_id)


@pytest.mark.parametrize("how", ["drain", "crash"])
@pytest.mark.parametrize("order", ORDERS)
async def test_p2_p25_a_copy_lets_the_original_pass_that_comes_from_a_process_that_is_gone(
    url: str, order: str, how: str
) -> None:
    """Two processes: one fails on an event and waits for its retry; it leaves while the other one has a copy."""
    calls: list[tuple[str, int]] = []

    def start(name: str) -> Broker:
        broker = Broker(url, group="g", settings=Settings(grace=0.1, reclaim_interval=0.1))

        @broker.handler(
            "orders",
            deduplicate=60,
            lease=0.6,
            order=order,
            concurrency=1 if order == "stream" else 4,
            key=(lambda o: o.customer) if order == "key" else None,
            retry=RetryPolicy(base=1, factor=1, jitter=False, max_failures=50),
        )
        async def handle(order: Order) -> None:
            calls.append((name, order.number))
            if order.number == 1 and name == "first":
                raise ValueError("not now")

        return broker

    async def holds_a_copy(broker: Broker) -> bool:
        await broker.publish("orders", Order(1), event_id="x")
        return broker.status[0].delayed > 0

    first, second = start("first"), start("second")
    await first.__aenter__()
    await first.publish("orders", Order(1), event_id="x")
    await until(lambda: calls)
    async with second:
        await until(lambda: holds_a_copy(second))
        if how == "crash":
            first._supervisor.stop_now()
            await first.connection.close()
        await first.__aexit__(None, None, None)
        await second.publish("orders", Order(2))
        await until(lambda: second.status[0].settled and ("second", 1) in calls and ("second", 2) in calls)
        await until(lambda: not len(second._supervisor.subscriptions[0].holdings))
    assert calls.count(("second", 1)) == 1, "the copies were dropped"


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("begun", ["older", "newer"])
@pytest.mark.parametrize("how", ["drain", "crash"])
@pytest.mark.parametrize("order", ORDERS)
async def test_p11_p25_the_original_keeps_its_retry_whichever_of_the_copies_it_is(
    url: str, redis: Redis, other: Other, order: str, how: str, begun: str, batch: int | None
) -> None:
    await publish(url, 1, event_id="x")
    await publish(url, 1, event_id="x")
    got: list[int] = []
    older, newer = await other.read(2)
    original, copy = (older, newer) if begun == "older" else (newer, older)
    await other.begin(original, "x")
    await other.leave("drain", copy)
    async with make(url, got, order, batch=batch) as broker:
        await until(lambda: broker.status[0].delayed)
        await publish(url, 2)
        await until(lambda: got == [2])
        due = await other.fail(original, 1.0)
        await other.leave(how, original)
        await until(lambda: 1 in got)
        seconds, microseconds = await redis.time()
        assert seconds + microseconds / 1_000_000 >= due, "its retry came early"
        await until(lambda: broker.status[0].settled == 3)
    assert got == [2, 1]


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("how", ["drain", "crash"])
@pytest.mark.parametrize("order", ORDERS)
async def test_p2_p25_copies_that_fill_the_cap_leave_room_for_their_original(
    url: str, other: Other, order: str, how: str, batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 0)
    await publish(url, 1, event_id="x")
    got: list[int] = []
    [original] = await other.read()
    await other.begin(original, "x")
    async with make(url, got, order, batch=batch, count=1) as broker:
        for _ in range(20):
            await publish(url, 1, event_id="x")
        most = broker._supervisor.subscriptions[0]._room._most_held
        await until(lambda: broker.status[0].delayed >= most - (batch or 0))
        assert got == []
        await other.leave(how, original)
        await until(lambda: broker.status[0].settled == 21)
    assert got == [1]


@pytest.mark.parametrize("order", ORDERS)
async def test_p5_p25_copies_that_fill_the_cap_leave_room_for_an_original_whose_answer_was_lost(
    url: str, redis: Redis, other: Other, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pending for this very consumer, which does not hold it: as after a read whose answer never came."""
    monkeypatch.setattr(room, "MOST_WAITING", 0)
    await publish(url, 1, event_id="x")
    got: list[int] = []
    [original] = await other.read()
    await other.begin(original, "x")
    async with make(url, got, order, count=1, lease=3600) as broker:
        for _ in range(20):
            await publish(url, 1, event_id="x")
        [subscription] = broker._supervisor.subscriptions
        await until(lambda: broker.status[0].delayed >= subscription._room._most_held)
        other.held.clear()
        await redis.xclaim("orders", "g", subscription.holdings.consumer, 0, [original], justid=True)
        subscription._source._reader.interrupted = True
        subscription._freed.set()
        await until(lambda: broker.status[0].settled == 21)
    assert got == [1]


@pytest.mark.parametrize("order", ORDERS)
async def test_p7_nothing_waits_behind_a_copy_that_waits(url: str, other: Other, order: str) -> None:
    await publish(url, 1, event_id="x")
    got: list[int] = []
    [original] = await other.read()
    await other.begin(original, "x")
    async with make(url, got, order, lease=3600) as broker:
        await publish(url, 1, event_id="x")
        await publish(url, *range(2, 30))
        await until(lambda: len(got) == 28)
        assert got == list(range(2, 30))
        assert broker.status[0].delayed == 1
        other.held.clear()
        await other.redis.xack("orders", "g", original)  # given up: the copy takes its place
        await until(lambda: broker.status[0].settled == 29)
    assert got[-1] == 1


async def test_p25_hundreds_of_copies_are_asked_after_together(url: str, redis: Redis, other: Other) -> None:
    await publish(url, 1, event_id="x")
    got: list[int] = []
    [original] = await other.read()
    await other.begin(original, "x")
    await redis.config_resetstat()
    async with Broker(url) as broker:
        for _ in range(150):
            await broker.publish("orders", Order(1), event_id="x")
    async with make(url, got, lease=3600) as broker:
        await until(lambda: broker.status[0].delayed == 150)  # each was asked after when it came
        before = await _calls(redis, "evalsha")
        await until(lambda: _has_grown(redis, "get", 150 + 300))
        assert await _calls(redis, "evalsha") - before < 100, "asking after each on its own would take 300"
        other.held.clear()
        await redis.xack("orders", "g", original)
        await until(lambda: broker.status[0].settled == 150)
    assert got == [1]


async def _calls(redis: Redis, command: str) -> int:
    return (await redis.info("commandstats"))[f"cmdstat_{command}"]["calls"]


async def _has_grown(redis: Redis, command: str, calls: int) -> bool:
    return await _calls(redis, command) >= calls


@pytest.mark.parametrize("order", ["key", "none"])
async def test_p2_what_waits_for_hours_leaves_room_for_those_who_are_gone(
    url: str, other: Other, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while as much waits as may be held, and nothing can be parked."""
    monkeypatch.setattr(room, "MOST_WAITING", 0)

    async def refused(*_: object) -> None:
        raise PermissionDeniedError("not permitted")

    monkeypatch.setattr(parking, "send", refused)
    await publish(url, *range(5))
    left = await other.read(5)
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(count=2, reclaim_interval=0.1, grace=0.1))

    @broker.handler("orders", concurrency=2, lease=0.5, key=(lambda o: o.number) if order == "key" else None)
    async def handle(order: Order) -> None:
        if order.number >= 100:
            raise RetryLater(3600)
        got.append(order.number)

    async with broker:
        await publish(url, *range(100, 120))
        await until(lambda: broker.status[0].delayed == 6)
        await other.leave("crash", *left)
        await until(lambda: len(got) == 5)
    assert sorted(got) == list(range(5))
