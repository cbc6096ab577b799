"""`ClusterNodes`: the topology of a Redis Cluster, which is one node for each primary, and a map from slots to these.

The map is learned from a node that is asked for it (`CLUSTER SLOTS`) when the connection opens. A watch asks again
every minute, and soon after anything that shows that the map is old: `MOVED`, a refusal, a connection that does not
come about, a new one, a command without an answer. It asks one time after the other, at least `COOLDOWN`
apart, however many ask for it, and every `AWAY` seconds while a node is away: links and readers may try it more and
more seldom. `MOVED` moves its slot at once, without waiting for the map.

A node that has no slots in a new map is *left*: nothing new is sent on its connections, dialling it is refused with
`WrongNodeError`, which sends commands that wait there to the owner, and connections that are open have a moment for
answers that are under way, then they are ended: a primary that is frozen would keep a blocked read for ever. A node
that gets slots, or that a redirect names, is one like others: a new node is named before it has its first slot.

When things fail: no node answers -> the last map holds, and the watch goes on. A slot that nobody has keeps its last
owner, which answers `CLUSTERDOWN`: commands are repeated until it has one. Nodes fail each for itself: no lock and no
queue is shared, so that the others go on.

Links and readers of several event loops dial here: what is stored is replaced as a whole, and the open connections are
kept under a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from threading import Lock, get_ident
from typing import Self
from weakref import WeakKeyDictionary

from ...exceptions import RedisStreamsError, RedisUnavailableError, WrongNodeError
from ..dial import dial, dial_while
from ..home import Home, Socket
from ..hosts import Host
from ..node import Dialled, Node
from ..packing import Argument
from ..places import Places
from ..verdicts import Move, Verdict, verdict
from ..wire.line import drop
from .asking import ask_first
from .slots import SLOTS, Range, ranges, replicas, slot_of

COOLDOWN = 0.2
"""Seconds between two looks at the map."""
PERIOD = 60.0
"""Seconds after which the map is looked at in any case."""
AWAY = 0.4
"""Seconds between two looks while a node is away."""
GRACE = 0.3
"""Seconds for answers of a node that was left."""


class ClusterNodes:
    """The primaries of a Cluster."""

    only = None

    def __init__(self, places: Places, patience: float, where: str) -> None:
        self._places = places
        self._patience = patience
        self._where = where
        self._nodes: dict[Host, Node] = {}
        self._owners: list[Node] = [self._node(places.seeds[0])] * SLOTS
        self._ranges: tuple[Range, ...] = ()
        self._primaries: frozenset[Host] = frozenset()
        self._left: frozenset[Host] = frozenset()
        self._away: set[Host] = set()
        self._order: tuple[Host, ...] = places.seeds
        self.version: int = 0
        """How often another map was learned."""
        self._open: WeakKeyDictionary[Socket, tuple[Host, asyncio.AbstractEventLoop]] = WeakKeyDictionary()
        self._lock = Lock()
        self._home = Home()
        self._wanted = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looked_at = 0.0

    # -- what is where ----------------------------------------------------------------------------------------

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes that have slots."""
        return (*dict.fromkeys(self._owners),)

    def node_of(self, key: Argument | None = None) -> Node:
        """Return the node that has a key; without a key always the same one."""
        return self._owners[0 if key is None else slot_of(key)]

    def target(self, move: Move) -> Node:
        """Return the node that a redirect names. Without a host, it is on that of the node that said the map."""
        host = Host(move.host or self._order[0].host, move.port)
        self._left -= {host}
        return self._node(host)

    def after(self, error: WrongNodeError) -> Verdict | Move:
        """Return what an error means, and learn where a slot has moved."""
        said = verdict(error)
        if isinstance(said, Move) and not said.asking:
            self._owners[said.slot] = self.target(said)
        self.look()
        return said

    def _node(self, host: Host) -> Node:
        if (node := self._nodes.get(host)) is None:
            where = f"{self._where}: {host.shown}"
            node = self._nodes[host] = Node(partial(self._dial, host), self.after, where, silent=self.look)
        return node

    # -- connections ------------------------------------------------------------------------------------------

    async def _dial(self, host: Host) -> Dialled:
        if not self._serves(host):
            raise self._without_slots(host)
        self._away.add(host)  # a server that is frozen takes connections, and does not answer
        self.look()
        try:
            dialling = dial(self._places.to(host), self._patience, f"{self._where}: {host.shown}")
            dialled = await dial_while(partial(self._serves, host), dialling)
        except RedisUnavailableError:
            raise
        except BaseException:
            self._away.discard(host)
            raise
        self._away.discard(host)
        if dialled is None:
            raise self._without_slots(host)
        with self._lock:
            self._open[dialled[0]] = host, asyncio.get_running_loop()
        return dialled

    def _serves(self, host: Host) -> bool:
        return host not in self._left

    def _without_slots(self, host: Host) -> WrongNodeError:
        return WrongNodeError(f"{self._where}: {host.shown} has no slots now")

    def _leave(self, hosts: frozenset[Host]) -> None:
        """End the connections to nodes that have no slots any more."""
        for host in hosts:
            self._node(host).moved()
        with self._lock:
            connections = [(each, loop) for each, (host, loop) in self._open.items() if host in hosts]
        for connection, loop in connections:
            with suppress(RuntimeError):  # its loop is closed, and the connection with it
                loop.call_soon_threadsafe(loop.call_later, GRACE, drop, connection, "the node has no slots now")

    # -- the map ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Self]:
        """Look at the map in the running event loop, now and then and whenever it is wanted."""
        name = f"redis_streams_aio map of {self._where}"
        watch = asyncio.create_task(self._watch(), name=name, context=Context())
        try:
            yield self
        finally:
            if self._home.is_gone:
                self._home.keep(watch)
            else:
                watch.cancel()
                await asyncio.wait((watch,))

    async def learn(self) -> Dialled:
        """Learn the map, and return the connection to the node that said it. Raises `RedisUnavailableError`, ..."""
        dialled, host, reply = await ask_first(self._places.to, self._order, self._where, "CLUSTER", "SLOTS")
        self._take(ranges(reply, host), host, replicas(reply, host))
        return dialled

    async def refresh(self) -> int:
        """Look at the map now, and return its version. Raises `RedisUnavailableError` if no node answers."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._looked_at + COOLDOWN - loop.time()))
            self._looked_at = loop.time()
            connection, _ = await self.learn()
            await connection.disconnect(nowait=True)
        return self.version

    def look(self) -> None:
        """Have the watch look at the map soon. Can be called from any thread."""
        if self._home.thread == get_ident():
            self._wanted.set()
        else:
            with suppress(RuntimeError):
                self._home.loop.call_soon_threadsafe(self._wanted.set)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AWAY if self._away else PERIOD):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.refresh()
            except RedisStreamsError:
                await asyncio.sleep(COOLDOWN)
                self._wanted.set()  # links and readers say what is wrong

    def _take(self, found: Sequence[Range], said_by: Host, others: Sequence[Host] = ()) -> None:
        """Replace the map. Replicas (`others`) are asked for the next one too: all owners may move while we sleep."""
        owning = (each.owner for each in found)
        self._order = tuple(dict.fromkeys((said_by, *owning, *others, *self._places.seeds)))
        if tuple(found) == self._ranges and self.version:
            return
        owners = list(self._owners)
        for first, last, owner in found:
            owners[first : last + 1] = [self._node(owner)] * (last + 1 - first)
        before, self._primaries = self._primaries, frozenset(each.owner for each in found)
        self._ranges, self._owners = tuple(found), owners
        without = frozenset(host for host in before - self._primaries if self._node(host) not in owners)
        self._left = (self._left | without) - self._primaries
        self._away -= self._left
        self.version += 1
        self._leave(without)
