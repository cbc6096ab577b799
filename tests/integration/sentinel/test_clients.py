"""Clients of redis-py that lead to Sentinels and Clusters (P16, P30): only their configuration is used."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.credentials import CredentialProvider

from redis_streams_aio import Broker, ConfigError
from redis_streams_aio.connection.clients import places_of
from redis_streams_aio.connection.hosts import Host
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.waiting import until
from tests.events import Order


class Provider(CredentialProvider):
    def get_credentials(self) -> tuple[str, str]:
        return "app", "secret"

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


def client_of(servers: SentinelSet, **options: Any) -> Redis:
    hosts = [("127.0.0.1", sentinel.port) for sentinel in servers.sentinels]
    client: Redis = Sentinel(hosts, socket_timeout=0.1).master_for(servers.service, **options)
    return client


@pytest.mark.parametrize("provider", [None, Provider()], ids=["plain", "with a provider"])
async def test_p30_a_client_of_sentinels_is_followed_through_a_failover(
    sentinels: SentinelSet, provider: CredentialProvider | None
) -> None:
    if provider is not None:
        for server in sentinels.servers:
            ask(server, "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all")
    options = {} if provider is None else {"credential_provider": provider}
    broker = Broker(client=client_of(sentinels, db=2, **options), group="g")
    got: list[int] = []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        users = ask(sentinels.primary, "CLIENT", "LIST").count("user=app")
        assert bool(users) == (provider is not None)
        await asyncio.to_thread(sentinels.failover)
        await broker.publish("orders", Order(2))
        await until(lambda: 2 in got)
    assert "db2:keys=" in ask(sentinels.primary, "INFO", "keyspace")


async def test_p24_a_client_of_replicas_is_refused(sentinels: SentinelSet) -> None:
    client = Sentinel([("127.0.0.1", sentinels.sentinels[0].port)]).slave_for(sentinels.service)
    with pytest.raises(ConfigError) as told:
        Broker(client=client, group="g")
    assert str(told.value) == "client: leads to replicas, which take no events; make it with Sentinel.master_for(...)"


async def test_a_client_of_a_cluster_has_its_startup_nodes_and_options() -> None:
    nodes = [ClusterNode("10.0.0.1", 1), ClusterNode("10.0.0.2", 2)]
    client = RedisCluster(startup_nodes=nodes, username="app", password="secret", ssl=True, ssl_ca_certs="/ca.pem")
    places = places_of(client, "1")
    assert (places.kind, places.seeds) == ("cluster", (Host("10.0.0.1", 1), Host("10.0.0.2", 2)))
    made: Any = places.to(Host("10.0.0.3", 3))()
    assert (made.host, made.port, made.username, made.password) == ("10.0.0.3", 3, "app", "secret")
    assert made.ssl_context.ca_certs == "/ca.pem"
    first: Any = places.to(None)()
    assert (first.host, first.port) == ("10.0.0.1", 1)
