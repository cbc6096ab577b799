"""Durable publishing on a Cluster: copies are counted at the node of each stream, also where its slot has moved to."""

from __future__ import annotations

import asyncio

import pytest

from redis_streams_aio import Connection, NotDurableError, Settings, StreamProducer, StreamSettings
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.servers import Server
from tests.events import Order
from tests.integration.test_clusters import STREAM, on_each, streams_of_each_shard


def durable(streams: list[str], timeout: float = 10.0) -> Settings:
    """Settings by which publishing to these streams waits for a replica."""
    return Settings(
        command_timeout=timeout, streams={each: StreamSettings(durability="replicated") for each in streams}
    )


def waits(node: Server) -> int:
    """How often a node was asked for copies."""
    line = next(
        (line for line in str(ask(node, "INFO", "commandstats")).split() if "cmdstat_wait:" in line), "calls=0,"
    )
    return int(line.partition("calls=")[2].partition(",")[0])


@on_each
async def test_p30_copies_are_counted_at_each_node(cluster: Cluster) -> None:
    streams = streams_of_each_shard(cluster)
    before = {node: waits(node) for node in cluster.primaries}
    async with Connection(cluster.url) as connection:
        producer = StreamProducer(connection, settings=durable(streams))
        for stream in streams:
            await producer.publish(stream, Order(1))
            assert len(await producer.publish_many(stream, [Order(2), Order(3)])) == 2
    for stream in streams:
        assert ask(cluster.owner_of(stream), "XLEN", stream) == 3
    assert all(waits(node) > asked for node, asked in before.items())


@on_each
async def test_p30_durable_publishing_follows_a_slot(cluster: Cluster) -> None:
    """No event is there twice, and none that was told to be durable is missing."""
    target = next(each for each in cluster.primaries if each is not cluster.owner_of(STREAM))
    ids: list[str] = []
    moved = asyncio.Event()
    async with Connection(cluster.url) as connection:
        producer = StreamProducer(connection, settings=durable([STREAM]))

        async def publish() -> None:
            while not moved.is_set():
                ids.append(await producer.publish(STREAM, Order(len(ids))))

        publishing = asyncio.create_task(publish())
        await asyncio.to_thread(cluster.migrate, cluster.slot_of(STREAM), target)
        moved.set()
        await publishing
        ids.append(await producer.publish(STREAM, Order(len(ids))))
    assert cluster.owner_of(STREAM) is target
    assert [entry[0] for entry in ask(target, "XRANGE", STREAM, "-", "+")] == ids


@on_each
async def test_p30_copies_are_counted_where_a_slot_is_on_its_way_to(cluster: Cluster) -> None:
    """The stream has gone, and the slot has not: the node answers `ASK` for as long as that takes."""
    source = cluster.owner_of(STREAM)
    target = next(each for each in cluster.primaries if each is not source)
    migration = cluster.migration(cluster.slot_of(STREAM), target)
    async with Connection(cluster.url) as connection:
        producer = StreamProducer(connection, settings=durable([STREAM]))
        ids = [await producer.publish(STREAM, Order(1))]
        await asyncio.to_thread(migration.begin)
        await asyncio.to_thread(migration.move)
        asked = waits(target)
        ids += await producer.publish_many(STREAM, [Order(2), Order(3)])
        assert waits(target) > asked
        await asyncio.to_thread(migration.finish)
        ids.append(await producer.publish(STREAM, Order(4)))
    assert [entry[0] for entry in ask(target, "XRANGE", STREAM, "-", "+")] == ids


async def test_p30_a_replica_that_is_away_is_missed_for_its_own_shard_only(cluster: Cluster) -> None:
    streams = streams_of_each_shard(cluster)
    replica = cluster.replica_of(cluster.owner_of(STREAM))
    async with Connection(cluster.url) as connection:
        producer = StreamProducer(connection, settings=durable(streams, timeout=6.0))
        replica.freeze()
        try:
            with pytest.raises(NotDurableError, match="0 of 1 replicas confirmed in 3 s"):
                await producer.publish(STREAM, Order(1))
            for stream in streams[1:]:
                await producer.publish(stream, Order(1))
        finally:
            await asyncio.to_thread(cluster.revive, replica)
