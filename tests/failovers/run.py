"""One run: servers are started, traffic goes through a fault, and the judge says what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server
from tests.failovers.faults import FAULTS, Ground
from tests.failovers.judge import AFTER, Fault, Outcome, judge
from tests.failovers.traffic import Traffic

BEFORE = 3.0
"""Seconds of traffic before the fault."""
SETTLE = 15.0
"""Seconds in which what was acknowledged has to be handled, after the last event was published."""
STREAMS = 6


def start(topology: str, server: str) -> Server | SentinelSet | Cluster:
    """Start what a run takes place on. Raises `LookupError` where there is no such server."""
    if topology == "one":
        return Server(kind=server, appendonly=True).start()
    return (SentinelSet if topology == "sentinel" else Cluster)(server).start()


def _streams(where: Server | SentinelSet | Cluster) -> tuple[list[str], list[str]]:
    """Return all streams, and those that are on the same node as the first."""
    streams = [f"events-{number}" for number in range(STREAMS)]
    if isinstance(where, Cluster):
        owner = where.owner_of(streams[0])
        return streams, [stream for stream in streams if where.owner_of(stream) is owner]
    return streams, streams


def _hit_by(name: str, where: Server | SentinelSet | Cluster) -> tuple[list[str], Sequence[str]]:
    streams, on_the_node = _streams(where)
    if name in ("migrate", "migrate_at_once", "add_node"):
        return streams, streams[:1]
    return streams, streams if name == "new_ports" else on_the_node


@asynccontextmanager
async def _ground(name: str, where: Server | SentinelSet | Cluster, stream: str) -> AsyncIterator[Ground]:
    """The ground of a fault; for a cut with a network before the node, which tells all to come by way of it."""
    async with AsyncExitStack() as stack:
        if name != "cut" or not isinstance(where, Cluster):
            yield Ground(where, stream)
            return
        owner = where.owner_of(stream)
        network = await stack.enter_async_context(proxy(owner.port))
        await asyncio.to_thread(where.announce, owner, network.port)
        yield Ground(where, stream, network)


async def run(topology: str, server: str, name: str) -> Outcome:
    """Go through one fault on servers of its own."""
    where = await asyncio.to_thread(start, topology, server)
    try:
        return await _measure(name, where, FAULTS[topology][name].act)
    finally:
        await asyncio.to_thread(where.remove)


async def _measure(name: str, where: Server | SentinelSet | Cluster, act) -> Outcome:  # type: ignore[no-untyped-def]
    streams, hit = _hit_by(name, where)
    async with _ground(name, where, streams[0]) as ground, Traffic(where.url, streams) as traffic:
        await asyncio.sleep(BEFORE)
        began = time.monotonic()
        await act(ground)
        fault = Fault(began, time.monotonic(), hit)
        await asyncio.sleep(AFTER)
        await traffic.stop(SETTLE)
    kept = {stream: await asyncio.to_thread(_ids, where, stream) for stream in streams}
    return judge(fault, traffic.published, traffic.handled, kept)


def _ids(where: Server | SentinelSet | Cluster, stream: str) -> set[str]:
    """Return the ids of a stream's entries, from its primary."""
    if isinstance(where, Cluster):
        where = where.owner_of(stream)
    elif isinstance(where, SentinelSet):
        where = where.primary
    return {entry_id for entry_id, _ in ask(where, "XRANGE", stream, "-", "+")}
