"""`Wire`: the socket of an open connection, without streams around it.

Bytes that come are parsed in the event loop's own callback, and the replies in them are handed on at once: no task, no
coroutine and no timer for a reply. A wire is connected by us (line.py), or becomes the protocol of a transport that
redis-py has connected (`Wire.over`).

States: *open* -> *lost*, for ever. `lost` is a future with the reason: the server closed the connection, or sent bytes
that are not a reply, an error that makes the connection unusable (`NOAUTH`), or a reply to no command. An exception of
the receiver of the replies is a reason too: it is a bug, and `lost` raises it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import hiredis

from .. import errors
from ..errors import ErrorReply, LostError
from ..replies import Answer, Reply
from .outgoing import unconfirmed

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_NOTHING = object()
"""The parser returns this while a reply is incomplete."""

bytes(1024 * 1024)
"""Made and freed once, so that glibc keeps freed blocks of this size: asyncio reads into a new block of 256 KiB each
time, which would else be mapped, filled with zeros and unmapped for each reply, for a fifth of the time of a publish.
"""

_PROBES = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
"""A connection that the network has lost shows within eleven seconds, also while nothing is sent."""

Take = Callable[[list[Answer]], None]


def _refuse(_: list[Answer]) -> None:
    raise ConnectionError("a reply came that nobody had asked for")


class Wire(asyncio.Protocol):
    """Writes commands to a socket and hands the replies to `take`, which its user sets.

    `take` gets the replies that came together, in their order: all at once if they are bytes, else one by one. An
    exception of `take` ends the connection.
    """

    def __init__(self) -> None:
        self._reader = hiredis.Reader(protocolError=LostError, replyError=ErrorReply.of, notEnoughData=_NOTHING)
        self.take: Take = _refuse
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.heard: float = 0.0
        """When bytes came last, on the event loop's clock."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    @classmethod
    def over(cls, connection: AbstractConnection) -> Wire:
        """Take over the socket of a connection that redis-py has opened."""
        wire = cls()
        transport = cast("asyncio.StreamWriter", connection._writer).transport  # noqa: SLF001
        wire.connection_made(transport)
        transport.set_protocol(wire)
        if transport.is_closing() or cast("asyncio.StreamReader", connection._reader).at_eof():  # noqa: SLF001
            wire.lose(ConnectionError("Connection closed by server."))
        return wire

    @property
    def is_open(self) -> bool:
        """Whether what is written now may still arrive."""
        return not (self._transport is None or self.lost.done() or self._transport.is_closing())

    @property
    def unsent(self) -> int:
        """Bytes that have not reached the other side yet, as far as that can be known."""
        return 0 if self._transport is None else unconfirmed(self._transport)

    def write(self, packed: bytes) -> None:
        """Send commands. Never waits: the caller bounds what is sent and not answered."""
        self._transport.write(packed)  # type: ignore[union-attr]  # only an open wire is written to

    def greet(self, packed: bytes) -> None:
        """Send commands before it is used; on a connection that was lost already they go nowhere."""
        if self._transport is not None:
            self._transport.write(packed)

    def lose(self, error: Exception) -> None:
        """End the connection: nothing more is sent, and nothing more is taken from it."""
        if not self.lost.done():
            self.lost.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the socket when all is sent. Nobody needs to ask for the reason of the loss."""
        self.lost.add_done_callback(_noted)
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport, once."""
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self.lost.done():
            return
        self.heard = self._time()
        take, replies = self.take, self._replies_in(data)
        try:
            if [*map(type, replies)].count(bytes) == len(replies):  # ids, nearly always
                take(replies)  # type: ignore[arg-type]  # no errors
            else:
                for reply in replies:
                    take([_as_answer(reply)])
        except Exception as error:  # noqa: BLE001  # one of LOST_CONNECTION, or a bug: `lost` tells it
            self.lose(error)

    def _replies_in(self, data: bytes) -> list[Reply | ErrorReply | LostError]:
        """Parse bytes, in few calls for all replies. Bytes that cannot be read are an error in the last place."""
        replies: list[Reply | ErrorReply | LostError] = []
        try:
            self._reader.feed(data)
            replies += iter(self._reader.gets, _NOTHING)
        except errors.NO_REPLY as error:
            replies.append(errors.unreadable(error))
        return replies

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport, once."""
        self.lose(exc or ConnectionError("Connection closed by server."))


def _noted(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()


def _as_answer(reply: Reply | ErrorReply | LostError) -> Answer:
    """Return an error reply as our error. Raises errors that make the connection unusable."""
    if isinstance(reply, LostError):
        raise reply
    first: object = reply[0] if isinstance(reply, list) and reply else reply
    if isinstance(first, ErrorReply) and first.is_fatal:
        raise LostError.told_by(first)
    return errors.from_reply(reply) if isinstance(reply, ErrorReply) else reply


def _keep_alive(connected: socket.socket | None) -> None:
    """Have the system ask now and then whether the other side is still there. Unix sockets have no such option."""
    if connected is None or connected.family == getattr(socket, "AF_UNIX", None):
        return
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if (option := getattr(socket, name, None)) is not None:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
