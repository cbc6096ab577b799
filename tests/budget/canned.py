"""An event loop without sockets, waiting and chance, and a server in it that has its replies ready.

The loop's connections end in `Server`: it answers reads from entries that a test has prepared, takes acknowledgements
and new entries, and passes every other command on to a real server, waiting for its reply. Its clock moves only when
there is nothing else to do, to the next timer. So a program that runs in it does the same at each run.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import hiredis

LONGEST = 300.0
"""Seconds that the clock may move while a program waits: then it waits for something that never comes."""
_ADD = b"\r\n$4\r\nXADD\r\n"
_INCOMPLETE = object()


class Clock:
    """The only time there is in this process."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.until = self.time + LONGEST

    def now(self) -> float:
        return self.time

    def install(self) -> None:
        """Put it in the place of the monotonic clock, before anything imports that one, and let no thread run."""
        time.monotonic = self.now
        threading.Thread.start = threading.Thread.join = lambda *_, **__: None  # type: ignore[assignment,method-assign]


class _NothingToSelect(selectors.SelectSelector):
    """Waits for no file: where the loop would wait, time passes."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self._clock.time + timeout > self._clock.until):
            raise RuntimeError("all wait, and nothing that would wake them is on its way")
        self._clock.time += max(0.0, timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose connections lead to a `Server`."""

    def __init__(self, clock: Clock, server: Server) -> None:
        super().__init__(_NothingToSelect(clock))
        self._clock = clock
        self._server = server

    def time(self) -> float:
        return self._clock.time

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        protocol = protocol_factory()
        transport = _Transport(self, protocol, self._server)
        protocol.connection_made(transport)
        return transport, protocol

    def soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """`call_soon` for the server: not counted."""
        super().call_soon(callback, *arguments)


class _Transport(asyncio.Transport):
    """One connection. What is written is answered in the next turn of the loop."""

    def __init__(self, loop: Loop, protocol: Any, server: Server) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._server = server
        self._commands = hiredis.Reader()
        self._closing = False
        self.maps = False
        """Whether it has asked for RESP3, in which streams are a map."""
        self.behind = server.real()
        """A connection to the real server, for commands that have no canned answer."""

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        if adds := data.count(_ADD):
            self.answer(self._server.added(adds))
            return
        self._commands.feed(data)
        replies = []
        while (command := self._commands.gets()) is not False:
            replies.append(self._server.reply(self, command))
        if reply := b"".join(replies):
            self.answer(reply)

    def answer(self, data: bytes) -> None:
        self._loop.soon(self._received, data)

    def _received(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.behind.close()
            self._loop.soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        raise RuntimeError("a canned reply is too big for the reader")

    def resume_reading(self) -> None:
        """Nothing was paused."""


class Server:
    """Answers reads, acknowledgements and new entries by itself, everything else through a real server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._entries: deque[bytes] = deque()
        self._parked: list[tuple[_Transport, list[bytes]]] = []
        self._last_id = 0
        self._handled: Callable[[], None] = lambda: None
        self.unacknowledged = 0

    def real(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port))

    # -- what a test does --------------------------------------------------------------------------------------

    def prepare(self, bodies: Iterable[list[bytes]]) -> list[bytes]:
        """The entries that have these fields, as they stand in a reply."""
        entries = []
        for fields in bodies:
            self._last_id += 1
            name = b"1700000000000-%d" % (1_000_000 + self._last_id)
            entries.append(b"*2\r\n" + _bulk(name) + b"*%d\r\n" % len(fields) + b"".join(map(_bulk, fields)))
        return entries

    async def hand_out(self, entries: list[bytes]) -> None:
        """Let them be read, until all are acknowledged."""
        done = asyncio.get_running_loop().create_future()
        self._handled = lambda: done.set_result(None)
        self._entries.extend(entries)
        self.unacknowledged = len(entries)
        parked, self._parked = self._parked, []
        for transport, command in parked:
            if not transport.is_closing():
                transport.answer(self._read(transport, command))
        await done

    # -- what a connection asks --------------------------------------------------------------------------------

    def added(self, count: int) -> bytes:
        """The replies to `XADD`."""
        return b"$16\r\n1700000000000-10\r\n" * count

    def reply(self, transport: _Transport, command: list[bytes]) -> bytes:
        """The reply to a command; nothing while a read waits."""
        match command[0]:
            case b"XREADGROUP":
                return self._read(transport, command)
            case b"XACK":
                return self._acknowledge(len(command) - 3)
            case b"HELLO":
                transport.maps = command[1:2] == [b"3"]
        transport.behind.sendall(b"*%d\r\n" % len(command) + b"".join(map(_bulk, command)))
        return _one_reply(transport.behind)

    def _read(self, transport: _Transport, command: list[bytes]) -> bytes:
        entries = self._entries
        if not entries:
            self._parked.append((transport, command))
            return b""
        count = min(int(command[command.index(b"COUNT") + 1]), len(entries))
        stream = command[command.index(b"STREAMS") + 1]
        taken = b"".join([entries.popleft() for _ in range(count)])
        return (b"%1\r\n" if transport.maps else b"*1\r\n*2\r\n") + _bulk(stream) + b"*%d\r\n" % count + taken

    def _acknowledge(self, count: int) -> bytes:
        self.unacknowledged -= count
        if not self.unacknowledged:
            self._handled()
        return b":%d\r\n" % count


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _one_reply(connection: socket.socket) -> bytes:
    """The bytes of one whole reply."""
    reader, received = hiredis.Reader(notEnoughData=_INCOMPLETE), b""
    while True:
        part = connection.recv(1 << 20)
        if not part:
            raise ConnectionError("the real server has gone")
        received += part
        reader.feed(part)
        if reader.gets() is not _INCOMPLETE:
            return received
