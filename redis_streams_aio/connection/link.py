"""`Link`: one connection that many tasks share, with its commands pipelined.

Commands that are posted while a round trip is under way gather, and leave together in the next one: no timer, no
added latency, and a hundred publishing tasks share round trips (P23). Order of posting is the order on the wire.

States: *unconnected* -> *connecting* (something is queued) -> *connected*, and there *idle* or with one batch *under
way*. One task connects and watches the time; it is started with the first command and ended by `close()`. It is not
in the way of a command: on a `Wire` (see there) what is queued while nothing is under way is written in the next turn
of the event loop, and the replies resolve the callers' futures. Those who waited for a batch have that turn before
the next one leaves: what they post then is in it. Connections that are no matter for a `Wire` (fakeredis, those with
a credential provider) are served by the task, batch after batch.

What happens when things fail:

* No connection: the queue waits, connecting is tried again with backoff, and each command fails with
  `RedisUnavailableError` when its time is up. None of these was sent.
* The connection is lost, or the server does not answer in time: commands of the batch under way fail with
  `UnansweredError` (Redis may have carried them out), those behind them wait for the next connection.
* Credentials refused, server too old: what is queued fails with that error at once.
* A caller is cancelled: its command may still be sent; the reply is read and dropped, so that the next one gets
  its own.

The replies are taken raw, without redis-py's response callbacks, which cost ten times as much as the bytes;
redis-py's `Connection` does the connecting, TLS, authentication and handshake.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING

from redis import exceptions as redis_errors

from ..exceptions import NotOpenError, RedisStreamsError, RedisUnavailableError, ScriptMissingError
from . import errors
from .answers import read_answer
from .backoff import delays
from .credentials import stay_authenticated
from .packing import Argument, Command, pack
from .replies import Answer, Reply
from .scripts import Script
from .wire import Wire, fits

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

MOST_QUEUED = 16 * 1024 * 1024
"""Bytes that may wait to be sent before callers wait too: a slow Redis must not fill this process's memory."""
MOST_AT_ONCE = 1024 * 1024
"""Bytes in one round trip: a long queue must not hold the first caller until the last one's reply."""

Dial = Callable[[], Awaitable["AbstractConnection"]]


