"""The faults of the table: each takes the ground that it happens on, and returns when the servers are through with it.

A fault ends when the servers have done what they do about it; what is broken is mended after the measurement.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.proxy import Proxy
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server

CUT = 3.0
"""Seconds."""


class Ground(NamedTuple):
    """Where a fault happens: servers of some topology, the stream that is hit, and a network before its node."""

    where: Server | SentinelSet | Cluster
    stream: str
    network: Proxy | None = None

    @property
    def cluster(self) -> Cluster:
        """The Cluster. Raises `TypeError` on other ground."""
        if not isinstance(self.where, Cluster):
            raise TypeError(f"{self.where} is not a Cluster")
        return self.where


Act = Callable[[Ground], Awaitable[None]]


class Kind(NamedTuple):
    """A kind of fault, in words of the table."""

    words: str
    act: Act
    servers: str = ""
    """Only on servers whose kind begins so."""
    all_hit: bool = False
    """Whether it hits all shards."""


async def _restart(ground: Ground) -> None:
    assert isinstance(ground.where, Server)
    await asyncio.to_thread(ground.where.restart, signal.SIGKILL)


async def _failover(ground: Ground) -> None:
    where = ground.where
    if isinstance(where, SentinelSet):
        await asyncio.to_thread(where.failover)
    else:
        await asyncio.to_thread(ground.cluster.failover, ground.stream)


async def _kill(ground: Ground) -> None:
    where = ground.where
    if isinstance(where, SentinelSet):
        await asyncio.to_thread(where.until_promoted, await asyncio.to_thread(where.kill))
    else:
        killed = await asyncio.to_thread(ground.cluster.kill, ground.stream)
        await asyncio.to_thread(ground.cluster.until_promoted, ground.stream, killed)


async def _freeze(ground: Ground) -> None:
    where = ground.where
    if isinstance(where, SentinelSet):
        await asyncio.to_thread(where.until_promoted, await asyncio.to_thread(where.freeze))
    else:
        frozen = await asyncio.to_thread(ground.cluster.freeze, ground.stream)
        await asyncio.to_thread(ground.cluster.until_promoted, ground.stream, frozen)


def _elsewhere(ground: Ground) -> Server:
    owner = ground.cluster.owner_of(ground.stream)
    return next(each for each in ground.cluster.primaries if each is not owner)


async def _migrate(ground: Ground) -> None:
    to = await asyncio.to_thread(_elsewhere, ground)
    migration = await asyncio.to_thread(ground.cluster.migration, ground.cluster.slot_of(ground.stream), to)
    for step in (migration.begin, migration.move, migration.finish):
        await asyncio.to_thread(step)
        await asyncio.sleep(0.3)  # reads block on both sides of each step


async def _migrate_at_once(ground: Ground) -> None:
    to = await asyncio.to_thread(_elsewhere, ground)
    await asyncio.to_thread(ground.cluster.migrate_at_once, ground.cluster.slot_of(ground.stream), to)


async def _add_node(ground: Ground) -> None:
    added = await asyncio.to_thread(ground.cluster.add_node)
    await asyncio.to_thread(ground.cluster.migrate, ground.cluster.slot_of(ground.stream), added)


async def _new_ports(ground: Ground) -> None:
    await asyncio.to_thread(ground.cluster.move_to_new_ports)


async def _cut(ground: Ground) -> None:
    assert ground.network is not None
    ground.network.partition()
    await asyncio.sleep(CUT)
    await ground.network.heal()


_ORDER = Kind("failover by order", _failover)
_KILL = Kind("primary killed (SIGKILL)", _kill)
_FREEZE = Kind("primary frozen (SIGSTOP)", _freeze)

FAULTS: dict[str, dict[str, Kind]] = {
    "one": {"restart": Kind("killed and started again", _restart)},
    "sentinel": {"order": _ORDER, "kill": _KILL, "freeze": _FREEZE},
    "cluster": {
        "order": _ORDER,
        "kill": _KILL,
        "freeze": _FREEZE,
        "migrate": Kind("slot migrated key by key", _migrate),
        "migrate_at_once": Kind("slot migrated at once", _migrate_at_once, servers="valkey-9"),
        "add_node": Kind("node added, slot moved to it", _add_node),
        "cut": Kind(f"network cut for {CUT:g} s", _cut),
        "new_ports": Kind("all nodes on new ports, one by one", _new_ports, all_hit=True),
    },
}
"""By topology and name."""
