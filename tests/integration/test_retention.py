"""What a broker deletes of its streams, and what it tells before and after (P21)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, ConfigError, Connection, Retention, RetryLater, Settings, StreamConsumer
from redis_streams_aio.config import StreamSettings
from redis_streams_aio.monitoring import StreamSweeper, sweeper
from redis_streams_aio.telemetry import (
    Fact,
    RetentionNear,
    RetentionPinned,
    StepFailed,
    Telemetry,
    UnsettledTrimmed,
)
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import Worker, worker

WAIT = 60


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sweep often, so that nothing waits for a turn."""
    monkeypatch.setattr(sweeper, "INTERVAL", 0.02)
    return


def settings(retention: Retention, **others: object) -> Settings:
    return Settings(streams={"orders": StreamSettings(retention=retention)}, reclaim_interval=0.05, **others)  # type: ignore[arg-type]


async def length_is(redis: Redis, length: int) -> bool:
    return await redis.xlen("orders") == length


# -- what a broker does by itself ---------------------------------------------------------------------------------


async def test_p21_a_broker_deletes_what_its_groups_have_settled(url: str, redis: Redis) -> None:
    broker = Broker(url, settings=settings(Retention(acknowledged=True)))
    got: list[tuple[str, int]] = []

    @broker.handler("orders", group="billing")
    async def bill(order: Order) -> None:
        got.append(("billing", order.number))

    @broker.handler("orders", group="mail", batch=50)
    async def mail(orders: list[Order]) -> None:
        got.extend(("mail", order.number) for order in orders)

    async with broker:
        for start in range(0, 2_000, 100):
            await broker.publish_many("orders", [Order(start + number) for number in range(100)])
        await until(lambda: length_is(redis, 0), WAIT)
    assert sorted(got) == sorted((group, number) for group in ("billing", "mail") for number in range(2_000))


async def test_p21_what_waits_for_its_retry_stays(url: str, redis: Redis) -> None:
    """Parked or waiting in the process: it is pending, and so is kept with all that came later."""
    broker = Broker(url, group="billing", settings=settings(Retention(acknowledged=True)))

    @broker.handler("orders", concurrency=4)
    async def bill(order: Order) -> None:
        if order.number == 2:
            raise RetryLater(3600)

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(6)])
        await until(lambda: length_is(redis, 4), WAIT)
    assert [entry_id for entry_id, _ in await redis.xrange("orders")] == ids[2:]


async def test_p21_entries_in_the_hands_of_a_stream_consumer_stay(url: str, redis: Redis) -> None:
    async with (
        Broker(url, settings=settings(Retention(acknowledged=True))) as broker,
        Connection(url) as connection,
        StreamConsumer(connection, "orders", "billing", payload_type=Order) as consumer,
    ):
        ids = await broker.publish_many("orders", [Order(number) for number in range(4)])
        async for event in consumer.subscribe():
            unsettled = 4 - ids.index(event.id)
            await until(partial(length_is, redis, unsettled), WAIT)
            await consumer.acknowledge(event)
            if event.id == ids[-1]:
                break
        await until(lambda: length_is(redis, 0), WAIT)


async def test_p21_a_group_that_was_lost_is_recreated_at_its_checkpoint_and_misses_nothing(
    url: str, redis: Redis
) -> None:
    """Another process sweeps, and does not know the group but from before."""
    got: list[int] = []
    keeper = Broker(url, settings=settings(Retention(acknowledged=True)))
    broker = Broker(url, group="billing", settings=Settings(block_ms=10, checkpoint_interval=0.02))

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        got.append(order.number)

    async with keeper:
        async with broker:
            await broker.publish_many("orders", [Order(number) for number in range(10)])
            await until(lambda: length_is(redis, 0), WAIT)
            await until(lambda: redis.exists("{orders}:billing:checkpoint"), WAIT)
        await redis.xgroup_destroy("orders", "billing")
        await redis.xgroup_create("orders", "quick", "$")
        await keeper.publish_many("orders", [Order(number) for number in range(10, 20)])
        await redis.xgroup_setid("orders", "quick", "$")
        async with broker:
            await until(lambda: len(got) == 20, WAIT)
    assert got == [*range(20)]


