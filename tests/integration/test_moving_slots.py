"""Slots that move while events are published, read and settled (P30): nothing is lost, made anew, or handled twice."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter

import pytest

from redis_streams_aio import Broker, Connection, Settings
from redis_streams_aio.telemetry import Fact, GroupRecreated
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

KINDS = [
    "valkey-9.1",
    pytest.param("redis-7.0", marks=pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")),
]
on_each_cluster = pytest.mark.parametrize("cluster", KINDS, indirect=True)

STREAM = "orders"


def another_primary(cluster: Cluster, stream: str = STREAM) -> Server:
    """A primary that does not have the stream."""
    return next(each for each in cluster.primaries if each is not cluster.owner_of(stream))


class Books:
    """A broker with one stream, the orders that it has handled, and the groups that it has recreated."""

    def __init__(self, url: str, *, lease: float = 5.0, lease_thread: bool = False) -> None:
        self.facts: list[Fact] = []
        self.broker = Broker(
            url, group="g", settings=Settings(lease_thread=lease_thread), observers=[self.facts.append]
        )
        self.handled: Counter[int] = Counter()
        self.begun: set[int] = set()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.broker.handler(STREAM, order="none", concurrency=8, lease=lease)(self.handle)

    @property
    def recreated(self) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, GroupRecreated)]

    async def handle(self, order: Order) -> None:
        self.begun.add(order.number)
        await self.may_end.wait()
        self.handled[order.number] += 1

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            await self.broker.publish(STREAM, Order(number))

    async def until_handled(self, *numbers: int) -> None:
        await until(lambda: not set(numbers) - set(self.handled), 15, what=f"all of {len(numbers)} are handled")


async def until_settled(cluster: Cluster) -> None:
    """Wait until nothing is pending at the owner."""

    def none_pending() -> bool:
        return not ask(cluster.owner_of(STREAM), "XPENDING", STREAM, "g")[0]

    while not await asyncio.to_thread(none_pending):
        await asyncio.sleep(0.02)


@on_each_cluster
async def test_p30_a_slot_moves_under_a_blocked_read_with_pending_entries(cluster: Cluster) -> None:
    """The read goes on at the new owner; entries that are being handled stay held, and are settled there."""
    books = Books(cluster.url)
    target = another_primary(cluster)
    async with books.broker:
        await books.publish(0)
        await books.until_handled(0)
        books.may_end.clear()
        await books.publish(1, 2, 3)
        await until(lambda: books.begun == {0, 1, 2, 3})
        await asyncio.to_thread(cluster.migrate, cluster.slot_of(STREAM), target)
        await books.publish(4, 5)
        await until(lambda: books.begun == {0, 1, 2, 3, 4, 5})
        books.may_end.set()
        await books.until_handled(0, 1, 2, 3, 4, 5)
        await asyncio.wait_for(until_settled(cluster), 10)
    assert cluster.owner_of(STREAM) is target
    assert max(books.handled.values()) == 1
    assert books.recreated == []


@on_each_cluster
async def test_p30_in_the_middle_of_a_migration_all_goes_on(cluster: Cluster) -> None:
    """The key has gone, and the slot has not: each command follows `ASK`, also to a node that has no slots yet."""
    books = Books(cluster.url)
    target = await asyncio.to_thread(cluster.add_node)
    migration = cluster.migration(cluster.slot_of(STREAM), target)
    async with books.broker:
        await books.publish(0)
        await books.until_handled(0)
        migration.begin()
        await books.publish(1)
        await books.until_handled(1)
        books.may_end.clear()
        await books.publish(2)
        await until(lambda: 2 in books.begun)
        migration.move()
        books.may_end.set()
        await books.publish(3)
        await books.until_handled(2, 3)
        await asyncio.to_thread(migration.finish)
        await books.publish(4)
        await books.until_handled(4)
        await asyncio.wait_for(until_settled(cluster), 10)
    assert max(books.handled.values()) == 1
    assert books.recreated == []


@on_each_cluster
async def test_p30_a_slot_goes_to_and_fro_under_load(cluster: Cluster) -> None:
    books = Books(cluster.url)
    slot, here, there = cluster.slot_of(STREAM), cluster.owner_of(STREAM), another_primary(cluster)
    done = asyncio.Event()
    published = 0

    async def load() -> None:
        nonlocal published
        while not done.is_set():
            await books.publish(published)
            published += 1

    async with books.broker:
        loading = asyncio.create_task(load())
        for target in (there, here, there, here):
            await asyncio.to_thread(cluster.migrate, slot, target)
            await asyncio.to_thread(cluster.until_well)  # else nodes may never agree any more
        done.set()
        await loading
        await books.until_handled(*range(published))
        await asyncio.wait_for(until_settled(cluster), 10)
    assert published > 20
    assert set(books.handled) == set(range(published))
    assert max(books.handled.values()) == 1
    assert books.recreated == []


@on_each_cluster
async def test_p30_a_group_is_recreated_only_when_the_owner_says_twice_that_it_is_gone(cluster: Cluster) -> None:
    books = Books(cluster.url)
    async with books.broker:
        await books.publish(0)
        await books.until_handled(0)
        await asyncio.to_thread(ask, cluster.owner_of(STREAM), "DEL", STREAM)
        await until(lambda: len(books.recreated) == 1)
        await books.publish(1)
        await books.until_handled(1)
    assert len(books.recreated) == 1


@on_each_cluster
async def test_p30_leases_are_kept_on_every_node(cluster: Cluster) -> None:
    """Also while the slot of one is in the middle of its migration."""
    books = Books(cluster.url, lease=1.0, lease_thread=True)
    migration = cluster.migration(cluster.slot_of(STREAM), another_primary(cluster))
    async with books.broker:
        books.may_end.clear()
        await books.publish(1)
        await until(lambda: books.begun == {1})
        migration.begin()
        migration.move()
        await asyncio.sleep(2.0)  # two leases
        async with Connection(cluster.url) as connection:

            async def is_kept() -> bool:
                [[_, _, idle, _]] = await connection.call("XPENDING", STREAM, "g", "-", "+", 1)  # type: ignore[misc,union-attr]
                return isinstance(idle, int) and idle < 1000

            await until(is_kept, 20)
        await asyncio.to_thread(migration.finish)
        books.may_end.set()
        await books.until_handled(1)
    assert books.handled[1] == 1
