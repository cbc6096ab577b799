"""`Connection`: the door to Redis, as the roles see it.

It owns the endpoint (and the embedded server, where it is one), a few shared links told apart by purpose so that a
big reply or a queue of publishes never delays a lease, and the readers, one for each subscription. It is opened
once, and closes all that it opened; the client that a user passed in is only read for its configuration, and never
used or closed.

It belongs to the event loop and the process that opened it (`Home`), and is refused to others. Where these are gone
(the loop was closed without closing it, or this is a forked child), it can be opened again: what it had is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..checks import values
from ..exceptions import (
    NotOpenError,
    PermissionDeniedError,
    ServerError,
    StreamNotFoundError,
    StreamTypeError,
)
from ..version import __version__
from .home import Home
from .links import Links, Purpose
from .naming import about_script, key_of, with_keys, with_stream
from .node import Dialled, Node
from .packing import Argument, Command
from .replies import Answer, Reply, Server
from .spreading import spread
from .steps.script import Script
from .topology import OneNode, Topology

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from .address import Address
    from .link import Link
    from .places import Places
    from .reader import Reader
    from .verdicts import Move


class Connection:
    """Connections to one Redis, Valkey, embedded server or fakeredis.

    `async with Connection("redis://localhost:6379/0") as connection:` opens and closes it. Opening waits for
    Redis, with backoff and a line in the log for each try, for `connect_timeout` seconds or (default) as long as
    it takes.

    Raises `ConfigError` for a wrong URL or option at once, and when opening: `ConfigError` for a server that is only a
    part of Redis (a replica, a Sentinel, one node of several), `AuthenticationFailedError`, `UnsupportedServerError` at
    once, `RedisUnavailableError` after `connect_timeout`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | RedisCluster | None = None,
        connect_timeout: float | None = None,
        command_timeout: float = 10.0,
    ) -> None:
        from .opening import address_of  # noqa: PLC0415  # not needed by programs that only import us

        self._address: Address | None = address_of(url, client, __version__)
        self._client = client
        self._connect_timeout = connect_timeout
        if connect_timeout is not None:
            self._connect_timeout = values.seconds("connect_timeout", connect_timeout)
        self._command_timeout: float = values.seconds("command_timeout", command_timeout)
        self._stack = AsyncExitStack()
        self._places: Places | None = None
        self._home: Home | None = None
        self._lead_to(OneNode(self._dial, self.shown))
        self._readers: set[Reader] = set()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect; see the class."""
        from .dial import first_contact  # noqa: PLC0415  # not needed by programs that only import us
        from .leading import open_topology  # noqa: PLC0415
        from .misplaced import check  # noqa: PLC0415
        from .opening import open_places  # noqa: PLC0415

        if self._home is not None and self._home.is_gone:
            await self.close()
        if self._places is not None:
            raise RuntimeError("the connection is open already")
        self._home, self._stack = Home(), AsyncExitStack()
        try:
            self._places = await self._stack.enter_async_context(open_places(self._address, self._client, __version__))
            leading = open_topology(self._places, self._dial, self._command_timeout, self._connect_timeout, self.shown)
            self._lead_to(await self._stack.enter_async_context(leading))
            self._server = await first_contact(self._dial_any, self._connect_timeout, self.shown)
            if self._places.kind == "one":
                await check(self._server, self._address, self.shown, self.call)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections, and stop the embedded server. Closing twice is fine.

        Where the event loop that opened it is closed, or in a forked child, what it had is only forgotten. Raises
        `WrongLoopError` while that loop goes on.
        """
        home, self._home = self._home, None
        if home is not None and not (home.is_here or home.is_gone):
            self._home = home
            raise home.elsewhere()
        self._places = None  # from here on nobody gets a new link or reader
        readers, links, stack = (*self._readers,), (*self._links,), self._stack
        self._stack = AsyncExitStack()
        try:
            for reader in readers:
                await reader.close()
            for link in links:
                await link.close()
        finally:
            self._readers.clear()
            self._lead_to(self._topology)
            if home is None or home.is_of_this_process:
                await stack.aclose()
            else:
                home.keep((readers, links, stack))

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not yet closed."""
        return self._places is not None

    @property
    def server(self) -> str:
        """The server's name and version, e.g. `valkey 9.1.2`; `""` before the first contact."""
        return f"{self._server.name} {self._server.version}" if self._server else ""

    @property
    def is_cluster(self) -> bool:
        """Whether it leads to a Cluster, as far as its URL or the server has said."""
        if self._server is not None:
            return self._server.mode == "cluster"
        return self._address is not None and self._address.scheme.endswith("+cluster")

    @property
    def shown(self) -> str:
        """Where it leads, without credentials."""
        return self._address.shown if self._address else "the client passed in"

    @property
    def is_spread(self) -> bool:
        """Whether keys live on several nodes."""
        return self._topology.only is None

    async def refresh(self) -> int:
        """Look now at which node has what; return the version of that map. Raises `RedisUnavailableError`."""
        return await self._topology.refresh()

    def node_of(self, key: Argument | None = None) -> Node:
        """The node where a key lives; without a key any node."""
        return self._topology.node_of(key)

    def link(self, purpose: Purpose, key: Argument | None = None) -> Link:
        """The shared link for a purpose to the node where a key lives, made when it is first asked for.

        Without a key: to any node. Call this for each command, because a key may move. Raises `NotOpenError`,
        `WrongLoopError`.
        """
        if (home := self._home) is None or home.thread != get_ident() or not home.loop.is_running():
            self._check_here()
        links = self._only
        if links is not None and (link := links.get(purpose)) is not None:
            return link
        return self._shared_link(purpose, key)

    def links_to_all(self, purpose: Purpose) -> dict[Node, Link]:
        """The shared links for a purpose to all nodes that have keys. Raises `NotOpenError`, `WrongLoopError`."""
        self._check_here()
        return {node: self._links.of(purpose, node) for node in self._topology.nodes}

    def link_to(self, purpose: Purpose, move: Move) -> Link:
        """The shared link for a purpose to the node that a redirect names."""
        return self._links.of(purpose, self._topology.target(move))

    def _shared_link(self, purpose: Purpose, key: Argument | None) -> Link:
        self._check_open()
        return self._links.of(purpose, self._topology.node_of(key))

    def _lead_to(self, topology: Topology) -> None:
        """Lead to these nodes, with no links yet."""
        self._topology = topology
        self._links = Links(topology, self._command_timeout)
        self._only = self._links.only

    def new_links(self, timeout: float) -> Links:
        """Return links with their own deadline, for the running event loop, which may be another thread's.

        The caller closes them, while this connection is open. Raises `NotOpenError`.
        """
        self._check_open()
        return Links(self._topology, min(timeout, self._command_timeout))

    def reader(self, stream: str, patience: float = math.inf) -> Reader:
        """A new reader of a stream with a connection of its own, until `release`.

        A reply that has not begun to arrive `patience` seconds after the block is not waited for: with the lease of its
        entries, others have taken these over by then.

        Raises `NotOpenError`, `WrongLoopError`.
        """
        from .reader import Reader  # noqa: PLC0415

        self._check_here()
        timeout = min(patience, self._command_timeout)
        reader = Reader(self._topology, stream, partial(self._call_at, stream), timeout=timeout)
        self._readers.add(reader)
        return reader

    async def _call_at(self, stream: str, *command: Argument) -> Reply:
        """Send a command without a key to the node of a stream."""
        return await self.link("control", stream).call(*command)

    async def release(self, reader: Reader) -> None:
        """Close a reader and forget it."""
        self._readers.discard(reader)
        await reader.close()

    async def call(self, *command: Argument, purpose: Purpose = "control") -> Reply:
        """Send a command on the shared link to the node of its key, and return its raw reply.

        Raises the errors of `Link` and `errors`.
        """
        key = key_of(command)
        try:
            return await self.link(purpose, key).call(*command)
        except PermissionDeniedError as error:
            raise with_keys(error, str(command[0]), () if key is None else (key,)) from None
        except (StreamNotFoundError, StreamTypeError) as error:
            raise with_stream(error, "" if key is None else key) from None

    async def call_many(self, commands: Sequence[Command], *, purpose: Purpose = "control") -> list[Answer]:
        """Send commands together, in one round trip to each node; an error reply takes the place of its reply.

        So does, with several nodes, the error of a connection. Raises the errors of `Link` if only one node is asked.
        """
        return await spread(partial(self.link, purpose), commands)

    async def run(
        self, script: Script, *arguments: Argument, keys: int | None = None, purpose: Purpose = "control"
    ) -> Reply:
        """Run a script on the shared link to the node of its keys, which live together; see `Link.run`."""
        touched = arguments[: len(script.keys) if keys is None else keys]
        try:
            return await self.link(purpose, touched[0]).run(script, *arguments, keys=len(touched))
        except ServerError as error:
            raise about_script(error, touched) from None

    async def _dial_any(self) -> Dialled:
        """A new connection to any node: looked up each time, as a Cluster may lose the one of before meanwhile."""
        return await self._topology.node_of().dial()

    async def _dial(self) -> Dialled:
        """A new connection that is connected, authenticated and checked for its version."""
        from .dial import dial  # noqa: PLC0415

        return await dial(self._check_open().to(None), self._command_timeout, self.shown)

    def _check_open(self) -> Places:
        if self._places is None:
            raise NotOpenError(
                "the connection is not open: use 'async with connection:' (or 'async with broker:') around it"
            )
        if self._home is not None and not self._home.is_of_this_process:
            raise self._home.elsewhere()
        return self._places

    def _check_here(self) -> None:
        if self._home is None or not self._home.is_here:
            self._check_open()
            if self._home is not None:
                raise self._home.elsewhere()

    def __repr__(self) -> str:
        return f"<Connection {self.shown}: {'open' if self.is_open else 'closed'}, {self.server or 'server not known'}>"
