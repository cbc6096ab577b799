"""The Clusters and sets of Sentinels of the tests do what they say, on the newest server and on the oldest."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import hiredis
import pytest
from redis import Redis

from redis_streams_aio.testing.asking import ask, until
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server

KINDS = [
    "valkey-9.1",
    pytest.param("redis-7.0", marks=pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")),
]
on_each_cluster = pytest.mark.parametrize("cluster", KINDS, indirect=True)
on_each_set = pytest.mark.parametrize("sentinels", KINDS, indirect=True)

STREAM = "orders"


def pending(server: Server) -> int:
    """How many entries of the stream are pending there."""
    return int(ask(server, "XPENDING", STREAM, "g")[0])


def leave_three_of_five_pending(server: Server) -> None:
    """Write five entries, and read three of them. All replicas have that: `WAIT` counts for its own connection."""
    with Redis(port=server.port, single_connection_client=True) as redis:
        for number in range(5):
            redis.xadd(STREAM, {"number": number})
        redis.xgroup_create(STREAM, "g", "0")
        redis.xreadgroup("g", "c", {STREAM: ">"}, count=3)
        replicas = redis.info("replication")["connected_slaves"]  # type: ignore[index]
        assert redis.execute_command("WAIT", replicas, 10_000) == replicas >= 1


def another_primary(cluster: Cluster) -> Server:
    """A primary that does not have the stream."""
    return next(each for each in cluster.primaries if each is not cluster.owner_of(STREAM))


@on_each_cluster
def test_a_cluster_has_its_shards_and_a_url_of_all_nodes(cluster: Cluster) -> None:
    assert len(cluster.primaries) == 3
    assert cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    owner = cluster.owner_of(STREAM)
    assert cluster.slot_of(STREAM) == 105
    assert ask(owner, "XADD", STREAM, "*", "a", 1)
    with pytest.raises(hiredis.ReplyError, match=f"MOVED 105 127.0.0.1:{owner.port}"):
        ask(another_primary(cluster), "XLEN", STREAM)


@on_each_cluster
def test_a_failover_by_order_moves_a_shard_to_its_replica_with_its_data(cluster: Cluster) -> None:
    before = cluster.owner_of(STREAM)
    leave_three_of_five_pending(before)
    promoted = cluster.failover(STREAM)
    assert promoted is cluster.owner_of(STREAM) is not before
    assert pending(promoted) == 3
    cluster.until_well()
    assert cluster.replica_of(promoted) is before


@pytest.mark.parametrize("harm", [Cluster.kill, Cluster.freeze])
@on_each_cluster
def test_a_primary_that_fails_is_replaced_and_comes_back_as_a_replica(
    cluster: Cluster, harm: Callable[[Cluster, str], Server]
) -> None:
    leave_three_of_five_pending(cluster.owner_of(STREAM))
    harmed = harm(cluster, STREAM)
    promoted = cluster.until_promoted(STREAM, harmed)
    assert pending(promoted) == 3
    cluster.revive(harmed)
    assert cluster.replica_of(promoted) is harmed


@on_each_cluster
def test_a_slot_migrates_step_by_step(cluster: Cluster) -> None:
    source, target = cluster.owner_of(STREAM), another_primary(cluster)
    leave_three_of_five_pending(source)
    migration = cluster.migration(cluster.slot_of(STREAM), target)
    migration.begin()
    assert migration.keys() == [STREAM]
    assert pending(source) == 3
    migration.move(STREAM)
    assert migration.keys() == []
    with pytest.raises(hiredis.ReplyError, match=f"ASK 105 127.0.0.1:{target.port}"):
        ask(source, "XLEN", STREAM)
    migration.finish()
    assert cluster.owner_of(STREAM) is target
    assert pending(target) == 3
    cluster.until_well()


@pytest.mark.parametrize("cluster", KINDS[:1], indirect=True)
def test_a_slot_migrates_at_once_where_the_server_can(cluster: Cluster) -> None:
    target = another_primary(cluster)
    leave_three_of_five_pending(cluster.owner_of(STREAM))
    cluster.migrate_at_once(cluster.slot_of(STREAM), target)
    assert cluster.owner_of(STREAM) is target
    assert pending(target) == 3


@on_each_cluster
def test_a_node_is_added_and_all_nodes_move_to_new_ports(cluster: Cluster) -> None:
    leave_three_of_five_pending(cluster.owner_of(STREAM))
    before = {node.port for node in cluster.nodes}
    cluster.move_to_new_ports()
    assert not before & {node.port for node in cluster.nodes}
    added = cluster.add_node()
    cluster.migrate(cluster.slot_of(STREAM), added)
    assert cluster.owner_of(STREAM) is added
    assert pending(added) == 3
    assert str(added.port) in cluster.url


@on_each_set
def test_sentinels_know_a_primary_with_two_replicas(sentinels: SentinelSet) -> None:
    assert len(sentinels.replicas) == 2
    for sentinel in sentinels.sentinels:
        assert f"127.0.0.1:{sentinel.port}" in sentinels.url
        named = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinels.service)
        assert named == ["127.0.0.1", str(sentinels.primary.port)]
    with pytest.raises(hiredis.ReplyError, match="READONLY"):
        ask(sentinels.replicas[0], "SET", "a", "b")


@on_each_set
def test_sentinels_fail_over_by_order(sentinels: SentinelSet) -> None:
    before = sentinels.primary
    leave_three_of_five_pending(before)
    promoted = sentinels.failover()
    assert promoted is sentinels.primary is not before
    assert pending(promoted) == 3
    sentinels.until_well()


@pytest.mark.parametrize("harm", [SentinelSet.kill, SentinelSet.freeze])
@on_each_set
def test_sentinels_replace_a_primary_that_fails(sentinels: SentinelSet, harm: Callable[[SentinelSet], Server]) -> None:
    leave_three_of_five_pending(sentinels.primary)
    until(sentinels.is_well, "replicas are in step")
    harmed = harm(sentinels)
    promoted = sentinels.until_promoted(harmed)
    assert pending(promoted) == 3
    sentinels.revive(harmed)
    assert harmed in sentinels.replicas
