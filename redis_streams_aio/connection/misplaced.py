"""A plain URL, or a plain client, that leads to a server which is not all of Redis: refused, with the URL to use.

| `HELLO` says | it is | write instead |
|---|---|---|
| `mode: sentinel` | a Sentinel | `redis+sentinel://host:port/NAME/0`, with the names that it knows |
| `mode: cluster`, and other nodes have slots | a node of a Cluster | `redis+cluster://host:port` |
| `role: replica`, in step with its primary | a replica | the URL of its primary |

A Cluster of one shard is one server, as all keys live there: it works with both forms. A replica without a link to its
primary is not refused but waited for: a failover may be under way, and make it the primary.

Only opening looks. A server that becomes a replica later says so in its answers (verdicts.py).

When things fail: where a user may not ask (`NOPERM`), replicas and nodes of a Cluster are not refused here, but say in
their answers (`READONLY`, `MOVED`) what they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..exceptions import ConfigError, PermissionDeniedError
from .address import Address
from .hosts import Host
from .replies import Reply, Server, text

Ask = Callable[..., Awaitable[Reply]]


async def check(server: Server, address: Address | None, shown: str, ask: Ask) -> None:
    """Raise `ConfigError` where a server is only a part of Redis. `ask` sends a command there."""
    problem = None
    if server.mode == "sentinel":
        problem = _of_a_sentinel(address, await _asked(ask, "ROLE"))
    elif server.mode == "cluster":
        problem = _of_a_node(address, await _asked(ask, "CLUSTER", "SLOTS"))
    if problem is None and server.role == "replica":
        problem = _of_a_replica(address, await _asked(ask, "ROLE"))
    if problem is not None:
        raise ConfigError(f"{'client' if address is None else f'redis_url: {shown}'}: {problem}")


def _of_a_sentinel(address: Address | None, role: Reply) -> str:
    match role:
        case [_, [*known]] if known:
            names = " or ".join(map(text, known))
        case _:
            names = "NAME"
    return f"is a Sentinel; write {_url(address, 'sentinel', None)}/{names}/0"


def _of_a_node(address: Address | None, slots: Reply) -> str | None:
    primaries = primaries_in(slots)
    if len(primaries) < 2:  # a Cluster of one shard
        return None
    url = _url(address, "cluster", primaries[0])
    shards = f"is one node of a Cluster of {len(primaries)} shards"
    return f"{shards}; write {url}, or pass a redis.asyncio.RedisCluster as client"


def _of_a_replica(address: Address | None, role: Reply) -> str | None:
    primary = followed_in(role)
    if primary is None:
        return None
    plain = address.at(primary).shown if address is not None and address.hosts else f"redis://{primary.shown}"
    return (
        f"is a replica, which takes no events; write {plain}, its primary; behind Sentinels "
        "redis+sentinel://host:26379/NAME/0 follows it"
    )


def primaries_in(slots: Reply) -> list[Host]:
    """Return the primaries that a reply to `CLUSTER SLOTS` names, each once."""
    rows = slots if isinstance(slots, list) else []
    found = dict.fromkeys(
        Host(text(row[2][0]), row[2][1])
        for row in rows
        if isinstance(row, list) and isinstance(row[2], list) and isinstance(row[2][1], int)
    )
    return [*found]


def followed_in(role: Reply) -> Host | None:
    """Return the primary that a reply of a replica to `ROLE` names, if it is in step with it."""
    match role:
        case [b"slave", bytes(host), int(port), b"connected", _]:
            return Host(host.decode(), port)
    return None


async def _asked(ask: Ask, *command: str) -> Reply:
    """Return a reply; nothing where the user may not ask."""
    try:
        return await ask(*command)
    except PermissionDeniedError:
        return None


def _url(address: Address | None, kind: str, other: Host | None) -> str:
    """Return a URL of a kind with the host of the address, where it has one; without credentials."""
    host = address.hosts[0] if address is not None and address.hosts else other
    scheme = "rediss" if address is not None and address.scheme == "rediss" else "redis"
    hidden = "***@" if address is not None and "@" in address.shown else ""
    return f"{scheme}+{kind}://{hidden}{host.shown if host else 'host:port'}"