async def test_p21_an_age_is_kept_to_and_told_before_and_after(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    await redis.xgroup_create("orders", "slow", "0", mkstream=True)
    await redis.xgroup_create("orders", "gone", "0", mkstream=True)
    async with Broker(url, settings=settings(Retention(max_age=1.0)), observers=[facts.append]) as broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(7)])
        found = await redis.xreadgroup("slow", "ann", {"orders": ">"}, count=5)
        await redis.xack("orders", "slow", *[entry_id for entry_id, _ in found[0][1]][:3])
        await until(lambda: length_is(redis, 0), WAIT)
        await until(lambda: any(isinstance(fact, UnsettledTrimmed) for fact in facts), WAIT)
    near = [fact for fact in facts if isinstance(fact, RetentionNear)]
    lost = [fact for fact in facts if isinstance(fact, UnsettledTrimmed)]
    assert {(fact.group, fact.bound, fact.limit) for fact in near} == {("slow", "max_age", 1), ("gone", "max_age", 1)}
    assert {(fact.group, fact.bound): fact.count for fact in lost} == {("slow", "max_age"): 4, ("gone", "max_age"): 7}
    assert facts.index(near[0]) < facts.index(lost[0])
    assert len(ids) == 7


async def test_p21_a_length_that_publishing_keeps_is_warned_of_before_it_takes(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    await redis.xgroup_create("orders", "slow", "0", mkstream=True)
    async with Broker(url, settings=settings(Retention(max_length=1_000)), observers=[facts.append]) as broker:

        async def told(kind: type[Fact]) -> None:
            await until(lambda: any(isinstance(fact, kind) for fact in facts), WAIT)

        await broker.publish_many("orders", [Order(number) for number in range(850)])
        await told(RetentionNear)
        assert await redis.xlen("orders") == 850, "nothing is lost yet"
        await broker.publish_many("orders", [Order(number) for number in range(650)])
        await told(UnsettledTrimmed)
    [near] = [fact for fact in facts if isinstance(fact, RetentionNear)]
    assert (near.group, near.bound, near.limit, near.reached) == ("slow", "max_length", 1_000, 850)
    lost = sum(fact.count for fact in facts if isinstance(fact, UnsettledTrimmed))
    assert lost == 1_500 - await redis.xlen("orders")


async def test_p21_several_processes_tell_a_loss_once(url: str, redis: Redis) -> None:
    """Each has a sweeper; one at a time has the turn, whoever it is."""
    facts: list[Fact] = []
    await redis.xgroup_create("orders", "slow", "0", mkstream=True)
    kept = {"orders": Retention(max_length=500)}
    async with Connection(url) as connection:
        sweepers = [StreamSweeper(connection, kept, telemetry=Telemetry([facts.append])) for _ in range(3)]
        await sweepers[0].run_once()
        for turn in range(30):
            await redis.xadd("orders", {"a": "b"}, maxlen=5, approximate=False)
            await asyncio.gather(*(each.run_once() for each in sweepers))
            if turn % 10 == 9:
                await redis.hset("{orders}:redis_streams_aio:retention", "until", 0)  # its process is gone
                sweepers.append(sweepers.pop(0))
    assert sum(fact.count for fact in facts if isinstance(fact, UnsettledTrimmed)) == 25


async def test_p21_one_stream_that_cannot_be_swept_does_not_keep_the_others_from_it(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    await redis.set("text", "no stream")
    await redis.xgroup_create("orders", "billing", "$", mkstream=True)
    await redis.xadd("orders", {"a": "b"}, id="1-1")
    kept = StreamSettings(retention=Retention(acknowledged=True))
    every = Settings(streams={"text": kept, "orders": kept})
    await redis.xgroup_setid("orders", "billing", "$")
    async with Broker(url, settings=every, observers=[facts.append]):
        await until(lambda: length_is(redis, 0), WAIT)
        await until(lambda: any(isinstance(fact, StepFailed) for fact in facts), WAIT)
    [failed, *_] = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failed.duty == "sweep streams"
    assert "'text'" in failed.error


# -- without a broker ---------------------------------------------------------------------------------------------


async def test_a_sweeper_without_a_broker(connection: Connection, redis: Redis) -> None:
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)
    await redis.xadd("orders", {"a": "b"})
    kept = {"orders": Retention(acknowledged=True), "nowhere": Retention(max_age=100)}
    keeper = StreamSweeper(connection, kept, groups=lambda: [("orders", "audit")])
    assert await keeper.run_once() == {"orders": 0, "nowhere": 0}
    await redis.xgroup_create("orders", "audit", "$")
    await redis.xgroup_setid("orders", "billing", "$")
    assert await keeper.run_once() == {"orders": 1, "nowhere": 0}
    for wrong in ([], {"orders": 5}, {"": Retention(max_age=1)}):
        with pytest.raises(ConfigError):
            StreamSweeper(connection, wrong)  # type: ignore[arg-type]


async def test_p21_a_group_that_pins_a_stream_is_named_by_its_broker(connection: Connection, redis: Redis) -> None:
    facts: list[Fact] = []
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)
    for _ in range(10):
        await redis.xadd("orders", {"a": "b"})
    await redis.xgroup_create("orders", "quick", "$")
    keeper = StreamSweeper(connection, {"orders": Retention(acknowledged=True)}, telemetry=Telemetry([facts.append]))
    await keeper.run_once()
    assert facts == []
    notes = "{orders}:redis_streams_aio:retention"
    place, _, last, stood = (await redis.hget(notes, "group:billing")).split()
    await redis.hset(notes, "group:billing", f"{place} 1000 {last} {stood}")
    await keeper.run_once()
    [pinned] = facts
    assert isinstance(pinned, RetentionPinned)
    assert (pinned.stream, pinned.group, pinned.place, pinned.held) == ("orders", "billing", place, 10)
    assert pinned.age > 3600


