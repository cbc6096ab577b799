"""Where a play takes place: a server or two, and the lines that lead there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.pairs.traits import Line

REPLICATING = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


class Place:
    """A primary, perhaps its replica, and what leads to the primary."""

    def __init__(self, primary: Server, replica: Server | None) -> None:
        self.primary = primary
        self.replica = replica
        self.lines: list[Proxy] = []
        self._clients: dict[int, Redis] = {}

    @property
    def look(self) -> Redis:
        """A client of the test's own, at the primary."""
        return self.client(self.primary)

    def client(self, server: Server) -> Redis:
        """A client of the test's own."""
        if server.port not in self._clients:
            self._clients[server.port] = Redis.from_url(server.url, protocol=2, decode_responses=True)
        return self._clients[server.port]

    async def begin(self) -> None:
        """Empty, and copied."""
        if self.replica is not None:
            if (await self.look.info("replication"))["role"] != "master":
                self.primary, self.replica = self.replica, self.primary
            await self.client(self.replica).replicaof("127.0.0.1", str(self.primary.port))
            await until(self._copied, 20, "the replica follows")
        await self.look.flushall()
        await self.look.script_flush()

    @asynccontextmanager
    async def limited(self, limits: Mapping[str, str]) -> AsyncIterator[None]:
        """Have the servers set limits."""
        servers = [server for server in (self.primary, self.replica) if server is not None]
        before = {name: (await self.look.config_get(name))[name] for name in limits}
        for server in servers:
            for name, value in limits.items():
                await self.client(server).config_set(name, value)
        try:
            yield
        finally:
            for server in servers:
                for name, value in before.items():
                    await self.client(server).config_set(name, value)

    async def close(self) -> None:
        """Of the clients."""
        for client in self._clients.values():
            await client.aclose()

    async def line(self, line: Line | None, stack: AsyncExitStack) -> str:
        """A URL that leads to the primary; where there is a replica, to whoever is the primary then."""
        if line is None and self.replica is None:
            return self.primary.url
        network = await stack.enter_async_context(proxy(self.primary.port))
        self.lines.append(network)
        if line is not None:
            network.delay(line.latency)
            network.drip_slowly(line.drip)
        return network.url

    async def fail_over(self) -> None:
        """Have the replica be the primary, with all that was written; the old one lives on as its replica.

        Connections to the old one stay as they are, new ones lead to the new one.
        """
        assert self.replica is not None
        old, new = self.primary, self.replica
        await self.client(old).client_pause(5000, all=False)
        await until(self._copied, 5, "the replica has all that was written")
        await self.client(new).replicaof("NO", "ONE")
        for network in self.lines:
            network.target = new.port
        await self.client(old).replicaof("127.0.0.1", str(new.port))
        await self.client(old).client_unpause()
        self.primary, self.replica = new, old

    async def _copied(self) -> bool:
        """Whether the replica has all that the primary has."""
        assert self.replica is not None
        there = await self.look.info("replication")
        here = await self.client(self.replica).info("replication")
        return (
            there["role"] == "master"
            and here.get("master_link_status") == "up"
            and here["slave_repl_offset"] == there["master_repl_offset"]
        )


def merged(lines: Sequence[Line]) -> Line | None:
    """One line that is all of these."""
    if not lines:
        return None
    return Line(
        max(line.latency for line in lines), max(line.drip for line in lines), all(line.of_both for line in lines)
    )


@asynccontextmanager
async def place(servers: Sequence[Server], *, twins: bool) -> AsyncIterator[Place]:
    """At the first server; with `twins`, at whichever of two is the primary now, beside its replica."""
    here = Place(servers[0], servers[1] if twins else None)
    try:
        await here.begin()
        yield here
    finally:
        await here.close()
