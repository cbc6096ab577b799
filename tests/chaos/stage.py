"""The stage of a run: a server, a proxy and a process for each of the cast, started here and ended here.

A process that ends by itself is started again, and that is noted as `crashed`: nothing that happens to it may end it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server
from tests.chaos.history import History
from tests.chaos.schedule import Topology
from tests.chaos.workload import CONSUMERS, PROCESSES, PRODUCERS

_HERE = __package__
DRAIN = 20.0
"""Seconds that a process has to end after SIGTERM."""


class Actor:
    """One of the cast: at most one process at a time, each life with a history of its own."""

    def __init__(self, name: str, url: Callable[[], str], folder: Path, history: History, seed: int) -> None:
        self.name = name
        self._url = url
        self._folder = folder
        self._history = history
        self._more = (str(seed),) if name in PRODUCERS else ()
        self._life = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin a life."""
        self._life += 1
        role = "producer" if self.name in PRODUCERS else "consumer"
        with (self._folder / f"{self.name}.{self._life}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"{_HERE}.{role}",
                *(self._url(), self.name, str(self._life), str(self._folder), *self._more),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watching = asyncio.create_task(self._watch(self._process))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if self._process is process:  # nobody here has ended it
            self._history.note("crashed", name=f"{self.name}.{self._life}", detail=f"exit code {code}")
            await self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    def tell(self, command: str) -> None:
        """Give it a command (see `child`)."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{command}\n".encode())

    async def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
        await self._ended(process)

    async def drain(self) -> bool:
        """End it with SIGTERM; whether it ended well, and in time."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return True
        process.terminate()
        try:
            async with asyncio.timeout(DRAIN):
                return await process.wait() == 0 or not self._has_begun
        except TimeoutError:
            process.kill()
            return False
        finally:
            await self._ended(process)

    @property
    def _has_begun(self) -> bool:
        """Whether this life has noted anything. Before that nobody listens to signals, and SIGTERM simply ends it."""
        notes = self._folder / f"{self.name}.{self._life}.jsonl"
        return notes.exists() and notes.stat().st_size > 0

    async def _ended(self, process: asyncio.subprocess.Process | None) -> None:
        if process is not None:
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._watching is not None:
            await self._watching


Where = Server | SentinelSet | Cluster


class Stage:
    """What a run takes place on."""

    def __init__(
        self,
        where: Where,
        networks: dict[str, Proxy],
        actors: dict[str, Actor],
        history: History,
        stack: AsyncExitStack,
    ) -> None:
        self.where = where
        self.networks = networks
        """Before each process, if there is one server."""
        self.actors = actors
        self.history = history
        self.of_nodes: dict[int, Proxy] = {}
        """Before each node of a Cluster, by the node's port."""
        self._stack = stack

    @property
    def server(self) -> Server:
        """The one server. Raises `TypeError` where there are several."""
        if not isinstance(self.where, Server):
            raise TypeError(f"{self.where} is not one server")
        return self.where

    def url_of(self, name: str) -> Callable[[], str]:
        """The URL of a process, as it is when a life begins: nodes may have moved."""
        return lambda: self.networks[name].url if self.networks else self.where.url

    async def stand_before_nodes(self) -> None:
        """Have a proxy before each node of a Cluster that has none, and the nodes announce them."""
        if isinstance(self.where, Cluster):
            for node in [node for node in self.where.nodes if node.port not in self.of_nodes]:
                self.of_nodes[node.port] = await self._stack.enter_async_context(proxy(node.port))
                await asyncio.to_thread(self.where.announce, node, self.of_nodes[node.port].port)

    async def drain(self, names: tuple[str, ...]) -> None:
        """End some of the cast with SIGTERM, all at once; one that does not end well is noted as `crashed`."""
        ended = await asyncio.gather(*(self.actors[name].drain() for name in names))
        for name, well in zip(names, ended, strict=True):
            if not well:
                self.history.note("crashed", name=name, detail="did not end well after SIGTERM")


@asynccontextmanager
async def set_up(topology: Topology, kind: str, folder: Path, seed: int, history: History) -> AsyncIterator[Stage]:
    """Servers, proxies, and all processes; gone at the end. Raises `LookupError`."""
    where = _MADE[topology](kind)
    async with AsyncExitStack() as stack:
        stack.callback(where.remove)
        await asyncio.to_thread(where.start)
        networks: dict[str, Proxy] = {}
        if isinstance(where, Server):
            networks = {name: await stack.enter_async_context(proxy(where.port)) for name in PROCESSES}
        stage = Stage(where, networks, {}, history, stack)
        await stage.stand_before_nodes()
        stage.actors = {name: Actor(name, stage.url_of(name), folder, history, seed) for name in PROCESSES}
        for name in (*CONSUMERS, *PRODUCERS):
            stack.push_async_callback(stage.actors[name].kill)
            await stage.actors[name].start()
        yield stage


_MADE: dict[Topology, Callable[[str], Where]] = {
    "one": lambda kind: Server(kind=kind, appendonly=True),
    "sentinel": SentinelSet,
    "cluster": Cluster,
}
