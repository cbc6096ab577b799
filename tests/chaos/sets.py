"""Faults of servers behind Sentinels and of Clusters: failovers, migrations, new nodes and ports, one node cut off.

A fault hits the shard of a line, and is over when the servers are well again. A primary that is killed or frozen may
take the last writes with it: that is what Redis promises. So all entries that are there in the end are noted as kept,
and the verdict excuses the loss of others, if they were acknowledged while such a fault went on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server
from tests.chaos import look
from tests.chaos.client import client, together
from tests.chaos.look import Seen
from tests.chaos.schedule import Fault
from tests.chaos.stage import Stage
from tests.chaos.workload import LINES, PUBLISHED

KEPT = 5
"""Entries that XTRIM leaves."""

Taken = Callable[[dict[str, Seen], dict[str, Seen]], None]


class SetFaults:
    """The steps of a nemesis on a set of servers."""

    def __init__(self, where: SentinelSet | Cluster, stage: Stage, note_taken: Taken) -> None:
        self._where = where
        self._stage = stage
        self._note_taken = note_taken
        self._added: Server | None = None
        self.steps: dict[str, Callable[[Fault], Awaitable[None]]] = {
            "client_kill": self._client_kill,
            "trim": self._trim,
            "failover": self._failover,
            "order_sentinels": self._order_sentinels,
            "kill_primary": self._kill,
            "freeze_primary": self._freeze,
            "migrate": self._migrate,
            "reshard": self._reshard,
            "new_ports": self._new_ports,
            "cut_node": self._cut,
        }

    # -- where lines are --------------------------------------------------------------------------------------

    def _owner(self, line: str) -> Server:
        where = self._where
        return where.primary if isinstance(where, SentinelSet) else where.owner_of(LINES[line].stream)

    @property
    def _cluster(self) -> Cluster:
        if isinstance(self._where, SentinelSet):
            raise TypeError("Sentinels have no slots")
        return self._where

    async def look(self) -> dict[str, Seen]:
        """What Redis has now, line by line."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        for name in LINES:
            seen |= look.parse(ask(self._owner(name), *look.command(name)), (name,))
        return seen

    def kept(self) -> Iterable[tuple[str, str, str]]:
        """Line, id and event's name of each entry that Redis has."""
        for name in PUBLISHED:
            for entry_id, fields in ask(self._owner(name), "XRANGE", LINES[name].stream, "-", "+"):
                yield name, entry_id, look.event_name(fields)

    # -- the steps --------------------------------------------------------------------------------------------

    async def _client_kill(self, _fault: Fault) -> None:
        servers = self._where.servers if isinstance(self._where, SentinelSet) else self._where.nodes
        for server in servers:
            await asyncio.to_thread(ask, server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _trim(self, fault: Fault) -> None:
        name = fault.target
        watching = look.command(name)
        async with client((await asyncio.to_thread(self._owner, name)).url) as redis:
            trim = ("XTRIM", LINES[name].stream, "MAXLEN", KEPT)
            before, _, after = await together(redis, watching, trim, watching)
        self._note_taken(look.parse(before, (name,)), look.parse(after, (name,)))

    async def _failover(self, fault: Fault) -> None:
        await asyncio.to_thread(self._cluster.failover, LINES[fault.target].stream)
        await asyncio.to_thread(self._cluster.until_well)

    async def _order_sentinels(self, _fault: Fault) -> None:
        """Sentinels promote a replica first, and tell the old primary later: what it is given meanwhile is lost."""
        if isinstance(self._where, SentinelSet):
            await asyncio.to_thread(self._where.failover)
            await asyncio.to_thread(self._where.until_well)

    async def _kill(self, fault: Fault) -> None:
        await self._lose(fault, SentinelSet.kill, Cluster.kill)

    async def _freeze(self, fault: Fault) -> None:
        await self._lose(fault, SentinelSet.freeze, Cluster.freeze)

    async def _lose(
        self, fault: Fault, of_set: Callable[[SentinelSet], Server], of_cluster: Callable[[Cluster, str], Server]
    ) -> None:
        where, stream = self._where, LINES[fault.target].stream
        if isinstance(where, SentinelSet):
            harmed = await asyncio.to_thread(of_set, where)
            await asyncio.to_thread(where.until_promoted, harmed)
        else:
            harmed = await asyncio.to_thread(of_cluster, where, stream)
            await asyncio.to_thread(where.until_promoted, stream, harmed)
        await asyncio.sleep(fault.length)
        await asyncio.to_thread(where.revive, harmed)

    async def _migrate(self, fault: Fault) -> None:
        """The slot of a line, to a primary that has a replica: what it has may be lost with it otherwise."""
        owner = await asyncio.to_thread(self._owner, fault.target)
        others = [each for each in self._cluster.primaries if each not in (owner, self._added)]
        await self._step_by_step(fault, others[0])

    async def _step_by_step(self, fault: Fault, to: Server) -> None:
        slot = self._cluster.slot_of(LINES[fault.target].stream)
        migration = await asyncio.to_thread(self._cluster.migration, slot, to)
        for step in (migration.begin, migration.move, migration.finish):
            await asyncio.sleep(fault.length / 3)
            await asyncio.to_thread(step)
        await asyncio.to_thread(self._cluster.until_well)

    async def _reshard(self, fault: Fault) -> None:
        """To a node that is added, and back."""
        owner = await asyncio.to_thread(self._owner, fault.target)
        if self._added is None:
            self._added = await asyncio.to_thread(self._cluster.add_node)
            await self._stage.stand_before_nodes()
        await self._step_by_step(fault, self._added)
        await asyncio.sleep(fault.length)
        await self._step_by_step(fault, owner)

    async def _new_ports(self, _fault: Fault) -> None:
        await asyncio.to_thread(self._cluster.move_to_new_ports)
        await self._stage.stand_before_nodes()

    async def _cut(self, fault: Fault) -> None:
        """Cut the network of the node that has the line."""
        owner = await asyncio.to_thread(self._owner, fault.target)
        network = self._stage.of_nodes[owner.port]
        network.partition()
        await asyncio.sleep(fault.length)
        await network.heal()
        await asyncio.to_thread(self._cluster.until_well)
