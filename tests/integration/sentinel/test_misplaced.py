"""A plain URL that leads to a part of Redis only is refused when it is opened, with the URL to use instead (P24)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, ConfigError, WrongNodeError
from redis_streams_aio.connection import Connection
from redis_streams_aio.connection.address import Address, parse
from redis_streams_aio.connection.misplaced import check
from redis_streams_aio.connection.replies import Reply, Server
from redis_streams_aio.testing import servers
from redis_streams_aio.testing.asking import ask, until
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.ports import free_port
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.waiting import until as eventually
from tests.events import Order

NewServer = Callable[..., servers.Server]
FOLLOWED = "its primary; behind Sentinels redis+sentinel://host:26379/NAME/0 follows it"


async def refusal(url: str | None = None, *, client: Redis | None = None) -> str:
    with pytest.raises(ConfigError) as told:
        async with Connection(url, client=client):
            pass
    return str(told.value)


async def test_p24_a_replica_is_refused_with_the_url_of_its_primary(sentinels: SentinelSet) -> None:
    primary, replica = sentinels.primary.port, sentinels.replicas[0].port
    assert await refusal(f"redis://127.0.0.1:{replica}/3") == (
        f"redis_url: redis://127.0.0.1:{replica}/3: is a replica, which takes no events; "
        f"write redis://127.0.0.1:{primary}/3, {FOLLOWED}"
    )
    async with Redis(port=replica) as client:
        assert await refusal(client=client) == (
            f"client: is a replica, which takes no events; write redis://127.0.0.1:{primary}, {FOLLOWED}"
        )


async def test_p24_a_sentinel_is_refused_with_the_names_that_it_knows(sentinels: SentinelSet) -> None:
    port = sentinels.sentinels[0].port
    assert await refusal(f"redis://127.0.0.1:{port}") == (
        f"redis_url: redis://127.0.0.1:{port}: is a Sentinel; write redis+sentinel://127.0.0.1:{port}/events/0"
    )


async def test_p24_a_node_of_a_cluster_is_refused(cluster: Cluster) -> None:
    for node in (cluster.primaries[0], cluster.replica_of(cluster.primaries[0])):
        host = f"127.0.0.1:{node.port}"
        assert await refusal(f"redis://{host}/0") == (
            f"redis_url: redis://{host}/0: is one node of a Cluster of 3 shards; write redis+cluster://{host}, or pass "
            "a redis.asyncio.RedisCluster as client"
        )


async def test_p24_where_the_user_may_not_ask_the_answers_tell(sentinels: SentinelSet) -> None:
    replica = sentinels.replicas[0]
    ask(replica, "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-role")
    async with Connection(f"redis://app:secret@127.0.0.1:{replica.port}/0") as connection:
        with pytest.raises(WrongNodeError, match="READONLY"):
            await connection.call("SET", "a", 1)
    ask(replica, "ACL", "DELUSER", "app")


async def test_p30_a_cluster_of_one_shard_is_one_server(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As ElastiCache Serverless and MemoryDB have it: both forms of the URL work, without a warning."""
    options = "--cluster-enabled", "yes", "--appendonly", "yes", "--maxmemory-policy", "noeviction"
    server = new_server(*options, "--cluster-port", str(free_port()))
    ask(server, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: "cluster_state:ok" in ask(server, "CLUSTER", "INFO"), "it is well")
    got: list[int] = []
    as_cluster = server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
    for number, url in enumerate((server.url, as_cluster)):
        broker = Broker(url, group="g")

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            got.append(order.number)

        async with broker:
            await broker.publish("orders", Order(number))
            await eventually(lambda number=number: got == [*range(number + 1)])
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize(
    ("server", "address", "replies", "problem"),
    [
        (
            Server("valkey", "9", 1, "sentinel"),
            None,
            {"ROLE": None},
            ("client: is a Sentinel; write redis+sentinel://host:port/NAME/0"),
        ),
        (
            Server("valkey", "9", 1, "sentinel"),
            parse("rediss://u:p@h:5/0"),
            {"ROLE": [b"sentinel", [b"a", b"b"]]},
            "redis_url: shown: is a Sentinel; write rediss+sentinel://***@h:5/a or b/0",
        ),
        (
            Server("valkey", "9", 1, "cluster", "replica"),
            parse("unix:///s.sock"),
            {"CLUSTER": [[0, 5, [b"a", 1, b"x"], [b"c", 2]], [6, 7, [b"b", 3]], [8, 9, [b"a", 1]]]},
            "redis_url: shown: is one node of a Cluster of 2 shards; write redis+cluster://a:1, or pass",
        ),
        (
            Server("valkey", "9", 1, "cluster", "replica"),
            parse("redis://h"),
            {"CLUSTER": [[0, 16383, [b"a", 1]]], "ROLE": [b"slave", b"a", 1, b"connected", 7]},
            "redis_url: shown: is a replica, which takes no events; write redis://a:1, its primary",
        ),
    ],
)
async def test_p24_errors_name_the_url_to_use(
    server: Server, address: Address | None, replies: dict[str, Reply], problem: str
) -> None:
    async def answer(*command: str) -> Reply:
        return replies[command[0]]

    with pytest.raises(ConfigError) as told:
        await check(server, address, "shown", answer)
    assert str(told.value).startswith(problem)


@pytest.mark.parametrize(
    ("server", "replies"),
    [
        (Server("valkey", "9", 1), {}),
        (Server("valkey", "9", 1, "cluster"), {"CLUSTER": []}),
        (Server("valkey", "9", 1, "cluster"), {"CLUSTER": [[0, 5, [b"a", 1]], [6, 7, [b"a", 1]]]}),
        (Server("valkey", "9", 1, role="replica"), {"ROLE": [b"slave", b"a", 1, b"connect", -1]}),
        (Server("valkey", "9", 1, role="replica"), {"ROLE": None}),
    ],
)
async def test_servers_that_are_all_of_redis_or_may_become_it_are_not_refused(
    server: Server, replies: dict[str, Reply]
) -> None:
    async def answer(*command: str) -> Reply:
        return replies[command[0]]

    await check(server, None, "shown", answer)
