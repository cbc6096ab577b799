"""Story.

A consumer joins an existing stream where it says, and a restart goes on where the group was (P8, P17, P18).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    CheckpointStore,
    Connection,
    ConsumerGroupManager,
    InMemoryCheckpointStore,
    RedisCheckpointStore,
    Settings,
    StreamConsumer,
    StreamProducer,
)
from redis_streams_aio import checkpoint as checkpoints
from redis_streams_aio.testing.waiting import until
from tests.events import Order


async def fill(url: str, *numbers: int) -> list[str]:
    async with Broker(url) as broker:
        return await broker.publish_many("orders", [Order(number) for number in numbers])


async def joined(url: str, start: str | datetime, expected: int, meanwhile: tuple[int, ...] = ()) -> list[int]:
    """What a consumer of a new group gets that starts at `start`, with more events published once it is there."""
    got: list[int] = []
    broker = Broker(url, group="late")

    @broker.handler("orders", start=start)
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        if meanwhile:
            await broker.publish_many("orders", [Order(number) for number in meanwhile])
        await until(lambda: len(got) >= expected)
        [report] = await broker.measure_lag()
        assert report.lag == 0
    return got


async def test_from_the_beginning(url: str) -> None:
    await fill(url, 1, 2, 3)
    assert await joined(url, "0", 4, meanwhile=(4,)) == [1, 2, 3, 4]


async def test_from_the_end_gets_only_what_comes_after_it_joined(url: str) -> None:
    await fill(url, 1, 2, 3)
    assert await joined(url, "$", 2, meanwhile=(4, 5)) == [4, 5]


async def test_from_an_id_gets_what_comes_after_it(url: str) -> None:
    ids = await fill(url, 1, 2, 3)
    assert await joined(url, ids[1], 1) == [3]


async def test_from_a_time_gets_what_came_at_or_after_it(url: str, redis: Redis) -> None:
    for milliseconds, number in ((1_000, 1), (2_000, 2), (3_000, 3)):
        fields = {"event_type": "Order", "payload": f'{{"number":{number}}}'}
        await redis.xadd("orders", fields, id=f"{milliseconds}-0")
    assert await joined(url, datetime.fromtimestamp(2, UTC), 2) == [2, 3]


async def test_p8_a_restart_goes_on_where_the_group_was_whatever_start_says(url: str) -> None:
    await fill(url, 1, 2)
    assert await joined(url, "0", 2) == [1, 2]
    await fill(url, 3)
    assert await joined(url, "$", 1) == [3]
    await fill(url, 4)
    assert await joined(url, "0", 1) == [4]


async def test_p8_a_group_made_at_the_end_knows_its_lag_from_the_first_event_on(connection: Connection) -> None:
    producer, groups = StreamProducer(connection), ConsumerGroupManager(connection)
    await producer.publish_many("orders", [Order(number) for number in range(10)])
    await groups.create_group("orders", "late", "$")
    assert (await groups.get_group_info("orders", "late")).lag == 0
    await producer.publish_many("orders", [Order(number) for number in range(3)])
    assert (await groups.get_group_info("orders", "late")).lag == 3


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_from_a_checkpoint_when_the_group_is_gone(connection: Connection, redis: Redis, kind: str) -> None:
    store: CheckpointStore = InMemoryCheckpointStore() if kind == "memory" else RedisCheckpointStore(connection)
    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(10)])

    async def consume(count: int) -> list[int]:
        got: list[int] = []
        async with StreamConsumer(connection, "orders", "g", payload_type=Order, checkpoints=store) as consumer:
            async for event in consumer.subscribe():
                got.append(event.payload.number)
                await consumer.acknowledge(event)
                if len(got) == count:
                    break
        return got

    assert await consume(4) == [0, 1, 2, 3]
    await redis.xgroup_destroy("orders", "g")
    assert await consume(6) == [4, 5, 6, 7, 8, 9]


async def test_p18_the_checkpoint_is_below_the_lowest_unsettled_entry_though_later_ones_are_done(url: str) -> None:
    ids = await fill(url, *range(6))
    first_may_end = asyncio.Event()
    done: list[int] = []
    broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.01))

    @broker.handler("orders", concurrency=6)
    async def handle(order: Order) -> None:
        if order.number == 2:
            await first_may_end.wait()
        done.append(order.number)

    async with broker:
        store = RedisCheckpointStore(broker.connection)
        await until(lambda: len(done) == 5)
        saved = await until(lambda: _saved(store, lambda value: value == _before(ids[2])))
        assert await checkpoints.current(broker.connection, "orders", "g") == saved
        first_may_end.set()
        await until(lambda: _saved(store, lambda value: value == ids[5]))


async def test_p18_an_older_checkpoint_that_a_slow_process_writes_late_is_put_right(
    url: str, connection: Connection
) -> None:
    ids = await fill(url, 1, 2)
    store = RedisCheckpointStore(connection)
    may_write = asyncio.Event()

    class Slow:
        load = store.load

        async def save(self, stream: str, group: str, entry_id: str) -> None:
            if entry_id == ids[0]:
                await may_write.wait()
            await store.save(stream, group, entry_id)

    slow = StreamConsumer(connection, "orders", "g", checkpoints=Slow(), count=1)
    fast = StreamConsumer(connection, "orders", "g", checkpoints=store, count=1)
    async with slow, fast:
        await slow.fetch(1)
        await slow.acknowledge(ids[0])
        late = asyncio.create_task(slow._position.save())
        await fast.fetch(1)
        await fast.acknowledge(ids[1])
        await fast._position.save()
        may_write.set()
        await late
        assert await store.load("orders", "g") == ids[0], "the older one stands now"
        await slow._position.save()
        assert await store.load("orders", "g") == ids[1]


async def _saved(store: CheckpointStore, fact: Callable[[str], bool]) -> str | None:
    value = await store.load("orders", "g")
    return value if value is not None and fact(value) else None


def _before(entry_id: str) -> str:
    from redis_streams_aio.events import entry_ids

    return entry_ids.previous(entry_id)


async def test_p17_a_group_that_vanishes_under_the_broker_is_made_again_at_its_checkpoint(
    url: str, redis: Redis
) -> None:
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.01))

    @broker.handler("orders", start="$")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(5)])
        await until(lambda: len(got) == 5)
        await until(lambda: _stored_is_last(redis))
        await redis.xgroup_destroy("orders", "g")
        await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":5}'})
        await until(lambda: len(got) >= 6)
    assert got == [0, 1, 2, 3, 4, 5]


async def _stored_is_last(redis: Redis) -> bool:
    [(last, _)] = await redis.xrevrange("orders", count=1)
    return await redis.get("{orders}:g:checkpoint") == last


async def test_p17_after_flushall_events_published_before_the_group_is_back_are_not_skipped(
    url: str, redis: Redis
) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", start="$")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        pipeline = redis.pipeline(transaction=True)
        pipeline.flushall()
        pipeline.xadd("orders", {"event_type": "Order", "payload": '{"number":2}'})
        await pipeline.execute()
        await until(lambda: got == [1, 2])
        await redis.delete("orders")
        await broker.publish("orders", Order(3))
        await until(lambda: got == [1, 2, 3])


async def test_deleting_a_group_forgets_its_checkpoint(connection: Connection) -> None:
    groups, store = ConsumerGroupManager(connection), RedisCheckpointStore(connection)
    await groups.create_group("orders", "g")
    await store.save("orders", "g", "5-0")
    assert await groups.delete_group("orders", "g") is True
    assert await store.load("orders", "g") is None
    assert await groups.delete_group("orders", "g") is False
    assert await groups.delete_group("nothing", "g") is False
