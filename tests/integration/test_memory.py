"""What is promised of `memory://`: the broker's everyday work without a server, for users' own tests."""

from __future__ import annotations

import asyncio

import pytest

from redis_streams_aio import Broker, ConsumerGroupManager, Delivery, RedisCheckpointStore, RetryPolicy, Settings
from redis_streams_aio.testing.waiting import until
from tests.events import Order


async def test_publish_handle_retry_and_dead_letter() -> None:
    seen: list[tuple[int, int]] = []
    broker = Broker("memory://", group="g")

    @broker.handler("orders", retry=RetryPolicy(base=0.001, max_failures=2))
    async def handle(order: Order, delivery: Delivery) -> None:
        seen.append((order.number, delivery.failures))
        if order.number == 1:
            raise ValueError("no")

    async with broker:
        await broker.publish_many("orders", [Order(0), Order(1), Order(2)])
        await until(lambda: seen == [(0, 0), (1, 0), (1, 1), (2, 0)])
        await until(lambda: broker.status[0].settled == 3)
        dead = await broker.connection.call("XLEN", "{orders}:g:dead")
        assert dead == 1


async def test_each_memory_is_its_own_and_named_ones_are_shared() -> None:
    got: list[int] = []
    consumer = Broker("memory://shared", group="g")

    @consumer.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with (
        consumer,
        Broker("memory://shared") as sharing,
        Broker("memory://") as other,
        Broker("memory://") as another,
    ):
        await other.publish("orders", Order(1))
        await sharing.publish("orders", Order(2))
        await until(lambda: got)
        assert await another.connection.call("EXISTS", "orders") == 0
    assert got == [2]


@pytest.mark.parametrize(
    "disaster",
    [
        [("XGROUP", "DESTROY", "orders", "g")],
        [("XGROUP", "DESTROY", "orders", "g"), ("XGROUP", "CREATE", "orders", "g", "$")],
        [("DEL", "orders")],
        [("FLUSHALL",)],
        [("RENAME", "orders", "away")],
    ],
    ids=lambda disaster: " ".join(disaster[-1][:2]),
)
async def test_p17_a_group_that_goes_away_under_a_waiting_read_is_not_read_any_more(disaster: list[tuple[str]]) -> None:
    """fakeredis 2.41 reads on for it: events were delivered by it, and again by the group that came in its place."""
    got: list[int] = []
    broker = Broker("memory://", group="g", settings=Settings(checkpoint_interval=0.01))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        entry = await broker.publish("orders", Order(0))

        async def saved() -> bool:
            return await RedisCheckpointStore(broker.connection).load("orders", "g") == entry

        await until(saved)  # and by now a read waits again
        for command in disaster:
            await broker.connection.call(*command)
        for number in range(1, 6):
            await broker.publish("orders", Order(number))
            await until(lambda: number in got)  # noqa: B023  # awaited within the turn
    assert got == list(range(6))


async def test_fifty_concurrent_publishers_and_a_concurrent_handler() -> None:
    got: list[int] = []
    broker = Broker("memory://", group="g")

    @broker.handler("orders", concurrency=10)
    async def handle(order: Order) -> None:
        await asyncio.sleep(0)
        got.append(order.number)

    async with broker:
        await asyncio.gather(*(broker.publish("orders", Order(number)) for number in range(50)))
        await until(lambda: len(got) == 50)
    assert sorted(got) == list(range(50))


async def test_groups_are_moved_copied_and_deleted() -> None:
    """As on a server, but for the lag."""
    handled: list[int] = []
    broker = Broker("memory://", group="g", settings=Settings(reclaim_interval=0.05))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        handled.append(order.number)

    async with broker:
        ids = await broker.publish_many("orders", [Order(0), Order(1), Order(2)])
        await until(lambda: broker.status[0].settled == 3)
        groups = ConsumerGroupManager(broker.connection)
        report = await groups.seek("orders", "g", ids[0])
        assert (report.again, report.skipped) == (2, 0)
        await until(lambda: handled == [0, 1, 2, 1, 2])
        assert await groups.copy_group("orders", "copy", source="g") == ids[2]
        assert (await groups.seek("orders", "copy", "0")).again == 3
        assert (await groups.seek("orders", "copy", "$")).skipped == 3
        assert await groups.delete_group("orders", "g", only_unused=True) is False
        assert await groups.delete_group("orders", "copy") is True
