"""Story.

Consumers go away and come back, are killed, and fall behind; nothing is lost (P1 to P6, P10 to P13, P27, P28).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    ConsumerGroupManager,
    Delivery,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
    StreamConsumer,
    StreamProducer,
)
from redis_streams_aio.telemetry import DeadLettered, EntriesVanished, Fact, LagHigh, LagLow, LeaseLost, RetryScheduled
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import worker

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=3)
DEAD = "{orders}:g:dead"


async def publish(url: str, *numbers: int) -> list[str]:
    async with Broker(url) as broker:
        return await broker.publish_many("orders", [Order(number) for number in numbers])


async def test_p1_an_entry_is_pending_until_its_handler_has_returned(url: str, redis: Redis) -> None:
    while_running: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        while_running.append((await redis.xpending("orders", "g"))["pending"])

    async with broker:
        for number in range(3):
            await broker.publish("orders", Order(number))
            await until(lambda n=number: broker.status[0].settled == n + 1)
            assert await _nothing_pending(redis)
    assert while_running == [1, 1, 1]


# -- away, killed, frozen -------------------------------------------------------------------------------------


async def test_an_offline_consumer_catches_up(url: str) -> None:
    got: list[int] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g")

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            got.append(order.number)

        return broker

    await publish(url, 1, 2)
    async with consumer():
        await until(lambda: len(got) == 2)
    await publish(url, *range(3, 1003))
    async with consumer():
        await until(lambda: len(got) == 1002)
    assert got == list(range(1, 1003))


async def test_p2_a_killed_consumers_entries_are_taken_over_on_a_quiet_stream(url: str, redis: Redis) -> None:
    ids = await publish(url, *range(20))
    async with worker(url, "--hang", 3, "--lease", 0.5) as victim:
        await until(lambda: victim.said("start", 3))
        await until(lambda: _lowest_pending_is(redis, ids[3]))
        await victim.kill()
        async with worker(url, "--lease", 0.5) as heir:
            await until(lambda: set(victim.numbers("end")) | set(heir.numbers("end")) == set(range(20)), 10)
            await until(lambda: _nothing_pending(redis))
        assert sorted(victim.numbers("end") + heir.numbers("end")) == list(range(20)), "handled twice"
        assert heir.said("start", 3, 2, 0), "the second delivery, and no failure counted (P10)"


async def _count_pending(redis: Redis, count: int) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == count


async def _lowest_pending_is(redis: Redis, entry_id: str) -> bool:
    return (await redis.xpending("orders", "g"))["min"] == entry_id


async def _nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def test_p2_kill_after_kill_under_load_loses_nothing(url: str, redis: Redis) -> None:
    await publish(url, *range(1000))
    handled: set[int] = set()
    for _ in range(4):
        async with worker(url, "--lease", 0.3, "--work", 0.002, "--concurrency", 8) as victim:
            await until(lambda v=victim: len(v.numbers("end")) >= 50)
            await victim.kill()
            handled |= set(victim.numbers("end"))
    async with worker(url, "--lease", 0.3, "--work", 0.002, "--concurrency", 8) as last:
        await until(lambda: handled | set(last.numbers("end")) == set(range(1000)), 20)
        await until(lambda: _nothing_pending(redis))


async def test_p3_a_handler_ten_times_longer_than_its_lease_runs_once(url: str) -> None:
    await publish(url, 0, 1, 2)
    async with worker(url, "--lease", 0.3, "--work", 1.5) as slow, worker(url, "--lease", 0.3, "--work", 0) as other:
        await until(lambda: len(slow.numbers("end") + other.numbers("end")) == 3, 15)
        assert sorted(slow.numbers("start") + other.numbers("start")) == [0, 1, 2]


async def test_p3_leases_are_renewed_during_drain(url: str) -> None:
    await publish(url, 0)
    async with worker(url, "--lease", 0.3, "--work", 2) as draining:
        await until(lambda: draining.said("start", 0))
        draining.signal(signal.SIGTERM)
        async with worker(url, "--lease", 0.3) as other:
            assert await draining.ended() == 0
            assert draining.said("end", 0)
            assert draining.said("stopped")
            assert not other.numbers("start")


async def test_p4_a_frozen_process_that_thaws_is_told_and_its_failure_writes_nothing(url: str, redis: Redis) -> None:
    await publish(url, 7)
    async with worker(url, "--lease", 0.5, "--work", 2, "--fail", 7) as zombie:
        await until(lambda: zombie.said("start", 7))
        zombie.signal(signal.SIGSTOP)
        async with worker(url, "--lease", 0.5, "--work", 0.01) as heir:
            await until(lambda: heir.said("end", 7), 10)
            zombie.signal(signal.SIGCONT)
            zombie.signal(signal.SIGTERM)
            await zombie.ended()
        assert await redis.hlen("{orders}:g:failures") == 0
        assert await redis.exists(DEAD) == 0
        assert await _nothing_pending(redis)


async def test_p4_renewing_never_steals_an_entry_back(connection: Connection, redis: Redis) -> None:
    await StreamProducer(connection).publish("orders", Order(1))
    facts: list[Fact] = []
    from redis_streams_aio.telemetry import Telemetry

    async with StreamConsumer(connection, "orders", "g", name="old", telemetry=Telemetry([facts.append])) as old:
        await old.fetch(10)
        [delivery] = old._holdings.by_id.values()
        assert await old.renew() == 0
        await redis.xclaim("orders", "g", "new", 0, [delivery.raw_id])
        assert await old.renew() == 1
        assert delivery.lost
        [pending] = await old.get_pending()
        assert pending.consumer == "new"
        assert [type(fact) for fact in facts if isinstance(fact, LeaseLost)] == [LeaseLost]


async def test_p5_a_restart_under_a_stable_name_picks_its_own_entries_up_at_once(url: str, redis: Redis) -> None:
    await publish(url, 0, 1, 2)
    async with worker(url, "--name", "me", "--lease", 600, "--hang", 1, "--concurrency", 3) as victim:
        await until(lambda: victim.said("start", 1))
        await until(lambda: _count_pending(redis, 1))
        await victim.kill()
    async with worker(url, "--name", "me", "--lease", 600) as heir:
        await until(lambda: heir.said("end", 1), 3)
        assert heir.numbers("start") == [1]


async def test_p5_entries_that_a_lost_reply_left_behind_are_picked_up(connection: Connection, redis: Redis) -> None:
    """What Redis handed out under our name and we never saw, beside what we hold."""
    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(6)])
    async with StreamConsumer(connection, "orders", "g", name="me", payload_type=Order) as consumer:
        await consumer.fetch(2)
        await redis.xreadgroup("g", "me", {"orders": ">"}, count=3)
        consumer._source._reader.interrupted = True  # type: ignore[union-attr]
        numbers = []
        async for event in consumer.subscribe():
            numbers.append(event.payload.number)
            await consumer.acknowledge(event)
            if len(numbers) == 6:
                break
    assert numbers == list(range(6))


# -- failing --------------------------------------------------------------------------------------------------


async def test_p11_p12_a_failing_event_is_retried_then_dead_lettered_with_its_history(url: str, redis: Redis) -> None:
    attempts: list[int] = []
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        attempts.append(delivery.failures)
        raise ValueError("no such customer")

    async with broker:
        entry_id = await broker.publish("orders", Order(1), headers={"trace": "t"})
        await until(lambda: redis.exists(DEAD))
        await until(lambda: any(isinstance(fact, DeadLettered) for fact in facts))
    assert attempts == [0, 1, 2]
    assert [fact.failures for fact in facts if isinstance(fact, RetryScheduled)] == [1, 2]
    [(_, letter)] = await redis.xrange(DEAD)
    assert letter["event_type"] == "Order"
    assert json.loads(letter["payload"])["number"] == 1
    assert letter["h:trace"] == "t"
    assert letter["dead:reason"] == "failures"
    assert letter["dead:error"] == "ValueError: no such customer"
    assert "raise ValueError" in letter["dead:traceback"]
    assert (letter["dead:failures"], letter["dead:deliveries"]) == ("3", "1")
    assert (letter["dead:stream"], letter["dead:group"], letter["dead:id"]) == ("orders", "g", entry_id)
    assert letter["dead:consumer"]
    assert float(letter["dead:first_failure"]) > 1e9
    assert await _nothing_pending(redis)
    assert await redis.hlen("{orders}:g:failures") == 0


async def test_p13_what_cannot_be_decoded_is_dead_lettered_and_the_next_one_handled(url: str, redis: Redis) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    poisons = [
        {"event_type": "Order", "payload": "{"},
        {"event_type": "Order", "payload": b"\xff\xfe"},
        {"event_type": "Order", "payload": '{"number":"x"}'},
        {"event_type": "Order"},
        {"event_type": "Order", "payload": "[" * 100_000},
        {"event_type": b"\xff", "payload": "1"},
        {"nothing": "known"},
        {"event_type": "Order", "payload": "1" * 10_000},
        {f"f{index}": "x" for index in range(5000)},
    ]
    for fields in poisons:
        await redis.xadd("orders", fields)
    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        await until(lambda: _nothing_pending(redis))
    raw = Redis.from_url(url, protocol=2)
    letters = await raw.xrange(DEAD)
    await raw.aclose()
    assert len(letters) == len(poisons)
    reasons = [fields[b"dead:reason"] for _, fields in letters]
    assert reasons.count(b"unhandled") == 1
    assert reasons.count(b"undecodable") == len(poisons) - 1
    assert letters[0][1][b"payload"] == b"{", "the original fields are untouched"


@pytest.mark.parametrize("unknown", ["dead_letter", "skip"])
async def test_p12_an_event_that_no_handler_takes(url: str, redis: Redis, unknown: str) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", unknown=unknown)  # type: ignore[arg-type]
    async def handle(order: Order) -> None: ...

    async with broker:
        await broker.publish("orders", {"a": 1}, event_type="Strange")
        await until(lambda: broker.status[0].settled == 1)
    letters = await redis.xrange(DEAD)
    assert [letter["dead:reason"] for _, letter in letters] == (["unhandled"] if unknown == "dead_letter" else [])
    if letters:
        assert "Strange" in letters[0][1]["dead:error"]


async def test_p12_reject_goes_straight_to_the_dead_letters_of_choice(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", dead_letter="graveyard")
    async def handle(order: Order) -> None:
        raise Reject("nothing to bill")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: redis.exists("graveyard"))
    [(_, letter)] = await redis.xrange("graveyard")
    assert (letter["dead:reason"], letter["dead:error"], letter["dead:failures"]) == (
        "rejected",
        "nothing to bill",
        "0",
    )


async def test_p12_a_dead_letter_that_cannot_be_written_leaves_the_entry_pending(url: str, redis: Redis) -> None:
    await redis.set(DEAD, "no stream")
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.1))

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order) -> None:
        if order.number == 1:
            raise Reject("bad")
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await broker.publish("orders", Order(2))
        await until(lambda: got == [2])
        assert (await redis.xpending("orders", "g"))["pending"] >= 1
        await redis.delete(DEAD)
        await until(lambda: redis.xlen(DEAD))
    assert await _nothing_pending(redis)


async def test_p11_retry_later_is_no_failure_and_is_never_early(url: str) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []
    failures: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def handle(order: Order, delivery: Delivery) -> None:
        times.append(loop.time())
        failures.append(delivery.failures)
        if len(times) < 4:
            raise RetryLater(0.1)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: len(times) == 4)
    assert failures == [0, 0, 0, 0]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.099


async def test_p11_give_up_on_and_timeout(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=RetryPolicy(give_up_on=(KeyError,), base=0.001, max_failures=2), timeout=0.05)
    async def handle(order: Order) -> None:
        if order.number == 1:
            raise KeyError("x")
        await asyncio.sleep(60)

    async with broker:
        await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: _length_is(redis, DEAD, 2))
    letters = [letter for _, letter in await redis.xrange(DEAD)]
    assert [letter["dead:reason"] for letter in letters] == ["gave_up", "failures"]
    assert "TimeoutError" in letters[1]["dead:error"]


async def _length_is(redis: Redis, stream: str, length: int) -> bool:
    return await redis.xlen(stream) == length


async def test_p10_p13_an_event_that_kills_the_process_each_time_ends_as_a_dead_letter(url: str, redis: Redis) -> None:
    await publish(url, 0, 1, 2)
    for _ in range(3):
        async with worker(url, "--name", "me", "--die", 1, "--max-deliveries", 3) as victim:
            await until(lambda v=victim: v.said("start", 1) or v.process.returncode is not None)
            await victim.ended()
    async with worker(url, "--name", "me", "--die", 1, "--max-deliveries", 3) as survivor:
        await until(lambda: survivor.said("end", 2))
        await until(lambda: _length_is(redis, DEAD, 1))
    [(_, letter)] = await redis.xrange(DEAD)
    assert (letter["dead:reason"], letter["dead:failures"], letter["dead:deliveries"]) == ("deliveries", "0", "4")


async def test_p10_graceful_restarts_cost_no_failure_and_no_delivery(url: str) -> None:
    await publish(url, 0)
    seen: list[tuple[int, int]] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g", settings=Settings(grace=0.0))

        @broker.handler("orders", retry=RetryPolicy(max_failures=1, max_deliveries=2))
        async def handle(order: Order, delivery: Delivery) -> None:
            seen.append((delivery.failures, delivery.deliveries))
            if len(seen) <= 50:
                await asyncio.sleep(3600)

        return broker

    for number in range(51):
        async with consumer() as broker:
            await until(lambda n=number: len(seen) > n)
            if number == 50:
                await until(lambda: broker.status[0].settled == 1)
    assert seen == [(0, 1)] * 51


async def test_p11_failures_and_due_time_survive_a_restart_and_a_takeover(url: str) -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[int, float]] = []

    def consumer() -> Broker:
        broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05))

        @broker.handler("orders", concurrency=2, retry=RetryPolicy(base=0.4, factor=1, jitter=False, max_failures=4))
        async def handle(order: Order, delivery: Delivery) -> None:
            seen.append((delivery.failures, loop.time()))
            raise ValueError("no")

        return broker

    await publish(url, 0)
    for number in range(1, 5):
        async with consumer():
            await until(lambda n=number: len(seen) == n)
            await until(lambda: True)
    assert [failures for failures, _ in seen] == [0, 1, 2, 3]
    assert min(later[1] - earlier[1] for earlier, later in itertools.pairwise(seen)) >= 0.39


async def test_p14_errors_in_user_code_end_nothing(url: str) -> None:
    got: list[int] = []

    def broken_observer(fact: Fact) -> None:
        raise RuntimeError("observer")

    def broken_key(order: Order) -> str:
        if order.number == 1:
            raise RuntimeError("key")
        return order.customer

    broker = Broker(url, group="g", observers=[broken_observer])

    @broker.handler("orders", key=broken_key, concurrency=2, retry=SOON)
    async def handle(order: Order) -> None:
        if order.number == 2:
            raise asyncio.CancelledError
        if order.number == 3:
            raise SystemError("deep")
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number, str(number)) for number in range(6)])
        await until(lambda: sorted(got) == [0, 4, 5])
        await until(lambda: broker.status[0].settled == 6)


async def test_p20_an_entry_trimmed_while_pending_is_told_and_settled(url: str, redis: Redis) -> None:
    ids = await publish(url, 0, 1)
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "dead", {"orders": ">"})
    await redis.xdel("orders", ids[0])
    await redis.xclaim("orders", "g", "dead", 0, [ids[0], ids[1]], idle=3_600_000)
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])
    got: list[int] = []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await until(lambda: got == [1])
        await until(lambda: _nothing_pending(redis))


async def test_p20_own_entries_trimmed_while_pending_are_told(connection: Connection, redis: Redis) -> None:
    from redis_streams_aio.telemetry import Telemetry

    [entry_id] = [await StreamProducer(connection).publish("orders", Order(1))]
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"})
    await redis.xdel("orders", entry_id)
    facts: list[Fact] = []
    async with StreamConsumer(
        connection, "orders", "g", name="me", block=0.01, telemetry=Telemetry([facts.append])
    ) as me:
        await me.fetch(10)
    assert [fact.ids for fact in facts if isinstance(fact, EntriesVanished)] == [(entry_id,)]
    assert await _nothing_pending(redis)


async def test_p22_a_consumer_is_removed_only_when_nothing_is_pending_for_it(
    connection: Connection, redis: Redis
) -> None:
    await StreamProducer(connection).publish("orders", Order(1))
    groups = ConsumerGroupManager(connection)
    await groups.create_group("orders", "g")
    await redis.xreadgroup("g", "gone", {"orders": ">"})
    assert await groups.delete_consumer("orders", "g", "gone") is False
    [pending] = await redis.xpending_range("orders", "g", "-", "+", 10)
    await redis.xack("orders", "g", pending["message_id"])
    assert await groups.delete_consumer("orders", "g", "gone") is True
    assert await groups.list_consumers("orders", "g") == []


# -- stopping -------------------------------------------------------------------------------------------------


async def test_p27_a_drain_lets_running_handlers_finish_and_gives_the_rest_back(url: str, redis: Redis) -> None:
    await publish(url, *range(100))
    async with worker(url, "--lease", 600, "--work", 0.3) as draining:
        await until(lambda: draining.said("start", 0))
        draining.signal(signal.SIGTERM)
        assert await draining.ended() == 0
        assert draining.numbers("start") == draining.numbers("end")
    done = draining.numbers("end")
    async with worker(url, "--lease", 600, "--work", 0) as other:
        await until(lambda: sorted(done + other.numbers("end")) == list(range(100)), 2)
        assert other.numbers("start") == sorted(other.numbers("start"))


async def test_p27_after_the_grace_handlers_are_cancelled_and_a_second_signal_stops_at_once(url: str) -> None:
    await publish(url, 0)
    async with worker(url, "--hang", 0, "--grace", 0.2, "--lease", 600) as first:
        await until(lambda: first.said("start", 0))
        first.signal(signal.SIGTERM)
        assert await first.ended(5) == 0
    async with worker(url, "--hang", 0, "--grace", 600, "--lease", 600) as second:
        await until(lambda: second.said("start", 0))
        second.signal(signal.SIGTERM)
        await until(lambda: second.said("log", "SIGTERM:", "stopping"))
        second.signal(signal.SIGINT)
        assert await second.ended(5) == 0
    async with worker(url, "--lease", 600) as third:
        await until(lambda: third.said("end", 0), 2)


# -- falling behind -------------------------------------------------------------------------------------------


async def test_p28_backpressure_is_signalled_while_a_consumer_lags_and_again_when_it_has_caught_up(url: str) -> None:
    facts: list[Fact] = []
    may_work = asyncio.Event()
    settings = Settings(lag_high=50, lag_low=5, lag_interval=0.02)
    broker = Broker(url, group="g", settings=settings, observers=[facts.append])

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        await may_work.wait()

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(100)])
        await until(lambda: any(isinstance(fact, LagHigh) for fact in facts))
        assert not any(isinstance(fact, LagLow) for fact in facts)
        may_work.set()
        await until(lambda: any(isinstance(fact, LagLow) for fact in facts))
    signals = [fact for fact in facts if isinstance(fact, LagHigh | LagLow)]
    assert [type(fact) for fact in signals] == [LagHigh, LagLow]
    assert signals[0].report.behind > 50
    assert signals[0].report.oldest_age is not None
    assert signals[1].report.behind <= 5


async def test_p13_garbage_in_our_own_keys_stops_nothing(url: str, redis: Redis) -> None:
    ids = await publish(url, 0, 1, 2)
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"})
    for entry_id, record in zip(ids, ("garbage", "1 2", "x y z error"), strict=True):
        await redis.hset("{orders}:g:failures", entry_id, record)
    await redis.set("{others}:g:checkpoint", "garbage")
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(consumer="me"))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    @broker.handler("others")
    async def other(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("others", Order(3))
        await until(lambda: sorted(got) == [0, 1, 2, 3])
