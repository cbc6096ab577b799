"""The link's life, with connections and servers that are not of this world: what a real one cannot be made to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio.connection import Connection as RedisConnection

from redis_streams_aio import (
    AuthenticationFailedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    ServerError,
    UnansweredError,
    WrongNodeError,
)
from redis_streams_aio.connection.link import Link
from redis_streams_aio.connection.node import Dialled, Node
from redis_streams_aio.connection.replies import Server
from redis_streams_aio.connection.verdicts import verdict
from redis_streams_aio.connection.wire.patience import SLOWEST, Patience
from redis_streams_aio.testing.waiting import until

SOME = Server("valkey", "9.1.2", 1)


class Connection:
    """One that answers nothing."""

    credential_provider = None

    def __init__(self) -> None:
        self.is_open = True

    async def can_read(self) -> bool:
        return False

    async def send_packed_command(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    async def disconnect(self, *, nowait: bool) -> None:
        self.is_open = False


@pytest.mark.parametrize("steps", range(8))
async def test_p26_a_connection_that_comes_about_while_the_link_is_closed_is_closed(steps: int) -> None:
    """Closed at every moment there is between the beginning of a connection and its first command."""
    made: list[Connection] = []
    may_connect = asyncio.Event()

    async def dial() -> Any:
        await may_connect.wait()
        made.append(Connection())
        return made[0], SOME

    link = Link(Node(dial, verdict, "nowhere"), timeout=5.0)
    call = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0.01)
    may_connect.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    await link.close()
    with pytest.raises(RedisStreamsError):
        await call
    assert not any(connection.is_open for connection in made)
    assert len(asyncio.all_tasks()) == 1


Answers = Callable[[bytes], bytes | Awaitable[bytes] | list[bytes | None] | None]
BETWEEN_PARTS = 0.05


@asynccontextmanager
async def link_to(answers: Answers, timeout: float = 5.0) -> AsyncIterator[tuple[Link, list[RedisConnection]]]:
    """A link to a server that answers what it reads with `answers`, in parts, and closes the connection for `None`."""
    dialled: list[RedisConnection] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        while read := await reader.read(1_000_000):
            answer = answers(read)
            if isinstance(answer, Awaitable):
                answer = await answer
            for part in answer if isinstance(answer, list) else [answer]:
                if part is None:
                    writer.close()
                    return
                writer.write(part)
                if isinstance(answer, list):
                    await asyncio.sleep(BETWEEN_PARTS)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial() -> Dialled:
        dialled.append(RedisConnection(host="127.0.0.1", port=port, protocol=2, driver_info=None))
        dialled[-1].redis_connect_func = lambda connection: connection._parser.on_connect(connection)
        await dialled[-1].connect()
        return dialled[-1], SOME

    link = Link(Node(dial, verdict, "here"), timeout=timeout)
    try:
        yield link, dialled
    finally:
        await link.close()
        server.close()
        await asyncio.gather(*serving, return_exceptions=True)


@pytest.mark.parametrize(
    ("reply", "error", "is_kept"),
    [
        (b"-OOM command not allowed\r\n", RedisRefusedError, True),
        (b"-LOADING Redis is loading\r\n", RedisRefusedError, True),
        (b"-ERR what\r\n", ServerError, True),
        (b"-READONLY You can't write against a read only replica.\r\n", WrongNodeError, False),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", WrongNodeError, False),
        (b"-MASTERDOWN Link with MASTER is down.\r\n", WrongNodeError, False),
        (b"-CLUSTERDOWN The cluster is down\r\n", WrongNodeError, False),
        (b"-ERR Error running script (call to f_1): @user_script:1: -READONLY You can't\r\n", WrongNodeError, False),
        (b"-NOAUTH Authentication required.\r\n", AuthenticationFailedError, False),
        (b"*2\r\n-NOAUTH Authentication required.\r\n:1\r\n", AuthenticationFailedError, False),
        (b"HTTP/1.1 400 Bad Request\r\n", UnansweredError, False),
        (b"*4294967295\r\n", UnansweredError, False),
        (None, UnansweredError, False),
    ],
)
async def test_p16_an_error_is_an_answer_or_the_end_of_the_connection(
    reply: bytes | None, error: type[Exception], is_kept: bool
) -> None:
    to_come = [b"+OK\r\n", reply]
    async with link_to(lambda _: to_come.pop(0) if to_come else b"+OK\r\n") as (link, dialled):
        assert await link.call("PING") == b"OK"
        with pytest.raises(error):
            await link.call("PING")
        assert await link.call("PING") == b"OK"
        assert len(dialled) == (1 if is_kept else 2)


async def test_p16_what_was_answered_before_the_connection_was_lost_is_answered() -> None:
    may_answer = asyncio.Event()

    async def held() -> bytes:
        await may_answer.wait()
        return b"+OK\r\n"

    to_come: list[Any] = [b"+OK\r\n", held(), b":1\r\n$1\r\nx\r\n*1\r\n:3\r\n:4", None]
    async with link_to(lambda _: to_come.pop(0) if to_come else b"+OK\r\n") as (link, _):
        await link.call("PING")
        first = asyncio.create_task(link.call("PING"))
        await until(lambda: link._under_way)
        several = asyncio.gather(*(link.call("GET", n) for n in range(4)), return_exceptions=True)
        may_answer.set()
        assert await first == b"OK"
        await until(lambda: len(link._under_way) == 1)
        await link.close()
        *answered, lost = await several
        assert answered == [1, b"x", [3]]
        assert isinstance(lost, UnansweredError)


async def test_p16_an_answer_that_is_late_ends_the_connection_and_is_nobody_elses() -> None:
    late = asyncio.Event()
    calls = 0

    async def second_is_late() -> bytes:
        await late.wait()
        return b":2\r\n"

    def answers(_: bytes) -> Any:
        nonlocal calls
        calls += 1
        return second_is_late() if calls == 2 else b":%d\r\n" % calls

    async with link_to(answers, timeout=0.2) as (link, dialled):
        assert await link.call("PING") == 1
        with pytest.raises(UnansweredError, match="timed out"):
            await link.call("PING")
        late.set()
        assert await link.call("PING") == 3
        assert len(dialled) == 2


async def test_p16_an_answer_is_late_only_when_no_byte_came_for_that_long() -> None:
    """A big reply on a slow line takes far longer than the time of an answer."""
    async with link_to(lambda _: [b"$20\r\n", *[b"x"] * 20, b"\r\n"], timeout=0.3) as (link, dialled):
        assert await link.call("GET", "x") == b"x" * 20
        assert len(dialled) == 1


async def test_p16_silence_in_the_middle_of_an_answer_ends_the_connection() -> None:
    to_come = [b"$20\r\nxxx"]
    async with link_to(lambda _: to_come.pop() if to_come else b"+OK\r\n", timeout=0.3) as (link, dialled):
        began = asyncio.get_running_loop().time()
        with pytest.raises(UnansweredError, match="timed out"):
            await link.call("GET", "x")
        assert asyncio.get_running_loop().time() - began < 3
        assert await link.call("PING") == b"OK"
        assert len(dialled) == 2


async def test_p16_an_answer_is_not_late_while_the_question_leaves() -> None:
    """16 MB over a line that takes them slowly, and an answer when all are there."""
    size, taken = 16_000_000, 0

    def answers(read: bytes) -> Awaitable[bytes]:
        nonlocal taken
        taken += len(read)
        return asyncio.sleep(0.05, b"+OK\r\n" if taken > size else b"")

    async with link_to(answers, timeout=0.3) as (link, dialled):
        began = asyncio.get_running_loop().time()
        assert await link.call("SET", "x", b"x" * size) == b"OK"
        assert asyncio.get_running_loop().time() - began > 0.6
        assert len(dialled) == 1


async def test_p23_a_batch_leaves_while_another_is_answered_and_more_gather() -> None:
    """Redis and its callers work at the same time; with more batches, the last caller would wait for all of them."""
    asked: list[int] = []
    may_answer = asyncio.Event()

    async def answer(read: bytes) -> bytes:
        asked.append(read.count(b"GET"))
        await may_answer.wait()
        return b"+OK\r\n" * read.count(b"GET")

    async with link_to(answer) as (link, _):
        calls = [asyncio.create_task(link.call("GET", 1))]
        await until(lambda: asked == [1])
        for number, under_way in ((2, 3), (3, 3), (4, 3)):
            calls += [asyncio.create_task(link.call("GET", n)) for n in range(number)]
            await until(lambda under_way=under_way: len(link._under_way) == under_way)  # type: ignore[misc]
            await asyncio.sleep(0)
        assert len(link._outbox) == 7
        may_answer.set()
        assert await asyncio.gather(*calls) == [b"OK"] * 10
    assert asked == [1, 2, 7]


async def test_p16_what_is_under_way_to_a_wrong_node_is_answered_before_it_is_left() -> None:
    """Else the second batch would be unanswered, though nothing of it was written."""
    refusal = b"-READONLY You can't write against a read only replica.\r\n"
    may_answer = asyncio.Event()

    async def refuse(_: bytes) -> list[bytes | None]:
        await may_answer.wait()
        return [refusal]

    to_come: list[Any] = [refuse, refuse]
    async with link_to(lambda read: to_come.pop(0)(read) if to_come else b"+OK\r\n") as (link, dialled):
        first = asyncio.create_task(link.call("SET", "a", 1))
        await until(lambda: len(to_come) == 1)
        second = asyncio.create_task(link.call("SET", "b", 1))
        await until(lambda: len(link._under_way) == 2)
        may_answer.set()
        refused = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(error) for error in refused] == [WrongNodeError, WrongNodeError]
        assert await link.call("PING") == b"OK"
        assert len(dialled) == 2


class Line:
    """A connection on which nothing moves unless the test says so."""

    heard = 0.0
    unsent = 0


def test_p16_patience_is_measured_in_silence_and_grows_with_what_must_leave() -> None:
    line, patience = Line(), Patience(10.0)
    patience.sent(SLOWEST, 100.0, behind=False)
    assert patience.left(line, 100.0) == 11.0
    patience.sent(5 * SLOWEST, 105.0, behind=True)
    assert patience.left(line, 105.0) == 11.0, "the first answer is late after 16 seconds of silence since it was asked"
    line.heard = 110.0
    assert patience.left(line, 110.0) == 16.0
    line.unsent = 1000
    assert patience.left(line, 120.0) == 6.0
    line.unsent = 999
    assert patience.left(line, 121.0) == 16.0, "a byte has left"
    patience.sent(0, 130.0, behind=False)
    assert patience.left(line, 130.0) == 10.0, "what was answered counts no more"


async def test_p25_those_of_a_request_that_were_answered_before_the_loss_keep_their_answers() -> None:
    async with link_to(lambda _: [b"+1-1\r\n+1-2\r\n", None]) as (link, _):
        first, second, third = await link.call_many([("XADD", n) for n in range(3)])
        assert (first, second) == (b"1-1", b"1-2")
        assert isinstance(third, UnansweredError)


async def test_p16_a_reply_that_nobody_had_asked_for_ends_the_connection() -> None:
    """Else it would be taken for the answer to the next command."""
    to_come = [b"+OK\r\n+and more\r\n"]
    async with link_to(lambda _: to_come.pop() if to_come else b":1\r\n") as (link, dialled):
        assert await link.call("PING") == b"OK"
        await until(lambda: link._wire is None)
        assert await link.call("PING") == 1
        assert len(dialled) == 2


async def test_p16_a_reply_that_went_missing_ends_the_connection_while_commands_follow_each_other() -> None:
    """Else each command would get the reply of the one before, for as long as others are sent."""
    swallows = [True]

    async def answers(read: bytes) -> bytes:
        said = re.findall(rb"SAY\r\n\$\d+\r\n(\d+)\r\n", read)
        await asyncio.sleep(0)
        return b"".join(b":%b\r\n" % number for number in said[len(said) if swallows and swallows.pop() else 0 :])

    async with link_to(answers, timeout=0.3) as (link, dialled):
        wrong: list[int] = []

        async def ask(first: int) -> None:
            for number in range(first, first + 1_000_000, 2):
                try:
                    if await link.call("SAY", number) != number:
                        wrong.append(number)
                    elif len(dialled) == 2:
                        return
                except RedisUnavailableError:
                    pass

        lost = asyncio.create_task(ask(0))
        await until(lambda: not swallows)
        async with asyncio.timeout(30):
            await asyncio.gather(lost, ask(1))
        assert wrong, "the replies were shifted for a while"


async def test_p23_a_caller_that_was_cancelled_leaves_its_reply_to_nobody() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(read: bytes) -> bytes:
        asked.set()
        await may_answer.wait()
        return b"".join(b"$1\r\n%b\r\n" % part[-3:-2] for part in read.split(b"*2\r\n")[1:])

    async with link_to(answer) as (link, _):
        calls = [asyncio.create_task(link.call("GET", name)) for name in "abcdef"]
        await asked.wait()
        for call in calls[::2]:
            call.cancel()
        may_answer.set()
        answered = await asyncio.gather(*calls, return_exceptions=True)
        assert answered[1::2] == [b"b", b"d", b"f"]
        assert all(isinstance(gone, asyncio.CancelledError) for gone in answered[::2])


async def test_a_call_of_no_commands_is_answered_with_nothing_and_waits_for_nothing() -> None:
    async with link_to(lambda _: None) as (link, dialled):
        assert await link.call_many([]) == []
        assert dialled == []


async def test_a_bug_of_ours_in_reading_replies_fails_all_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Link, answers: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Link, "_take_replies", broken)
    async with link_to(lambda _: b"+OK\r\n") as (link, _):
        with pytest.raises(ZeroDivisionError):
            await link.call("PING")
        with pytest.raises(ZeroDivisionError):
            await link._task  # type: ignore[misc]