# -- races with other processes -----------------------------------------------------------------------------------

COUNT = 1_500


async def test_p21_slow_absent_and_new_groups_miss_nothing_while_processes_sweep(url: str, redis: Redis) -> None:
    """Up to five processes sweep as often as they can: for a quick group, a slow one whose process is killed, one that
    does not exist when they begin, and one that is made on the way and has to get what is there in that moment."""
    sweeping = ("--sweep", "quick,absent", "--concurrency", 10, "--order", "none", "--reclaim", 0.05)
    every = set(range(COUNT))
    async with (
        Broker(url) as publisher,
        worker(url, "--group", "quick", "--work", 0, *sweeping) as quick,
        worker(url, "--group", "slow", "--work", 0.02, "--lease", 0.3, *sweeping) as slow,
    ):
        publishing = asyncio.create_task(publish(publisher))
        await until(lambda: len(ended(slow)) > COUNT // 20, WAIT)
        assert await redis.xlen("orders") > COUNT // 20, "a group is absent, so nothing is deleted"
        async with (
            worker(url, "--group", "absent", "--work", 0, *sweeping) as absent,
            worker(url, "--group", "slow", "--work", 0.005, "--lease", 0.3, *sweeping) as again,
        ):
            await until(lambda: something_is_deleted(redis), WAIT)
            await slow.kill()
            there = await make_group(redis, "new")
            async with worker(url, "--group", "new", "--work", 0.001, *sweeping) as new:
                await publishing
                await until(lambda: ended(quick) == ended(absent) == ended(slow) | ended(again) == every, WAIT)
                await until(lambda: ended(new) >= there | {COUNT - 1}, WAIT)
                await until(lambda: length_is(redis, 0), WAIT)
            lines = [" ".join(line) for each in (quick, again, absent, new) for line in each.lines]
            assert not [line for line in lines if "deleted" in line]


async def something_is_deleted(redis: Redis) -> bool:
    info = await redis.xinfo_stream("orders")
    return bool(info["length"] < info["entries-added"])


async def publish(broker: Broker) -> None:
    for number in range(COUNT):
        await broker.publish("orders", Order(number))
        await asyncio.sleep(0.001)


def ended(process: Worker) -> set[int]:
    return set(process.numbers("end"))


async def make_group(redis: Redis, group: str) -> set[int]:
    """Make a group at the beginning, and return what is in the stream in the same moment."""
    async with redis.pipeline(transaction=True) as moment:
        moment.xgroup_create("orders", group, "0")
        moment.xrange("orders")
        _, entries = await moment.execute()
    return {json.loads(fields["payload"])["number"] for _, fields in entries}


# -- on a Cluster -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_p21_p30_streams_on_several_nodes_are_swept(cluster: Cluster) -> None:
    streams = [f"orders{number}" for number in range(6)]
    kept = {stream: StreamSettings(retention=Retention(acknowledged=True)) for stream in streams}
    broker = Broker(cluster.url, group="billing", settings=Settings(streams=kept, reclaim_interval=0.05))
    got: list[int] = []

    async def bill(order: Order) -> None:
        got.append(order.number)

    for stream in streams:
        broker.handler(stream)(bill)
    async with broker:
        for stream in streams:
            await broker.publish_many(stream, [Order(number) for number in range(50)])

        async def empty() -> bool:
            lengths = await broker.connection.call_many([("XLEN", stream) for stream in streams])
            return lengths == [0] * len(streams)

        await until(empty, WAIT)
        assert len({broker.connection.node_of(stream) for stream in streams}) > 1
    assert len(got) == 300
