"""`Wire`: the socket of an open connection, without redis-py's streams around it.

redis-py connects, does TLS, authenticates and greets; then a `Wire` becomes the protocol of its transport. Bytes that
come are parsed in the event loop's own callback, and each reply is handed on at once: no task, no coroutine and no
timer for a reply. That saves about a quarter of the processor time of a publish.

States: *open* -> *lost*, for ever. `lost` is a future with the reason: the server closed the connection, or sent bytes
that are not a reply, an error that makes the connection unusable (`NOAUTH`), or a reply to no command. An exception of
the receiver of the replies is a reason too: it is a bug, and `lost` raises it.

Only for connections that read as redis-py's own do, and that send nothing between our commands; `fits` says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import cast

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from .. import errors
from ..replies import Answer, Reply
from .outgoing import unconfirmed

_NOTHING = object()
"""The parser returns this while a reply is incomplete."""


def fits(connection: AbstractConnection) -> bool:
    """Whether a `Wire` may take the connection over.

    False for connections with a `read_response` of their own (fakeredis has no socket, Sentinel looks at the errors),
    and for those whose credential provider may need an `AUTH` in between (credentials.py).
    """
    read = getattr(getattr(connection, "read_response", None), "__func__", None)
    return read is AbstractConnection.read_response and connection.credential_provider is None


class Wire(asyncio.Protocol):
    """Writes commands to a socket and hands each reply to `take`; an exception of `take` ends the connection."""

    def __init__(self, connection: AbstractConnection, take: Callable[[Answer], None]) -> None:
        error_of = connection._parser.parse_error  # noqa: SLF001  # redis-py's classes of error replies
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse, replyError=error_of, notEnoughData=_NOTHING
        )
        self._take = take
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.heard: float = 0.0
        """When bytes came last, on the event loop's clock."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self._transport = cast("asyncio.StreamWriter", connection._writer).transport  # noqa: SLF001
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether what is written now may still arrive."""
        return not (self.lost.done() or self._transport.is_closing())

    @property
    def unsent(self) -> int:
        """Bytes that have not reached the other side yet, as far as that can be known."""
        return unconfirmed(self._transport)

    def write(self, packed: bytes) -> None:
        """Send commands. Never waits: write more only when their replies have come, or nothing bounds the buffer."""
        self._transport.write(packed)

    def lose(self, error: Exception) -> None:
        """End the connection: nothing more is sent, and nothing more is taken from it."""
        if not self.lost.done():
            self.lost.set_exception(error)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self.lost.done():
            return
        self.heard = self._time()
        take = self._take
        try:
            for reply in self._replies_in(data):
                take(reply if type(reply) is bytes else _judged(reply))  # an id, nearly always
        except Exception as error:  # noqa: BLE001  # one of LOST_CONNECTION, or a bug: `lost` tells it
            self.lose(error)

    def _replies_in(self, data: bytes) -> Iterator[Reply | Exception]:
        try:
            self._reader.feed(data)
            yield from iter(self._reader.gets, _NOTHING)
        except errors.NO_REPLY as error:
            raise errors.unreadable(error) from error

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport, once."""
        self.lose(exc or redis_errors.ConnectionError("Connection closed by server."))


def _judged(reply: Reply | Exception) -> Answer:
    """Return an error reply as our error. Raises errors that make the connection unusable, as redis-py does."""
    error = (
        reply[0] if isinstance(reply, list) and reply and isinstance(reply[0], redis_errors.ConnectionError) else reply
    )
    if isinstance(error, errors.REPLIES):
        return errors.from_reply(error)
    if isinstance(error, Exception):
        raise error
    return cast("Reply", reply)
