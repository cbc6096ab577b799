"""A TCP proxy in front of a server that does what networks do: goes silent, holds back, drips, cuts connections and
replies.

`async with proxy(server.port) as network:` and then `network.url` in place of `server.url`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Direction = Literal["requests", "replies"]
_BETWEEN_DROPS = 0.01


class _Pipe:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, network: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._network = network
        self._reader = reader
        self._writers = [writer]
        self.silent = network.is_silent
        self.running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self.silent:
                await self._copy(self._reader, None)
                return
            back_reader, back_writer = await asyncio.open_connection(self._network.host, self._network.target)
            self._writers.append(back_writer)
            await asyncio.gather(self._copy(self._reader, back_writer), self._copy(back_reader, self._writers[0]))
        except OSError:  # the server, or the client, is gone; a silent network does not tell
            if not self.silent:
                self.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        direction: Direction = "requests" if reader is self._reader else "replies"
        while data := await reader.read(65536):
            await self._hold_back(direction, len(data))
            if writer is not None and not self.silent:  # else the data is swallowed
                await self._pass_on(writer, direction, data)
        if not self.silent:
            self.abort()  # one side has closed; a silent network tells neither of them

    async def _hold_back(self, direction: Direction, size: int) -> None:
        """Wait for as long as the network takes for so much data, and until it lets the direction pass."""
        if direction == "requests":
            self._network.requests += 1
        if rate := self._network.rate[direction]:
            await asyncio.sleep(size / rate)
        if self._network.latency:
            await asyncio.sleep(self._network.latency)
        await self._network.passage[direction].wait()

    async def _pass_on(self, writer: asyncio.StreamWriter, direction: Direction, data: bytes) -> None:
        """Write data; of a reply that is to be cut only a part, before the connection breaks."""
        keep = self._network.part_to_keep(len(data)) if direction == "replies" else None
        await self._write(writer, data[:keep])
        if keep is not None:
            await asyncio.sleep(0.01)  # an abort may overtake what was just written
            self.abort()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            piece = self._network.drip or len(data)
            writer.write(data[:piece])
            await writer.drain()
            data = data[piece:]
            if data:
                await asyncio.sleep(_BETWEEN_DROPS)

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def end(self) -> None:
        self.running.cancel()
        self.abort()
        await asyncio.wait((self.running,))
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Proxy:
    """A network that can be made to fail. Every method takes effect at once; `heal` ends all that lasts."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target: int = target
        self.host = host
        self.port: int = 0
        self.is_silent: bool = False
        self.latency: float = 0.0
        self.drip: int = 0
        """Bytes of one drop; 0: all at once."""
        self.rate: dict[Direction, float] = {"requests": 0.0, "replies": 0.0}
        """Bytes a second that pass on each connection; 0: as many as come."""
        self.passage: dict[Direction, asyncio.Event] = {"requests": asyncio.Event(), "replies": asyncio.Event()}
        """Set where data pass."""
        for passage in self.passage.values():
            passage.set()
        self.accepted: int = 0
        """Connections that clients have made."""
        self.requests = 0
        """Pieces of data that clients have sent, also into the black hole."""
        self.cut_after: int | None = None
        """Bytes until the cut of a reply; `None`: none is to be cut."""
        self._pipes: list[_Pipe] = []
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lead_to(self, port: int) -> None:
        """New connections lead to another server, as when a DNS name is moved; those that are there stay."""
        self.target = port

    def black_hole(self) -> None:
        """Half-open: connections stay and new ones are accepted, but nothing is forwarded in either direction."""
        self.is_silent = True
        for pipe in self._pipes:
            pipe.silent = True

    def refuse(self) -> None:
        """Connections are aborted, and new ones refused."""
        self._stop_listening()
        self.cut()

    def partition(self, *directions: Direction) -> None:
        """Nothing passes in these directions (default: both) until `heal`; then it comes late, as with TCP it does."""
        for direction in directions or tuple(self.passage):
            self.passage[direction].clear()

    async def heal(self) -> None:
        """New connections work again; those that were black-holed stay dead, and nobody is told."""
        self.is_silent, self.latency, self.drip = False, 0.0, 0
        self.slow_down()
        for passage in self.passage.values():
            passage.set()
        await self.open()

    def cut(self) -> None:
        """Abort all connections now, black-holed ones too; new ones work."""
        for pipe in self._pipes:
            pipe.abort()

    def cut_reply_after(self, nbytes: int) -> None:
        """Let `nbytes` more of the server's replies through, and abort the connection in the middle of the next one."""
        self.cut_after = nbytes

    def delay(self, seconds: float) -> None:
        """Every piece of data, in both directions, comes this much later."""
        self.latency = seconds

    def drip_slowly(self, nbytes: int) -> None:
        """Pass all data on in drops of `nbytes`, a hundredth of a second apart."""
        self.drip = nbytes

    def slow_down(self, requests: float = 0.0, replies: float = 0.0) -> None:
        """Pass on at most this many bytes a second on each connection; 0: no limit."""
        self.rate = {"requests": requests, "replies": replies}

    def part_to_keep(self, size: int) -> int | None:
        """How much of a reply to let through before the cut; `None`: all, and no cut."""
        if self.cut_after is None:
            return None
        if size <= self.cut_after:
            self.cut_after -= size
            return None
        keep, self.cut_after = self.cut_after, None
        return keep

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._pipes = [pipe for pipe in self._pipes if pipe.silent or not pipe.running.done()]
        self._pipes.append(_Pipe(self, reader, writer))

    async def open(self) -> None:
        """Listen, always on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        self._stop_listening()
        for pipe in self._pipes:
            await pipe.end()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


@asynccontextmanager
async def proxy(port: int, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """A proxy on a free port of this machine that leads to `port` of `host`, until the end of the block."""
    network = Proxy(port, host)
    await network.open()
    try:
        yield network
    finally:
        await network.close()
