"""Clients: from a redis-py client that a user has to the `Places` that it leads to.

| client | kind |
|---|---|
| `redis.asyncio.Redis` | `one`: where its pool connects to |
| `Sentinel(...).master_for(...)` | `sentinel`: its Sentinels, each as it is configured, and its service |
| `redis.asyncio.RedisCluster` | `cluster`: its startup nodes |

A client is only read for its configuration: addresses, credentials and their providers, TLS. The connections are ours
(endpoints.py), and so are the ways of finding a primary and a node. Imported late: it imports redis-py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from ..exceptions import ConfigError
from .credentials import at_home
from .endpoints import connections
from .hosts import Host
from .places import Places
from .wire.line import Factory

Client = Redis | RedisCluster
_Options = Mapping[str, Any]

_OF_THE_CLIENT = frozenset(("connection_pool", "redis_connect_func", "response_callbacks"))
"""Options with which connections belong to a pool of Sentinels, or to a client of a Cluster."""


def check(client: object) -> None:
    """Raise `ConfigError` for what cannot be used as a client."""
    if isinstance(client, RedisCluster):
        return
    if not isinstance(client, Redis):
        kind = client if isinstance(client, type) else type(client)
        got = f"the class {kind.__qualname__}" if client is kind else f"{kind.__module__}.{kind.__qualname__}"
        hint = "; a client that blocks cannot be used" if kind.__module__.startswith("redis.") else ""
        raise ConfigError(f"client: expected a redis.asyncio.Redis or RedisCluster, got {got}{hint}")
    if isinstance(client.connection_pool, SentinelConnectionPool) and not client.connection_pool.is_master:
        raise ConfigError("client: leads to replicas, which take no events; make it with Sentinel.master_for(...)")


def places_of(client: Client, version: str) -> Places:
    """Return the places that a client leads to. Called in the event loop that uses them."""
    if isinstance(client, RedisCluster):
        return _of_a_cluster(client, version)
    if isinstance(client.connection_pool, SentinelConnectionPool):
        return _of_sentinels(client.connection_pool, version)
    pool = client.connection_pool
    make = connections(pool.connection_class, at_home(pool.connection_kwargs), version)
    return Places("one", (), lambda _: make)


def _of_a_cluster(client: RedisCluster, version: str) -> Places:
    seeds = tuple(Host(str(node.host), int(node.port)) for node in client.startup_nodes)
    first = client.startup_nodes[0]
    return Places("cluster", seeds, _to(first.connection_class, first.connection_kwargs, seeds[0], version))


def _of_sentinels(pool: SentinelConnectionPool, version: str) -> Places:
    pools = [each.connection_pool for each in pool.sentinel_manager.sentinels]
    made = {
        _host_of(each): connections(each.connection_class, at_home(each.connection_kwargs), version) for each in pools
    }
    seeds = tuple(made)
    plain = SSLConnection if issubclass(pool.connection_class, SSLConnection) else Connection
    to = _to(plain, pool.connection_kwargs, seeds[0], version)
    return Places("sentinel", seeds, to, made.__getitem__, str(pool.service_name))


def _to(kind: type[AbstractConnection], options: _Options, first: Host, version: str) -> partial[Factory]:
    """Return how connections to a host are made, with the options of a client."""
    theirs = at_home({name: value for name, value in options.items() if name not in _OF_THE_CLIENT})
    return partial(_connections_to, kind, theirs, first, version)


def _connections_to(
    kind: type[AbstractConnection], options: _Options, first: Host, version: str, host: Host | None
) -> Factory:
    where = host or first
    return connections(kind, {**options, "host": where.host, "port": where.port}, version)


def _host_of(pool: ConnectionPool) -> Host:
    return Host(str(pool.connection_kwargs["host"]), int(pool.connection_kwargs["port"]))
