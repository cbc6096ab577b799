"""`Link`: one connection that many tasks share, with its commands pipelined.

Commands that are posted in one turn of the event loop leave together in the next turn, as a batch: no timer, no added
latency, and a hundred publishing tasks share round trips. While two batches are under way, commands gather for the
next one. Order of posting is the order on the wire.

States: *unconnected* -> *connecting* (something is queued) -> *connected*, and there *idle* or with batches *under
way*. One task connects and watches the time; it is started with the first command and ended by `close()`. It is not
in the way of a command: on a `Wire`, batches are written by a callback of the event loop, and the replies resolve the
callers' futures. Callers whose replies came have this turn before the next batch leaves: commands that they post then
are in it. The task itself serves connections that no `Wire` fits (fakeredis, connections with a credential provider),
batch after batch.

When things fail:

* No connection: the queue waits, connecting is tried again with the backoff of the node, and each command fails with
  `RedisUnavailableError` when its time is up. None of these was sent.
* The connection is lost, or the server does not answer in time: commands under way fail with
  `UnansweredError` (Redis may have carried them out), those behind them wait for the next connection. "In time" is
  measured in silence (`Patience`).
* The server says that it is the wrong node (`WrongNodeError`: a primary that was demoted): that is the answer, and
  the connection is closed when all under way is answered. So are others that were made before, when they are used
  next (`Node`).
* The key is on another node (`MOVED`, `ASK`): the command is sent there, and callers do not see that (`redirects`).
* Credentials refused, server too old: what is queued fails with that error at once.
* A caller is cancelled: its command may still be sent; the reply is read and dropped, so that the next one gets
  its own.

The replies are taken raw, without redis-py's response callbacks, which cost ten times as much as the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING

from ..exceptions import NotOpenError, RedisStreamsError, RedisUnavailableError, ScriptMissingError, WrongNodeError
from . import errors
from .home import Home, Socket
from .node import Dialled, Node
from .packing import Argument, Command, pack
from .redirects import Post, followed
from .replies import Answer, Reply
from .steps.script import Script
from .verdicts import Move
from .wire.line import wire_of
from .wire.outbox import Outbox
from .wire.patience import Patience
from .wire.under_way import MOST_BATCHES, UnderWay
from .wire.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

LOOKS = 4
"""Looks within the time of an answer at whether bytes still leave."""


class Link:
    """One connection that many tasks share. It belongs to the event loop in which it is made."""

    def __init__(self, node: Node, *, timeout: float, post_to: Callable[[Move], Post] | None = None) -> None:
        self._node = node
        self._post_to = post_to
        self._turn = 0
        self._timeout = timeout
        self._where = node.where
        self._under_way = UnderWay()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._patience = Patience(timeout)
        self._turn_is_given = self._closed = False
        self._taught: set[Script] = set()
        self._home = Home()
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(node.where, self._loop)

    async def call(self, *command: Argument) -> Reply:
        """Send one command and return its raw reply.

        Raises what the module says, and the server's error reply as our error.
        """
        [answer] = await self.send(pack(command), 1)
        if isinstance(answer, RedisStreamsError):
            raise answer
        return answer

    async def run(self, script: Script, *arguments: Argument, keys: int | None = None) -> Reply:
        """Run a script: its keys (`keys` of them, where their number varies), then its arguments.

        Its source is sent with the first run; runs that are posted after it come after it. A server that does not know
        the script later (restart, `SCRIPT FLUSH`) is taught it again. Raises as `call` does.
        """
        count = len(script.keys) if keys is None else keys
        if script not in self._taught:
            self._taught.add(script)
            return await self.call("EVAL", script.source, count, *arguments)
        try:
            return await self.call("EVALSHA", script.sha, count, *arguments)
        except ScriptMissingError:
            return await self.call("EVAL", script.source, count, *arguments)

    async def call_many(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands together; a server's error reply takes the place of that command's reply."""
        return await self.send(b"".join(map(pack, commands)), len(commands)) if commands else []

    def send(self, packed: bytes, expected: int) -> Awaitable[list[Answer]]:
        """Post packed commands, to other nodes those that belong there; return what to await for `expected` answers.

        While too much is queued, they are posted when it is awaited. Raises as `call` does, but for error replies.
        """
        if self._post_to is not None:
            return followed(self.post(packed, expected), self._post_to, packed, expected)
        return self._send_later(packed, expected) if self._outbox.is_full else self._post(packed, expected)

    def post(self, packed: bytes, expected: int) -> Awaitable[list[Answer]]:
        """Do as `send`, to this node alone."""
        return self._send_later(packed, expected) if self._outbox.is_full else self._post(packed, expected)

    async def _send_later(self, packed: bytes, expected: int) -> list[Answer]:
        """Wait until there is room in the queue, which is a part of the time that the command has."""
        expires = self._loop.time() + self._timeout
        await self._outbox.wait_for_room(expires)
        return await self._post(packed, expected, expires)

    def _post(self, packed: bytes, expected: int, expires: float = 0.0) -> asyncio.Future[list[Answer]]:
        if self._wire is None:
            self._start()
        elif not self._turn_is_given:
            self._write_next_turn()
        return self._outbox.put(packed, expected, expires or self._loop.time() + self._timeout)

    def _start(self) -> None:
        """Have the task connect. Raises `NotOpenError` when the link is closed."""
        if self._closed:
            raise NotOpenError("the connection is closed")
        if self._task is None:
            name = f"redis_streams_aio link {self._where}"  # in no caller's context, which it would keep for ever
            self._task = asyncio.create_task(self._run(), name=name, context=Context())
        self._wake.set()

    async def close(self) -> None:
        """End the task and the connection; commands not answered fail."""
        self._closed, self._wire = True, None
        if self._home.is_gone:  # and all who waited with it
            self._home.keep(self)
            return
        self._outbox.let_all_in()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._under_way.fail(errors.from_lost(ConnectionError("the connection was closed"), self._where))
        self._outbox.fail_all(NotOpenError("the connection was closed"))

    async def _run(self) -> None:
        try:
            await self._connect_and_serve()
        except Exception as bug:
            self._closed = True
            self._under_way.fail(bug)  # loudly: nobody may wait for ever
            self._outbox.fail_all(bug)
            raise

    async def _connect_and_serve(self) -> None:
        while True:
            await self._until_queued()
            if wait := self._node.wait():
                await self._wait_unconnected(wait)
                continue
            try:
                connection = await self._dial_for_the_queue()
            except WrongNodeError as error:
                self._outbox.fail_all(error)  # they are sent again, to the node that has their keys now
                continue
            except RedisUnavailableError:
                continue  # the node knows, and has the next ones wait
            except RedisStreamsError as error:
                self._outbox.fail_all(error)
                continue
            try:
                await self._serve(connection)
            except errors.LOST_CONNECTION as error:
                self._under_way.fail(errors.from_lost(error, self._where))
            finally:
                await self._home.hang_up(connection)

    async def _until_queued(self) -> None:
        while not self._outbox:
            self._wake.clear()
            await self._wake.wait()

    async def _dial_for_the_queue(self) -> Socket:
        """Connect; commands whose time is up meanwhile fail."""
        self._turn = self._node.turn
        dialling = asyncio.ensure_future(self._node.dial())
        try:
            while not dialling.done():
                expires = self._outbox.next_expires()
                await asyncio.wait(
                    (dialling,), timeout=None if expires is None else max(0.0, expires - self._loop.time())
                )
                self._outbox.fail_expired(RedisUnavailableError(f"{self._where}: no connection yet"))
        except BaseException:
            await self._end(dialling)
            raise
        return dialling.result()[0]

    async def _end(self, dialling: asyncio.Task[Dialled]) -> None:
        """Stop connecting. Closes the connection if it came about all the same."""
        dialling.cancel()
        await asyncio.wait((dialling,))
        if not dialling.cancelled() and dialling.exception() is None:
            await self._home.hang_up(dialling.result()[0])

    async def _wait_unconnected(self, wait: float) -> None:
        """Sleep before the next try to connect; commands whose time is up fail with the reason."""
        until = self._loop.time() + wait
        while (now := self._loop.time()) < until:
            expires = self._outbox.next_expires() or now + self._timeout
            await asyncio.sleep(max(0.0, min(until, expires) - now))
            self._outbox.fail_expired(self._node.reason())

    async def _serve(self, connection: Socket) -> None:
        """Serve until the connection is unusable. Raises one of `LOST_CONNECTION`, if anything was under way."""
        wire = wire_of(connection)
        if isinstance(wire, Wire):
            wire.take = self._take_replies
            await self._watch(wire)
        else:
            await self._serve_by_turns(wire)

    async def _watch(self, wire: Wire) -> None:
        """Let callers write on the wire, and end it when an answer is late."""
        self._wire = wire
        try:
            self._write_batch()
            longest = min(self._timeout / LOOKS, self._node.longest_silence)
            while not wire.lost.done():
                left = self._patience.left(wire, self._loop.time()) if self._under_way else self._timeout
                if left <= 0:
                    wire.lose(TimeoutError())
                elif self._under_way and self._loop.time() - wire.heard > longest:
                    self._node.silent()
                await asyncio.wait((wire.lost,), timeout=min(left, longest))
            wire.lost.result()
        finally:
            self._wire = None
            wire.lost.cancel()

    def _write_next_turn(self) -> None:
        """Not at once: a connection that was lost while nobody looked is noticed in this turn, and not written to."""
        if not self._turn_is_given:
            self._turn_is_given = True
            self._loop.call_soon(self._write_batch)

    def _write_batch(self) -> None:
        """Write what is queued."""
        self._turn_is_given = False
        wire = self._wire
        batches = self._under_way.batches
        if wire is None or batches >= MOST_BATCHES or not wire.is_open or not self._home.thread:
            return
        if self._turn == self._node.turn:
            if packed := self._next_batch():
                self._patience.sent(len(packed), self._loop.time(), behind=batches > 0)
                wire.write(packed)
        elif not batches:
            wire.lose(ConnectionError("the connection leads to the wrong node"))

    def _next_batch(self) -> bytes:
        """Return the bytes of the next batch, whose requests are under way from now on; `b""` if none may leave now."""
        waits = self._under_way.batches and not self._patience.may_follow(self._loop.time())
        if waits or not (batch := self._outbox.next_batch()):
            return b""
        self._under_way.add(batch)
        return batch[0].packed if len(batch) == 1 else b"".join([request.packed for request in batch])

    def _take_replies(self, answers: list[Answer]) -> None:
        """Give replies that came together to the requests in their order. Error replies come one by one."""
        if answers and isinstance(answers[0], WrongNodeError):
            self._node.heard(self._turn, answers[0])
        self._under_way.take(answers)
        self._write_next_turn()  # behind the callers just woken: what they post now leaves with the rest

    async def _serve_by_turns(self, connection: AbstractConnection) -> None:
        """Batch after batch, by redis-py's own reading and writing."""
        from .wire.by_turns import has_bytes, read_answer, send  # noqa: PLC0415  # imports redis-py

        while self._turn == self._node.turn:
            await self._until_queued()
            if self._turn != self._node.turn or await has_bytes(connection):
                return  # the server has closed it: nothing may be sent on it
            packed = self._next_batch()
            async with asyncio.timeout(self._patience.of(len(packed))):
                await send(connection, packed)
                while self._under_way:
                    self._take_replies([await read_answer(connection)])
