"""The same program on a Redis Cluster: events are handled once and in order while slots move and primaries fail."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from redis_streams_aio import Broker, ConfigError, Connection, Delivery, RedisUnavailableError, Settings
from redis_streams_aio.telemetry import Fact, GroupRecreated
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

STREAM, OTHER = "orders", "b"
"""Streams of two shards: the slots 105 and 3300 are of the first third; see `test_p30_...shards`."""
on_each = pytest.mark.parametrize(
    "cluster",
    [
        "valkey-9.1",
        pytest.param("redis-7.0", marks=pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")),
    ],
    indirect=True,
)


def url_of(cluster: Cluster) -> str:
    """A URL with one of the nodes: the others are found."""
    return cluster.url.partition(",")[0]


def streams_of_each_shard(cluster: Cluster) -> list[str]:
    """A stream for each primary, `orders` first."""
    found: dict[Server, str] = {cluster.owner_of(STREAM): STREAM}
    for name in "abcdefghijklmnop":
        found.setdefault(cluster.owner_of(name), name)
    return [*found.values()]


class Traffic:
    """Events that are published all the time on some streams, and how they are handled."""

    def __init__(self, cluster: Cluster, streams: list[str]) -> None:
        self.streams = streams
        self.published: dict[str, list[int]] = {stream: [] for stream in streams}
        self.unsure: Counter[str] = Counter()
        self.handled: dict[str, list[int]] = {stream: [] for stream in streams}
        self.worst: Counter[str] = Counter()
        self.facts: list[Fact] = []
        self.broker = Broker(
            url_of(cluster), group="g", observers=[self.facts.append], settings=Settings(lag_interval=60)
        )
        for stream in streams:
            self._declare(stream)

    def _declare(self, stream: str) -> None:
        @self.broker.handler(stream)
        async def handle(order: Order) -> None:
            self.handled[stream].append(order.number)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Publish until the end of the block; then all that Redis has is handled."""
        stop = asyncio.Event()
        async with self.broker:
            publishing = [asyncio.create_task(self._publish(stream, stop)) for stream in self.streams]
            await self.until_handled(20)
            yield
            await self.until_handled(20)
            stop.set()
            await asyncio.gather(*publishing)
            await until(self._all_is_handled, 30, "all published events are handled")

    async def until_handled(self, more: int) -> None:
        """Wait until so many more events of each stream are handled."""
        goals = {stream: len(handled) + more for stream, handled in self.handled.items()}
        await until(lambda: all(len(self.handled[each]) >= goal for each, goal in goals.items()), 30)

    async def _publish(self, stream: str, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            began = monotonic()
            try:
                await self.broker.publish(stream, Order(number))
                self.published[stream].append(number)
            except RedisUnavailableError:
                self.unsure[stream] += 1
            self.worst[stream] = max(self.worst[stream], monotonic() - began)  # type: ignore[assignment]
            await asyncio.sleep(0.002)

    def _all_is_handled(self) -> bool:
        return all(set(self.published[each]) <= set(self.handled[each]) for each in self.streams)

    def check_order(self) -> None:
        """Events came in order, and none twice."""
        for stream, handled in self.handled.items():
            assert handled == sorted(set(handled)), stream

    @property
    def recreated(self) -> list[Fact]:
        """Groups that were recreated."""
        return [fact for fact in self.facts if isinstance(fact, GroupRecreated)]


@on_each
async def test_p30_events_of_all_shards_are_published_and_handled_with_one_url(cluster: Cluster) -> None:
    traffic = Traffic(cluster, streams_of_each_shard(cluster))
    assert len(traffic.streams) == 3
    async with traffic.flowing():
        await traffic.broker.publish_many(STREAM, [Order(0)])
        lags = await traffic.broker.measure_lag()
    assert {lag.stream for lag in lags} == {*traffic.streams}
    assert not traffic.unsure


@on_each
async def test_p30_a_failover_by_order_is_followed_and_nothing_is_handled_twice(cluster: Cluster) -> None:
    traffic = Traffic(cluster, streams_of_each_shard(cluster))
    async with traffic.flowing():
        await asyncio.to_thread(cluster.failover, STREAM)
        await traffic.until_handled(50)
    traffic.check_order()
    assert not traffic.recreated
    assert traffic.worst[STREAM] < 3.0, "the promotion takes milliseconds"


@on_each
async def test_p30_a_slot_moves_with_pending_entries_while_a_read_is_blocked(cluster: Cluster) -> None:
    traffic = Traffic(cluster, [STREAM])
    target = next(each for each in cluster.primaries if each is not cluster.owner_of(STREAM))
    async with traffic.flowing():
        migration = cluster.migration(cluster.slot_of(STREAM), target)
        await asyncio.to_thread(migration.begin)
        await traffic.until_handled(10)
        await asyncio.to_thread(migration.move)
        await traffic.until_handled(10)
        await asyncio.to_thread(migration.finish)
        await traffic.until_handled(10)
    traffic.check_order()
    assert not traffic.recreated
    assert cluster.owner_of(STREAM) is target
    assert ask(target, "XPENDING", STREAM, "g")[0] == 0


@pytest.mark.parametrize("harm", [Cluster.kill, Cluster.freeze])
@on_each
async def test_p30_a_primary_that_fails_stalls_its_own_streams_until_a_replica_is_promoted(cluster, harm) -> None:
    traffic = Traffic(cluster, streams_of_each_shard(cluster))
    async with traffic.flowing():
        began = monotonic()
        failed = await asyncio.to_thread(harm, cluster, STREAM)
        await asyncio.to_thread(cluster.until_promoted, STREAM, failed)
        promotion = monotonic() - began
        await traffic.until_handled(20)
        gap = monotonic() - began
        worst = max(traffic.worst[other] for other in traffic.streams[1:])
        await asyncio.to_thread(cluster.revive, failed)
    assert gap <= promotion + 3.0, "within a second on a machine that is idle"
    assert worst < gap / 2, "streams of other shards do not wait for the promotion"
    for other in traffic.streams[1:]:
        assert traffic.handled[other] == sorted(set(traffic.handled[other]))
    assert not traffic.recreated


@on_each
async def test_p30_leases_are_kept_on_every_node(cluster: Cluster) -> None:
    streams, running = streams_of_each_shard(cluster), Counter[str]()
    brokers = [Broker(url_of(cluster), group="g") for _ in range(2)]
    for broker in brokers:
        for stream in streams:

            @broker.handler(stream, lease=1.5)
            async def handle(order: Order, delivery: Delivery) -> None:
                running[delivery.stream] += 1
                await asyncio.sleep(3.0)  # the handler's work: two leases

    async with brokers[0], brokers[1]:
        for stream in streams:
            await brokers[0].publish(stream, Order(1))
        await until(lambda: sum(each.settled for broker in brokers for each in broker.status) == 3, 15)
    assert running == dict.fromkeys(streams, 1), "nobody took them over"


async def test_p30_a_connection_opens_while_a_primary_is_replaced(cluster: Cluster) -> None:
    """Also if its first contact is the node that fails."""
    failed = await asyncio.to_thread(cluster.kill, STREAM)
    seeds = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes if node is not failed)
    async with asyncio.timeout(30), Connection(f"redis+cluster://{seeds}") as connection:
        assert connection.node_of() is connection.node_of("b"), (
            "slots 0 and 3300 are of the first shard, as is that stream"
        )
        assert await connection.call("EXISTS", STREAM) == 0


async def test_p30_a_url_for_a_cluster_that_leads_to_one_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a node of a Cluster: use redis://"):
        async with Connection(url.replace("redis://", "redis+cluster://").removesuffix("/0")):
            pass
