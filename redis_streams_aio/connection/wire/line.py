"""`Line`: a connection that we make ourselves, to a server whose URL has no options.

It needs nothing of redis-py, whose import takes longer than all else that happens before the first event. It sends all
that a connection begins with in one write: credentials, database, `HELLO`, and the name of this library.

`wire_of` finds the wire of any connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

import msgspec

from ...exceptions import RedisRefusedError, RedisStreamsError
from ..errors import refused
from ..home import Socket
from ..packing import Command, pack
from ..replies import Answer, Reply
from .wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_DENIED = "DENIED"
"""The first word of a server in protected mode, which then hangs up."""

Factory = Callable[[], "Line | AbstractConnection"]
"""Makes connections that are not open yet."""


class Place(msgspec.Struct, frozen=True, dict=True):
    """Where a server is, and how to log in there."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    """The unix socket; `""`: host and port."""
    is_encrypted: bool = False
    credentials: tuple[str, ...] = ()
    """User and password, or a password alone."""
    database: int = 0
    library: tuple[str, str] = ("", "")
    """The name and the version that we tell the server of ourselves."""

    @cached_property
    def encryption(self) -> ssl.SSLContext | None:
        """The context for TLS, made once: it reads the certificates of all authorities."""
        return ssl.create_default_context() if self.is_encrypted else None

    @property
    def login(self) -> list[Command]:
        """The command to log in with, alone in its write: nothing may follow it where credentials are refused."""
        return [("AUTH", *self.credentials)] if self.credentials else []

    @property
    def greeting(self) -> list[Command]:
        """The commands after it. Servers before Redis 7.2, and some users, may not be told the last two."""
        name, version = self.library
        return [
            ("HELLO",),
            *([("SELECT", self.database)] if self.database else []),
            ("CLIENT", "SETINFO", "LIB-NAME", name),
            ("CLIENT", "SETINFO", "LIB-VER", version),
        ]


class Line:
    """One connection to a place."""

    def __init__(self, place: Place, connect_timeout: float) -> None:
        self._place = place
        self._connect_timeout = connect_timeout
        self._answers: list[Answer] = []
        self._awaited = 0
        self._came = asyncio.Event()
        self.wire: Wire = Wire()
        self.wire.take = self._take

    async def open(self) -> Reply:
        """Connect, log in and return the reply to `HELLO`.

        Raises `OSError` (`TimeoutError`, `LostError`), and errors of the server as ours.
        """
        async with asyncio.timeout(self._connect_timeout):
            await self._connect()
        self.wire.lost.add_done_callback(lambda _: self._came.set())
        for answer in await self._ask(self._place.login):
            if isinstance(answer, RedisStreamsError):
                says_who = not (isinstance(answer, RedisRefusedError) or str(answer).startswith(_DENIED))
                raise refused(answer) if says_who else answer
        greeted, *selected = (await self._ask(self._place.greeting))[:-2]
        for answer in (greeted, *selected):
            if isinstance(answer, RedisStreamsError):
                raise answer
        return greeted  # type: ignore[return-value]  # no error

    async def _connect(self) -> None:
        loop, place = asyncio.get_running_loop(), self._place
        if place.path:
            await loop.create_unix_connection(lambda: self.wire, place.path)
        else:
            await loop.create_connection(lambda: self.wire, place.host, place.port, ssl=place.encryption)

    async def _ask(self, commands: list[Command]) -> list[Answer]:
        """Send commands together, and return their answers. Raises the reason when the connection is lost."""
        if not commands:
            return []
        self._answers, self._awaited = [], len(commands)
        self._came.clear()
        if self.wire.lost.done():  # with the last answers, so that nothing else would wake us
            self.wire.lost.result()
        self.wire.greet(b"".join(map(pack, commands)))
        await self._came.wait()
        if len(self._answers) < len(commands):
            if self._answers and isinstance(self._answers[0], RedisStreamsError):
                raise self._answers[0]  # why the server has hung up
            self.wire.lost.result()
        return self._answers

    def _take(self, answers: list[Answer]) -> None:
        self._answers += answers
        if len(self._answers) >= self._awaited:
            self._came.set()

    async def disconnect(self, *, nowait: bool) -> None:  # noqa: ARG002  # as redis-py's connections are closed
        """Close the connection."""
        self.wire.close()


def drop(connection: Socket, reason: str) -> None:
    """End a connection at once; all that wait for its answers learn that it was lost."""
    if isinstance(connection, Line):
        connection.wire.lose(ConnectionError(reason))
    elif (writer := cast("AbstractConnection", connection)._writer) is not None:  # noqa: SLF001  # else it waits for its peer
        writer.transport.abort()


def wire_of(connection: Socket) -> Wire | AbstractConnection:
    """Return the wire of a connection, or the connection itself where no wire fits.

    None fits a connection with a `read_response` of its own (fakeredis has no socket, Sentinel looks at the errors), or
    one whose credential provider may need an `AUTH` in between (credentials.py).
    """
    if isinstance(connection, Line):
        return connection.wire
    theirs = cast("AbstractConnection", connection)
    read = getattr(getattr(connection, "read_response", None), "__func__", None)
    is_plain = getattr(read, "__qualname__", "") == "AbstractConnection.read_response"
    return Wire.over(theirs) if is_plain and theirs.credential_provider is None else theirs
