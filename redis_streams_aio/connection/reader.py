"""`Reader`: the blocking reads of one subscription, on a connection of its own.

A read that waits for new entries keeps its connection busy, so nothing else may share it. The connection has no
socket timeout (redis-py's default of 5 s breaks longer blocks, and on Python 3.11 swallows cancellation); each
read has its own deadline, a little longer than the block, and from the first byte on it is renewed with each one: a
reply that needs minutes on a slow line arrives. A read is never cancelled to stop it: what the server has sent by
then would be stranded in the pending list. `unblock()` ends it from outside where the server allows that
(`may_unblock`), and the block should be short where it does not.

While entries wait in Redis, the next read can leave as soon as an answer comes (`read_on`). Redis works on it while
that answer is parsed and handled.

After any failure the connection is closed, the next read makes a new one, and `interrupted` is true until the
caller has picked up what a lost reply may have left in its pending list. A reply that says that this is the wrong node
(`WrongNodeError`) has the same effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ..exceptions import PermissionDeniedError, RedisStreamsError, RedisUnavailableError, WrongNodeError
from . import errors
from .home import Home, Socket
from .node import Node
from .packing import pack
from .redirects import asking
from .replies import Answer, Reply, new_entries
from .steps.consumer import Consumer
from .topology import Topology
from .verdicts import Move, verdict
from .wire.answers import Answered
from .wire.conversation import Conversation
from .wire.line import wire_of
from .wire.wire import Wire

if TYPE_CHECKING:
    from .wire.by_turns import ByTurns

POLL = 0.005
"""Seconds to wait after an empty read that did not wait for entries: those of `memory://`, and of some proxies, which
answer a blocking XREADGROUP at once."""
_HOLDS_ON_TO_THE_GROUP = "fakeredis"
"""This server is never asked to block. It looks the group up when a read begins (2.41; up to 2.40 it does not wait at
all), and then reads for a group that has been destroyed meanwhile, where Redis ends the read with NOGROUP: the event
would be delivered once more by the group that is created in its place."""

Call = Callable[..., Awaitable[object]]
T = TypeVar("T")


def _nothing(_: list[Answer]) -> None:
    """Nothing was sent ahead."""


class Asked(NamedTuple, Generic[T]):
    """A read that was sent, and that nothing but `Reader.answer` may follow."""

    answered: Awaitable[T | RedisStreamsError]
    block: float
    began: float
    """When it was sent, on the event loop's clock."""


