"""Entries that a recreated group delivers once more keep their failures, due times and histories (P11)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, DeadLetters, Delivery, Reject, RetryPolicy, Settings
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.returning import Position, located, position
from redis_streams_aio.consumer.intake import returning as intake
from redis_streams_aio.exceptions import ServerError, StreamNotFoundError
from redis_streams_aio.telemetry import Fact, GroupRecreated
from redis_streams_aio.testing.waiting import until
from tests.events import Order

FAILURES, DEAD = "{orders}:g:failures", "{orders}:g:dead"
WHO = Consumer("orders", "g", "c")
RECORD = "2 1700000000000 1700000001000 1000 ValueError: no"
SETTINGS = Settings(block_ms=50, checkpoint_interval=0.02)

Seen = Callable[[Order, Delivery], None]


def failing(url: str, seen: Seen, *, delay: float, facts: list[Fact] | None = None) -> Broker:
    """A broker whose handler fails on odd numbers; three failures are one too many."""
    broker = Broker(url, group="g", settings=SETTINGS, observers=[] if facts is None else [facts.append])
    policy = RetryPolicy(max_failures=3, base=delay, factor=1, jitter=False)

    @broker.handler("orders", concurrency=5, order="none", start="0", lease=0.3, retry=policy)
    async def handle(order: Order, delivery: Delivery) -> None:
        seen(order, delivery)
        if order.number % 2:
            raise ValueError("no")

    return broker


async def has_failures(redis: Redis, number: int) -> bool:
    return any(record.startswith(f"{number} ") for record in (await redis.hgetall(FAILURES)).values())


async def has_key(redis: Redis, key: str) -> bool:
    return bool(await redis.exists(key))


def noting() -> tuple[list[tuple[int, int]], Seen]:
    seen: list[tuple[int, int]] = []
    return seen, lambda order, delivery: seen.append((order.number, delivery.failures))


async def test_p11_failures_outlive_a_group_that_is_lost_while_nobody_runs(url: str, redis: Redis) -> None:
    seen, note = noting()
    async with failing(url, note, delay=3600) as broker:
        await broker.publish_many("orders", [Order(1)])
        await until(lambda: has_failures(redis, 1))
    [(entry_id, record)] = (await redis.hgetall(FAILURES)).items()
    first = record.split(" ")[1]
    await redis.xgroup_destroy("orders", "g")
    now = int(time.time() * 1000)
    await redis.hset(FAILURES, entry_id, f"2 {first} {now + 700} 700 ValueError: no")
    began = time.monotonic()
    async with failing(url, note, delay=0.01) as broker:
        await broker.publish("orders", Order(4))
        await until(lambda: (4, 0) in seen)
        assert seen[1:] == [(4, 0)], "the one that is due later waits"
        await until(lambda: has_key(redis, DEAD))
    assert time.monotonic() - began > 0.5
    assert seen == [(1, 0), (4, 0), (1, 2)], "it fails for the third time"
    assert not await redis.exists(FAILURES)


async def test_p11_failures_outlive_a_group_that_another_consumer_recreates(url: str, redis: Redis) -> None:
    """The consumer does not read while the group is lost and recreated, so nobody tells it."""
    seen, note = noting()
    async with failing(url, note, delay=3600) as broker:
        for number in (1, 2, 4):
            await broker.publish("orders", Order(number))
        await until(lambda: len(seen) == 3)
        await until(lambda: has_failures(redis, 1))
        [(entry_id, _)] = (await redis.hgetall(FAILURES)).items()
        await redis.xack("orders", "g", entry_id)  # so that it is not held here any more
        await until(lambda: broker.status[0].delayed == 0)
        await redis.hset(FAILURES, entry_id, RECORD)
        async with redis.pipeline() as pipe:  # in one turn of the server: its read does not end
            pipe.execute_command("XGROUP", "SETID", "orders", "g", "0")
            pipe.xadd("orders", {"event_type": "Order", "payload": '{"number": 6}'})
            await pipe.execute()
        await until(lambda: has_key(redis, DEAD))
        await until(lambda: (6, 0) in seen)
    assert (1, 2) in seen[3:], "it fails for the third time"


async def test_p11_failures_outlive_a_group_that_is_lost_in_a_running_process(url: str, redis: Redis) -> None:
    """Two consumers: the group is recreated by one, and the event may come to the other one."""
    seen, note = noting()
    facts: list[Fact] = []
    async with failing(url, note, delay=3600) as first:
        await first.publish("orders", Order(1))
        await until(lambda: has_failures(redis, 1))
    async with failing(url, note, delay=3600, facts=facts), failing(url, note, delay=3600, facts=facts):
        await until(lambda: held_by_somebody(redis))
        [entry_id] = await redis.hkeys(FAILURES)
        await redis.hset(FAILURES, entry_id, RECORD)
        async with redis.pipeline() as pipe:
            pipe.xack("orders", "g", entry_id)
            pipe.xgroup_destroy("orders", "g")
            await pipe.execute()
        await until(lambda: [fact for fact in facts if isinstance(fact, GroupRecreated)])
    async with failing(url, note, delay=3600):
        await until(lambda: has_key(redis, DEAD))
    assert seen == [(1, 0), (1, 2)]


async def held_by_somebody(redis: Redis) -> bool:
    [one] = await redis.xpending_range("orders", "g", "-", "+", 10)
    return not one["consumer"].startswith("redis_streams_aio:")


async def test_p12_a_replayed_event_keeps_its_history_when_its_group_is_lost(
    url: str, redis: Redis, connection: Connection
) -> None:
    histories: list[object] = []

    def build(*, rejects: bool) -> Broker:
        broker = Broker(url, group="g", settings=SETTINGS)

        @broker.handler("orders", start="0")
        async def handle(order: Order, delivery: Delivery) -> None:
            histories.append(delivery.history and delivery.history.reason)
            if rejects:
                raise Reject("out of stock")

        return broker

    async with build(rejects=True) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: has_key(redis, DEAD))
    await DeadLetters(connection, "orders", "g").replay()
    await redis.xgroup_destroy("orders", "g")
    async with build(rejects=False):
        await until(lambda: len(histories) == 2)
        await until(lambda: is_gone(redis, FAILURES))
    assert histories == [None, "rejected"]


async def is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def test_histories_are_asked_for_only_where_entries_return(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    take_pending = intake.take_pending

    async def counted(holdings, entries, *, counts):  # type: ignore[no-untyped-def]
        asked.append(len(entries))
        return await take_pending(holdings, entries, counts=counts)

    monkeypatch.setattr(intake, "take_pending", counted)
    seen, note = noting()
    async with failing(url, note, delay=3600) as broker:
        await broker.publish_many("orders", [Order(2 * number) for number in range(300)])
        await until(lambda: len(seen) == 300)
        assert asked == []
        await until(lambda: all_acknowledged(redis))
        await redis.execute_command("XGROUP", "SETID", "orders", "g", "0")
        await until(lambda: len(seen) == 600, seconds=20)
        assert 0 < sum(asked) < 300, "the first ones that come again, as there is nothing on record"


async def all_acknowledged(redis: Redis) -> bool:
    [group] = await redis.xinfo_groups("orders")
    return bool(group["pending"] == 0)


# -- the step -----------------------------------------------------------------------------------------------------


async def test_the_latest_record_ahead_of_the_group(connection: Connection, redis: Redis) -> None:
    at = b"10-5"
    await redis.xgroup_create("orders", "g", at, mkstream=True)
    await redis.hset(FAILURES, "10-7", "x")
    assert await position(connection, WHO) == (at, at), "there is nothing to deliver"
    await redis.hdel(FAILURES, "10-7")
    await redis.xadd("orders", {"a": "b"}, id="10-6")
    assert await position(connection, WHO) == (at, at)
    await redis.hset(FAILURES, mapping=dict.fromkeys(["10-5", "9-99", "2-1:history", "mine", "99", "10-x"], "x"))
    assert await position(connection, WHO) == (at, at), "all of them were delivered"
    await redis.hset(FAILURES, mapping=dict.fromkeys(["10-9", "10-11:history", "10-10", f"{10**20}-0"], "x"))
    assert await position(connection, WHO) == (at, b"10-11")
    await redis.hset(FAILURES, mapping={f"{number}-1": "x" * 500 for number in range(20, 5000)})
    assert await position(connection, WHO) == (at, b"4999-1")
    await redis.delete(FAILURES)
    await redis.set(FAILURES, "no hash")
    assert await position(connection, WHO) == Position(at, at)
    for who in (WHO._replace(group="gone"), WHO._replace(stream="nowhere")):
        with pytest.raises(StreamNotFoundError):
            await position(connection, who)


@pytest.mark.parametrize(
    "reply",
    [None, b"OK", 1, [], [b"0", b"1-0"], [b"0", b"1-0", b"no id"], [b"-1", b"1-0", b"1-0"], [b"0", None, b"1-0"]],
)
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        located(reply)