class _Request:
    """One caller's commands, written together; its future gets a list with one answer for each."""

    __slots__ = ("answers", "expected", "expires", "future", "packed")

    def __init__(self, packed: bytes, expected: int, future: asyncio.Future[list[Answer]], expires: float) -> None:
        self.packed = packed
        self.expected = expected
        self.future = future
        self.expires = expires
        self.answers: list[Answer] = []

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Link:
    """See the module."""

    def __init__(self, dial: Dial, *, timeout: float, where: str) -> None:
        self._dial = dial
        self._timeout = timeout
        self._where = where
        self._queue: deque[_Request] = deque()
        self._under_way: deque[_Request] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._answer_by = 0.0
        self._turn_is_given = False
        self._closed = False
        self._loop = asyncio.get_running_loop()

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

        A server that does not know it (restart, `SCRIPT FLUSH`) is taught it. Raises as `call` does.
        """
        count = script.keys if keys is None else keys
        try:
            return await self.call("EVALSHA", script.sha, count, *arguments)
        except ScriptMissingError:
            return await self.call("EVAL", script.source, count, *arguments)

    async def call_many(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands together; a server's error reply takes the place of that command's reply."""
        return await self.send(b"".join(map(pack, commands)), len(commands))

    async def send(self, packed: bytes, expected: int) -> list[Answer]:
        """Send packed commands and return their `expected` answers; waits first while too much is queued."""
        if not expected:
            return []
        expires = self._loop.time() + self._timeout
        if not self._room.is_set():
            await self._wait_for_room(expires)
        if self._closed:
            raise NotOpenError("the connection is closed")
        if self._task is None:
            name = f"redis_streams_aio link {self._where}"  # in no caller's context, which it would keep for ever
            self._task = asyncio.create_task(self._run(), name=name, context=Context())
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        self._queue.append(_Request(packed, expected, future, expires))
        self._queued_bytes += len(packed)
        if self._queued_bytes > MOST_QUEUED:
            self._room.clear()
        if self._wire is None:
            self._wake.set()
        elif not self._under_way:
            self._write_next_turn()
        return await future

    async def _wait_for_room(self, expires: float) -> None:
        try:
            async with asyncio.timeout_at(expires):
                while not self._room.is_set():
                    await self._room.wait()
        except TimeoutError:
            raise RedisUnavailableError(f"{self._where}: too much is queued, and this was not sent") from None

    async def close(self) -> None:
        """End the task and the connection; commands not answered fail."""
        self._closed = True
        self._room.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._fail(self._under_way, errors.from_lost(ConnectionError("the connection was closed"), self._where))
        self._fail(self._queue, NotOpenError("the connection was closed"))

    async def _run(self) -> None:
        try:
            await self._connect_and_serve()
        except Exception as bug:
            self._closed = True
            for request in (*self._under_way, *self._queue):
                request.fail(bug)  # loudly: nobody may wait for ever
            raise

    async def _connect_and_serve(self) -> None:
        waits = delays()
        while True:
            await self._until_queued()
            try:
                connection = await self._dial_for_the_queue()
            except RedisUnavailableError as error:
                await self._wait_unconnected(next(waits), error)
                continue
            except RedisStreamsError as error:
                self._fail(self._queue, error)
                continue
            waits = delays()
            try:
                await self._serve(connection)
            except errors.LOST_CONNECTION as error:
                self._fail(self._under_way, errors.from_lost(error, self._where))
            finally:
                await connection.disconnect(nowait=True)

    async def _until_queued(self) -> None:
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()

    async def _dial_for_the_queue(self) -> AbstractConnection:
        """Connect; commands whose time is up meanwhile fail."""
        dialling = asyncio.ensure_future(self._dial())
        try:
            while not dialling.done():
                expires = self._queue[0].expires if self._queue else None
                await asyncio.wait(
                    (dialling,), timeout=None if expires is None else max(0.0, expires - self._loop.time())
                )
                self._fail_expired(f"{self._where}: no connection yet")
        except BaseException:
            await _end(dialling)
            raise
        return dialling.result()

    def _fail_expired(self, reason: str) -> None:
        while self._queue and self._queue[0].expires <= self._loop.time():
            self._take().fail(RedisUnavailableError(reason))

    async def _wait_unconnected(self, wait: float, error: RedisUnavailableError) -> None:
        """Sleep before the next try to connect; commands whose time is up fail with the reason."""
        until = self._loop.time() + wait
        while self._queue and self._queue[0].expires <= until:
            await asyncio.sleep(max(0.0, self._queue[0].expires - self._loop.time()))
            self._fail_expired(str(error))
        await asyncio.sleep(max(0.0, until - self._loop.time()))

    async def _serve(self, connection: AbstractConnection) -> None:
        """Until the connection is of no more use. Raises one of `LOST_CONNECTION`, if anything was under way."""
        if await connection.can_read():
            return  # the server has closed it: nothing may be sent on it
        if fits(connection):
            await self._watch(Wire(connection, self._take_reply))
        else:
            await self._serve_by_turns(connection)

    async def _watch(self, wire: Wire) -> None:
        """Let callers write on the wire, and end it when an answer is late."""
        self._wire = wire
        try:
            self._write_batch()
            while not wire.lost.done():
                now = self._loop.time()
                if self._under_way and now >= self._answer_by:
                    wire.lose(TimeoutError())
                left = self._answer_by - now if self._under_way else self._timeout  # no batch is late sooner than that
                await asyncio.wait((wire.lost,), timeout=left)
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
        """Write what is queued, unless a batch is under way."""
        self._turn_is_given = False
        if self._wire is None or self._under_way or not self._wire.is_open:
            return
        if batch := self._fill_batch():
            self._answer_by = self._loop.time() + self._timeout
            self._wire.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def _take_reply(self, answer: Answer) -> None:
        if not self._under_way:
            raise redis_errors.ConnectionError("a reply came that nobody had asked for")
        request = self._under_way[0]
        request.answers.append(answer)
        if len(request.answers) == request.expected:
            self._under_way.popleft()
            if not request.future.done():
                request.future.set_result(request.answers)
            if not self._under_way:  # behind the callers just woken: what they post now leaves with the rest
                self._write_next_turn()

    async def _serve_by_turns(self, connection: AbstractConnection) -> None:
        """Batch after batch, by redis-py's own reading and writing."""
        while True:
            await self._until_queued()
            if await connection.can_read():
                return
            async with asyncio.timeout(self._timeout):
                await stay_authenticated(connection)
                await connection.send_packed_command(self._fill_batch(), check_health=False)
                while self._under_way:
                    self._take_reply(await read_answer(connection))

    def _fill_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._queue and size < MOST_AT_ONCE:
            request = self._take()
            if not request.future.done():  # else its caller is gone, and nothing was sent: not sent then
                size += len(request.packed)
                batch.append(request.packed)
                self._under_way.append(request)
        return batch

    def _take(self) -> _Request:
        request = self._queue.popleft()
        self._queued_bytes -= len(request.packed)
        if not self._room.is_set() and self._queued_bytes <= MOST_QUEUED // 2:
            self._room.set()
        return request

    def _fail(self, requests: deque[_Request], error: RedisStreamsError) -> None:
        while requests:
            (self._take() if requests is self._queue else requests.popleft()).fail(error)


async def _end(dialling: asyncio.Task[AbstractConnection]) -> None:
    """Connect no more; a connection that has come about all the same is closed."""
    dialling.cancel()
    await asyncio.wait((dialling,))
    if not dialling.cancelled() and dialling.exception() is None:
        await dialling.result().disconnect(nowait=True)