class Reader:
    """Reads new entries for one consumer of a group."""

    def __init__(self, topology: Topology, stream: str, call: Call, *, timeout: float) -> None:
        self._topology = topology
        self._stream = stream
        self._node = topology.node_of(stream)
        self._named: Node | None = None
        """The node that the last answer named (`ASK`): the next connection leads there."""
        self._asks = False
        """Whether the connection leads to a node that was named, and each command on it needs `ASKING`."""
        self._call = call
        self._timeout = timeout
        self._turn = 0
        self._home = Home()
        self._connection: Socket | None = None
        self._talk: Conversation | ByTurns | None = None
        self._client_id = 0
        self._closings = 0
        """How often it was closed."""
        self._may_block = True
        self._asked: tuple[Consumer, int, float, bool] | None = None
        self._packed = b""
        self.may_unblock: bool | None = None
        """Whether the user may end a read from outside; `None`: not known before a connection's first read."""
        self.interrupted: bool = True
        """Whether a reply may have been lost since the caller last looked at its own pending list.

        True at the start, for a stable name.
        """

    @property
    def is_connected(self) -> bool:
        """Whether the next read is sent at once, and with it what goes ahead; else it connects first."""
        if self._talk is None or not self._talk.is_open or self._turn != self._node.turn:
            return False
        return self._topology.only is not None or self._asks or self._node is self._topology.node_of(self._stream)

    async def read(
        self,
        who: Consumer,
        *,
        count: int,
        block: float,
        parse: Callable[[Reply], T] = new_entries,  # type: ignore[assignment]  # T is a list of `NewEntry` then
        ahead: Sequence[bytes] = (),
        answered: Answered = _nothing,
    ) -> T:
        """`XREADGROUP ... >`: return what `parse` makes of up to `count` new entries, after at most `block` seconds.

        `parse` is called with the raw reply when it arrives, before any waiting task runs; of a reply without entries
        it makes something empty. Packed commands to send `ahead` leave in the same write, and are `answered` before.

        Raises `RedisUnavailableError`, `GroupNotFoundError`, `StreamTypeError` and other `ServerError`.
        """
        if (talk := self._present()) is None:
            talk = await self._connect()
        if self._asks:
            ahead, answered = asking(ahead, answered)
        if self.may_unblock is None:
            ahead, answered = self._finding_out(ahead, answered)
        began, packed = self._home.loop.time(), self._packed_read(who, count, block, ahead)
        return await self.answer(
            Asked(talk.exchange(packed, block + self._timeout, len(ahead), answered, parse), block, began)
        )

    @property
    def may_read_on(self) -> bool:
        """Whether `read_on` is possible: after the first read of a connection of our own kind."""
        is_ours = isinstance(self._talk, Conversation) and not self._asks
        return is_ours and self.may_unblock is not None and self.is_connected

    def read_on(
        self,
        who: Consumer,
        *,
        count: int,
        block: float,
        parse: Callable[[Reply], T],
        ahead: Sequence[bytes],
        answered: Answered,
    ) -> Asked[T]:
        """Send the next read now, and return what to wait for. Called by the `parse` of the last read."""
        talk = self._talk
        assert isinstance(talk, Conversation)  # noqa: S101  # `may_read_on` says so
        packed = self._packed_read(who, count, block, ahead)
        within = block + self._timeout
        return Asked(talk.exchange(packed, within, len(ahead), answered, parse), block, self._home.loop.time())

    async def answer(self, asked: Asked[T]) -> T:
        """Wait for the answer to a read. Raises as `read` does."""
        answered, block, began = asked
        try:
            answer = await answered
        except errors.LOST_CONNECTION as error:
            await self.leave()
            raise errors.from_lost(error, self._node.where) from None
        except BaseException:
            await self.leave()
            raise
        if isinstance(answer, RedisStreamsError):
            raise await self._refused(answer)
        if not answer:
            await self._pause(block, began)
        return answer

    def _present(self) -> Conversation | ByTurns | None:
        """The connection's conversation; `None`: it has to be connected. Raises `WrongLoopError`."""
        if not self._home.is_here:
            raise self._home.elsewhere()
        return self._talk if self.is_connected else None

    async def _pause(self, block: float, began: float) -> None:
        """Wait after an empty answer that came too early."""
        if self._home.loop.time() - began < block / 2:
            await asyncio.sleep(min(POLL, block))

    def _finding_out(self, ahead: Sequence[bytes], answered: Answered) -> tuple[Sequence[bytes], Answered]:
        """Ask with the first read whether the user may end reads: none waits yet, so nothing happens."""

        def learn(answers: list[Answer]) -> None:
            self.may_unblock = not isinstance(answers[0], RedisStreamsError)
            if ahead:
                answered(answers[1:])

        return [pack(("CLIENT", "UNBLOCK", self._client_id)), *ahead], learn

    def _packed_read(self, who: Consumer, count: int, block: float, ahead: Sequence[bytes]) -> bytes:
        command = self._command(who, count, block)
        return b"".join((*ahead, command)) if ahead else command

    def _command(self, who: Consumer, count: int, block: float) -> bytes:
        """The packed read, which is nearly always the same as the last one."""
        asked = (who, count, block, self._may_block)
        if asked != self._asked:
            waiting = ("BLOCK", max(1, round(block * 1000))) if self._may_block else ()
            self._packed = pack(
                ("XREADGROUP", "GROUP", who.group, who.name, "COUNT", count, *waiting, "STREAMS", who.stream, ">")
            )
            self._asked = asked
        return self._packed

    async def _refused(self, answer: RedisStreamsError) -> RedisStreamsError:
        """Return an error reply, after leaving a node that says that it is the wrong one."""
        if isinstance(answer, WrongNodeError):
            self._node.heard(self._turn, answer)
            await self.leave()
            if isinstance(said := verdict(answer), Move) and said.asking:
                self._named = self._topology.target(said)
        return answer

    async def leave(self) -> None:
        """Close the connection; what it was about to bring is in our own pending list."""
        self.interrupted = True
        await self.close()

    async def _connect(self) -> Conversation | ByTurns:
        if self._connection is not None:  # it was lost, or leads to the wrong node
            await self.leave()
        closings = self._closings
        named, self._named, self._asks = self._named, None, False
        self._node = named or self._topology.node_of(self._stream)
        await self._node.until_open()
        self._turn = self._node.turn
        connection, greeted = await self._node.dial()
        if closings != self._closings:  # nobody would close this connection, and nobody waits for what it reads
            await self._home.hang_up(connection)
            raise RedisUnavailableError(f"{self._node.where}: the reader was closed while it connected")
        self._connection, self._client_id, self.may_unblock = connection, greeted.client_id, None
        self._asks = named is not None
        self._may_block = greeted.name != _HOLDS_ON_TO_THE_GROUP
        talk = self._talk = self._talk_on(connection)
        return talk

    def _talk_on(self, connection: Socket) -> Conversation | ByTurns:
        wire = wire_of(connection)
        if isinstance(wire, Wire):
            return Conversation(wire, self._timeout, self._was_lost)
        from .wire.by_turns import ByTurns  # noqa: PLC0415  # imports redis-py

        return ByTurns(wire)

    def _was_lost(self) -> None:
        self.interrupted = True

    async def unblock(self) -> None:
        """End a read that is waiting now, from outside. Does nothing where the server does not allow it."""
        if self._connection is not None:
            try:
                await self._call("CLIENT", "UNBLOCK", self._client_id)
            except PermissionDeniedError:
                self.may_unblock = False  # the block ends it
            except RedisStreamsError:
                return  # Redis is away

    async def close(self) -> None:
        """Close the connection, also one that is being made; a later read opens a new one."""
        self._closings += 1
        connection, self._connection = self._connection, None
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.close()
        if connection is not None:
            await self._home.hang_up(connection)
