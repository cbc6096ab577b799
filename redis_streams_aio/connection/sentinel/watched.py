"""`WatchedNode`: the topology behind Sentinels, which is one node whose server changes.

Each connection asks the Sentinels where the primary is, connects there, and believes it only when `HELLO` says
`role: master`. A watch listens to a Sentinel meanwhile. When it tells of another primary:

1. The node's turn ends: nothing new is sent on connections to the old primary, and dialling it is given up.
2. The next connections are made without waiting, to the server that was told, and without asking the others, which may
   not know it yet.
3. Connections to the old primary have a moment for answers that are under way, then they are closed: a primary that
   is frozen, or cut off, would keep a blocked read for ever.

When things fail: no Sentinel answers, or the server that they name is away or not a primary -> `RedisUnavailableError`,
and the backoff of the node, as for any server that is away; a message of the watch ends that wait. A name that the
Sentinels do not know, or refused credentials, are raised as they are at opening; once there was a primary, an unknown
name is an outage like others: Sentinels that were just set up do not know it yet.

Links and readers of several event loops dial here: what is stored is replaced as a whole, and the open connections
are kept under a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from threading import Lock
from time import monotonic
from typing import Self
from weakref import WeakKeyDictionary

from ...exceptions import RedisUnavailableError, WrongNodeError
from ...telemetry.logs import log
from ..dial import dial, dial_while
from ..home import Home, Socket
from ..hosts import Host
from ..node import Dialled, Node
from ..packing import Argument
from ..places import Places
from ..topology import here_or_redial
from ..verdicts import Move, Verdict
from ..wire.line import drop
from .finding import Finder, UnknownServiceError
from .watch import Watch

GRACE = 0.3
"""Seconds for answers of the old primary that are under way."""
TOLD_FOR = 3.0
"""Seconds for which a message about a new primary is believed without asking."""


class WatchedNode:
    """The primary that Sentinels name."""

    def __init__(self, places: Places, patience: float, where: str) -> None:
        self.only: Node = Node(self._dial, self.after, where)
        self._places = places
        self._patience = patience
        self._finder = Finder(places, where)
        self._primary: Host | None = None
        """The server of the last connection."""
        self._told: tuple[Host, float] | None = None
        self._open: WeakKeyDictionary[Socket, asyncio.AbstractEventLoop] = WeakKeyDictionary()
        self._lock = Lock()

    @property
    def nodes(self) -> Sequence[Node]:
        """The node."""
        return (self.only,)

    def node_of(self, key: Argument | None = None) -> Node:  # noqa: ARG002  # all keys live there
        """Return the node."""
        return self.only

    def after(self, error: WrongNodeError) -> Verdict | Move:
        """Return what an error means; another server may be the primary by now."""
        return here_or_redial(error)

    def target(self, move: Move) -> Node:  # noqa: ARG002  # there is no other one
        """Return the node."""
        return self.only

    async def refresh(self) -> int:
        """Return 0: all keys live in one place."""
        return 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen to the Sentinels in the running event loop."""
        watch = Watch(self._places, self._finder, self.moved)
        name = f"redis_streams_aio Sentinels of {self.only.where}"
        listening = asyncio.create_task(watch.run(), name=name, context=Context())
        home = Home()
        try:
            yield self
        finally:
            await _end(listening, home)

    def moved(self, primary: Host) -> None:
        """Learn which server is the primary. Connections to another one are given up."""
        if primary == self._primary or self._primary is None:
            return
        log.warning("%s: the primary is %s now, no longer %s", self.only.where, primary.shown, self._primary.shown)
        self._told = (primary, monotonic() + TOLD_FOR)
        with self._lock:
            connections = [*self._open.items()]
        self.only.moved()
        for connection, loop in connections:
            with suppress(RuntimeError):  # its loop is closed, and the connection with it
                loop.call_soon_threadsafe(loop.call_later, GRACE, drop, connection, "another server is the primary now")

    async def _dial(self) -> Dialled:
        """Connect to the primary; begin again when there is another one meanwhile."""
        while True:
            turn = self.only.turn
            if (dialled := await dial_while(partial(self._is_turn, turn), self._dial_once())) is not None:
                return dialled

    def _is_turn(self, turn: int) -> bool:
        return turn == self.only.turn

    async def _dial_once(self) -> Dialled:
        primary = await self._find()
        where = f"{self.only.where}: {primary.shown}"
        try:
            dialled = await dial(self._places.to(primary), self._patience, where)
        except RedisUnavailableError:
            self._told = None
            raise
        connection, server = dialled
        if server.role != "master":
            await connection.disconnect(nowait=True)
            self._told = None
            self._finder.was_wrong()
            raise RedisUnavailableError(f"{where} is not a primary, though a Sentinel says so: it is a {server.role}")
        self._primary = primary
        with self._lock:
            self._open[connection] = asyncio.get_running_loop()
        return dialled

    async def _find(self) -> Host:
        told = self._told
        if told is not None and monotonic() < told[1]:
            return told[0]
        try:
            return await self._finder.find()
        except UnknownServiceError as error:
            if self._primary is None:
                raise
            raise RedisUnavailableError(str(error)) from None


async def _end(listening: asyncio.Task[None], home: Home) -> None:
    """Stop listening. Raises the bug that has ended it before."""
    if home.is_gone:  # and the task with it
        home.keep(listening)
        return
    listening.cancel()
    await asyncio.wait((listening,))
    if not listening.cancelled():
        listening.result()
