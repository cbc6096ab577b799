"""A proxy in front of a real server that bends what the server says, byte by byte or altogether."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from redis_streams_aio.connection.replies import Reply
from tests.fuzz import inputs, reading_replies

Bend = Callable[[Random, bytes], bytes]
"""What goes to the client in place of what the server said."""


class HostileServer:
    """As the server behind it, until `bend` is set; an empty answer cuts the connection."""

    def __init__(self, target: int, rng: Random) -> None:
        self._target = target
        self._rng = rng
        self.bend: Bend | None = None
        self.url = ""
        self.accepted = 0
        self.requests = 0
        self._tasks: set[asyncio.Task[object]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # asyncio's streams log it otherwise
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def close(self) -> None:
        """End all connections, also those that are only being made."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        forward = asyncio.create_task(self._forward(reader, back_writer))
        try:
            with contextlib.suppress(OSError):
                while data := await back_reader.read(65536):
                    said = data if self.bend is None else self.bend(self._rng, data)
                    if not said:
                        break
                    writer.write(said)
                    await writer.drain()
        finally:
            forward.cancel()
            back_writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.requests += 1
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def hostile(target: int, seed: str) -> AsyncIterator[HostileServer]:
    """On a free port in front of `target`, until the end of the block."""
    made = HostileServer(target, Random(seed))
    listener = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    try:
        yield made
    finally:
        listener.close()
        await made.close()


def written(reply: Reply) -> bytes:
    """A reply in the wire protocol."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


def noise(rng: Random, _: bytes) -> bytes:
    return rng.randbytes(rng.randrange(1, 100))


def bent(rng: Random, data: bytes) -> bytes:
    return inputs.mutated(rng, data)


def cut_short(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def of_another_type(rng: Random, _: bytes) -> bytes:
    return written(reading_replies.a_reply(rng))


def nothing_at_once(_: Random, data: bytes) -> bytes:
    """The empty answer of a server that does not wait."""
    return b"*-1\r\n" * max(1, data.count(b"*") // 8)


ENORMOUS = (
    b"*4294967295\r\n",
    b"*1000000\r\n",
    b"$999999999999\r\n",
    b"*1\r\n" * 100_000,
    b":" + b"9" * 30 + b"\r\n",
)
UNHEARD_OF = (
    b"%1\r\n*0\r\n:1\r\n",
    b">1\r\n:1\r\n",
    b",nan\r\n",
    b"#t\r\n",
    b"_\r\n",
    b"(" + b"9" * 5000 + b"\r\n",
    b"|1\r\n",
)
REFUSALS = (
    b"-\r\n",
    b"-\xff\xfe\r\n",
    b"-NOGROUP\r\n",
    b"-MOVED 1 h:1\r\n",
    b"-LOADING x\r\n",
    b"-NOSCRIPT\r\n",
    b"-WRONGTYPE\r\n",
)


def enormous(rng: Random, _: bytes) -> bytes:
    return rng.choice(ENORMOUS)


def unheard_of(rng: Random, _: bytes) -> bytes:
    return rng.choice(UNHEARD_OF)


def refused(rng: Random, _: bytes) -> bytes:
    return rng.choice(REFUSALS)


BENDS: tuple[Bend, ...] = (*(noise, bent, cut_short, of_another_type, nothing_at_once, enormous, unheard_of, refused),)
