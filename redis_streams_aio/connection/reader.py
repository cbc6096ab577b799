"""`Reader`: the blocking reads of one subscription, on a connection of its own.

A read that waits for new entries keeps its connection busy, so nothing else may share it. The connection has no
socket timeout (redis-py's default of 5 s breaks longer blocks, and on Python 3.11 swallows cancellation); each
read has its own deadline, a little longer than the block, and from the first byte on it is renewed with each one: a
reply that needs minutes on a slow line arrives. A read is never cancelled to stop it: what the server has sent by
then would be stranded in the pending list. `unblock()` ends it from outside where the server allows that, and the
block is short where it does not.

After any failure the connection is closed, the next read makes a new one, and `interrupted` is true until the
caller has picked up what a lost reply may have left in its pending list. A reply that says that this is the wrong node
(`WrongNodeError`) has the same effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ..exceptions import RedisStreamsError, WrongNodeError
from . import errors
from .credentials import stay_authenticated
from .home import Home
from .packing import Command, pack
from .replies import Answer, NewEntry, Server, new_entries
from .route import Route
from .steps.consumer import Consumer
from .wire.answers import read_answer
from .wire.conversation import Answered, Conversation
from .wire.wire import fits

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

POLL = 0.005
"""Seconds to wait after an empty read that did not wait for entries: those of `memory://`, and of some proxies, which
answer a blocking XREADGROUP at once."""
_HOLDS_ON_TO_THE_GROUP = "fakeredis"
"""This server is never asked to block. It looks the group up when a read begins (2.41; up to 2.40 it does not wait at
all), and then reads for a group that has been destroyed meanwhile, where Redis ends the read with NOGROUP: the event
would be delivered once more by the group that is created in its place."""

DialAndGreet = Callable[[], Awaitable[tuple["AbstractConnection", Server]]]
Call = Callable[..., Awaitable[object]]


def _nothing(_: list[Answer]) -> None:
    """Nothing was sent ahead."""


class Reader:
    """Reads new entries for one consumer of a group."""

    def __init__(
        self, dial: DialAndGreet, call: Call, *, timeout: float, where: str, route: Route | None = None
    ) -> None:
        self._dial = dial
        self._call = call
        self._timeout = timeout
        self._where = where
        self._route = route or Route()
        self._turn = 0
        self._home = Home()
        self._connection: AbstractConnection | None = None
        self._conversation: Conversation | None = None
        self._client_id = 0
        self._may_block = True
        self.interrupted: bool = True
        """Whether a reply may have been lost since the caller last looked at its own pending list.

        True at the start, for a stable name.
        """

    @property
    def is_connected(self) -> bool:
        """Whether the next read is sent at once, and with it what goes ahead; else it connects first."""
        talks = self._conversation is None or self._conversation.is_open
        return self._connection is not None and talks and self._turn == self._route.turn

    async def read(
        self,
        who: Consumer,
        *,
        count: int,
        block: float,
        ahead: Sequence[Command] = (),
        answered: Answered = _nothing,
    ) -> list[NewEntry]:
        """`XREADGROUP ... >`: up to `count` new entries, after at most `block` seconds; `[]` when none came.

        Commands to send `ahead` leave in the same write, and are `answered` before the entries are waited for.

        Raises `RedisUnavailableError`, `GroupNotFoundError`, `StreamTypeError` and other `ServerError`.
        """
        if not self._home.is_here:
            raise self._home.elsewhere()
        connection = self._connection
        if connection is None or not self.is_connected:
            connection = await self._connect()
        waiting = ("BLOCK", max(1, round(block * 1000))) if self._may_block else ()
        command = ("XREADGROUP", "GROUP", who.group, who.name, "COUNT", count, *waiting, "STREAMS", who.stream, ">")
        loop = asyncio.get_running_loop()
        began = loop.time()
        entries = await self._read(connection, command, block, ahead, answered)
        if not entries and loop.time() - began < block / 2:
            await asyncio.sleep(min(POLL, block))
        return entries

    async def _read(
        self,
        connection: AbstractConnection,
        command: Command,
        block: float,
        ahead: Sequence[Command],
        answered: Answered,
    ) -> list[NewEntry]:
        try:
            answer = await self._exchange(connection, [*ahead, command], block + self._timeout, answered)
            if not isinstance(answer, RedisStreamsError):
                return new_entries(answer)
        except BaseException as error:
            self.interrupted = True
            await self.close()
            if isinstance(error, errors.LOST_CONNECTION):
                raise errors.from_lost(error, self._where) from None
            raise
        if isinstance(answer, WrongNodeError):
            self._route.wrong(self._turn, answer)
            self.interrupted = True
            await self.close()
        raise answer

    async def _connect(self) -> AbstractConnection:
        if self._connection is not None:  # it was lost, or leads to the wrong node
            self.interrupted = True
            await self.close()
        if (wait := self._route.wait()) > 0:
            await asyncio.sleep(wait)
        self._turn = self._route.turn
        connection, greeted = await self._dial()
        self._connection, self._client_id = connection, greeted.client_id
        self._may_block = greeted.name != _HOLDS_ON_TO_THE_GROUP
        if fits(connection):
            self._conversation = Conversation(connection, self._timeout, self._was_lost)
        return connection

    def _was_lost(self) -> None:
        self.interrupted = True

    async def _exchange(
        self, connection: AbstractConnection, commands: Sequence[Command], within: float, answered: Answered
    ) -> Answer:
        """Send commands, and return the answer to the last one. Raises one of `LOST_CONNECTION`."""
        packed, ahead = b"".join(map(pack, commands)), len(commands) - 1
        if self._conversation is not None:
            return await self._conversation.exchange(packed, within, ahead, answered)
        async with asyncio.timeout(within):
            await stay_authenticated(connection)
            await connection.send_packed_command(packed, check_health=False)
            if ahead:
                answered([await read_answer(connection) for _ in range(ahead)])
            return await read_answer(connection)

    async def unblock(self) -> None:
        """End a read that is waiting now, from outside. Does nothing where the server does not allow it."""
        if self._connection is not None:
            try:
                await self._call("CLIENT", "UNBLOCK", self._client_id)
            except RedisStreamsError:
                return  # not allowed, or Redis is away: the short block ends it

    async def close(self) -> None:
        """Close the connection; a later read opens a new one."""
        connection, self._connection = self._connection, None
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.close()
        if connection is not None:
            await self._home.hang_up(connection)
