"""`Talk`: one connection for questions, and for messages of channels.

Its owner sets the deadlines, and closes the connection. The loss of the connection is raised by `ask` and `next`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from .home import Socket
from .packing import Argument, pack
from .replies import Answer, Reply
from .wire.line import Line
from .wire.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


class Talk:
    """An open connection that asks one thing after the other."""

    def __init__(self, connection: Socket) -> None:
        self._wire = _wire_of(connection)
        self._came: asyncio.Queue[Answer | Exception] = asyncio.Queue()
        self._wire.take = self._take
        self._wire.lost.add_done_callback(self._lost)

    async def ask(self, *command: Argument) -> Reply:
        """Send a command, and return its reply. Raises one of `LOST_CONNECTION`, and error replies as ours."""
        self.send(*command)
        return await self.next()

    def send(self, *command: Argument) -> None:
        """Send a command, whose reply comes with `next`."""
        self._wire.greet(pack(command))

    async def next(self) -> Reply:
        """Return the next reply or message. Raises as `ask` does."""
        came = await self._came.get()
        if isinstance(came, Exception):
            raise came
        return came

    def _take(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._came.put_nowait(answer)

    def _lost(self, lost: asyncio.Future[None]) -> None:
        reason = None if lost.cancelled() else lost.exception()
        self._came.put_nowait(reason if isinstance(reason, Exception) else ConnectionError("closed"))


def _wire_of(connection: Socket) -> Wire:
    """Return the wire of a connection. A talk is short: no `AUTH` ever comes in between."""
    if isinstance(connection, Line):
        return connection.wire
    return Wire.over(cast("AbstractConnection", connection))
