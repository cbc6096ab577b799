"""Names of consumers that are gone leave their group, and nothing with them (P20, P22)."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, ConsumerGroupManager, RetryPolicy, Settings
from redis_streams_aio.telemetry import ConsumerRemoved, EntriesVanished, Fact
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import worker


async def names(redis: Redis) -> set[str]:
    return {consumer["name"] for consumer in await redis.xinfo_consumers("orders", "g")}


async def test_p22_the_name_of_a_consumer_that_crashed_is_removed_when_its_entries_are_taken_over(
    url: str, redis: Redis
) -> None:
    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(5)])
    async with worker(url, "--hang", 0, "--lease", 0.3, "--name", "crashed") as one:
        await until(lambda: one.said("start", 0))
        await one.kill()
    assert "crashed" in await names(redis)
    got: list[int] = []
    facts: list[Fact] = []
    settings = Settings(consumer="survivor", consumer_expiry=0.5, reclaim_interval=0.05)
    broker = Broker(url, group="g", settings=settings, observers=[facts.append])

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await until(lambda: [fact.removed for fact in facts if isinstance(fact, ConsumerRemoved)] == ["crashed"])
        assert await names(redis) <= {"survivor", "redis_streams_aio:released"}
    assert sorted(got) == list(range(5)), "and nothing was lost with it"


async def test_p22_a_consumer_with_something_pending_or_that_is_not_idle_keeps_its_name(
    url: str, redis: Redis, connection: Connection
) -> None:
    groups = ConsumerGroupManager(connection)
    await groups.create_group("orders", "g")
    await redis.xadd("orders", {"n": 1})
    await redis.xreadgroup("g", "holder", {"orders": ">"})
    await redis.xgroup_createconsumer("orders", "g", "fresh")
    assert not await groups.delete_consumer("orders", "g", "holder")
    assert not await groups.delete_consumer("orders", "g", "fresh", idle=60)
    assert not await groups.delete_consumer("orders", "g", "nobody")
    assert await groups.delete_consumer("orders", "g", "fresh")
    assert await names(redis) == {"holder"}


async def test_p22_cleaning_raced_with_reading_ten_thousand_times_loses_nothing(url: str, redis: Redis) -> None:
    """A consumer reads and acknowledges while its name is removed again and again under it."""
    count = 10_000
    read: list[str] = []
    async with Connection(url) as first, Connection(url) as second:
        groups = ConsumerGroupManager(first)
        await groups.create_group("orders", "g")
        done = asyncio.Event()
        removed = 0

        async def clean() -> None:
            nonlocal removed
            while not done.is_set():
                removed += await groups.delete_consumer("orders", "g", "raced")

        cleaning = asyncio.create_task(clean())
        link = second.link("control")
        for start in range(0, count, 100):
            await link.call_many([("XADD", "orders", "*", "n", number) for number in range(start, start + 100)])
            for _ in range(100):
                entries = await second.call("XREADGROUP", "GROUP", "g", "raced", "COUNT", 1, "STREAMS", "orders", ">")
                [entry] = entries[0][1]  # type: ignore[index]
                read.append(entry[0].decode())  # type: ignore[union-attr, index]
                acknowledged = await second.call("XACK", "orders", "g", entry[0])  # type: ignore[index]
                assert acknowledged == 1, "the name was removed with an entry pending"
        done.set()
        await cleaning
    assert len(set(read)) == count
    assert removed > 0
    [group] = await redis.xinfo_groups("orders")
    assert (group["pending"], group["lag"]) == (0, 0)


async def test_p20_trimmed_while_pending_is_counted_and_settled(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])
    began, may_end = asyncio.Event(), asyncio.Event()

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order) -> None:
        began.set()
        await may_end.wait()

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(3)])
        await began.wait()
        await redis.xtrim("orders", maxlen=0, approximate=False)
        await until(lambda: broker.status[0].vanished >= 1)
        may_end.set()
        await until(lambda: _settled(redis))
    vanished = {entry_id for fact in facts if isinstance(fact, EntriesVanished) for entry_id in fact.ids}
    assert vanished <= set(ids)
    assert vanished


async def _settled(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def test_p11_a_record_whose_entry_was_acknowledged_by_a_person_is_dropped(url: str, redis: Redis) -> None:
    """The broker that wrote it holds the event, and does not know; a record that is needed stays."""
    settings = Settings(consumer_expiry=0.2, reclaim_interval=0.05)
    broker = Broker(url, group="g", settings=settings)

    @broker.handler("orders", concurrency=2, retry=RetryPolicy(base=3600, jitter=False))
    async def handle(order: Order) -> None:
        raise ValueError("no")

    async with broker:
        first, second = [await broker.publish("orders", Order(number)) for number in range(2)]
        await until(lambda: has_records(redis, first, second))
        await redis.xack("orders", "g", first)
        await until(lambda: has_records(redis, second))


async def has_records(redis: Redis, *ids: str) -> bool:
    return set(await redis.hkeys("{orders}:g:failures")) == set(ids)
