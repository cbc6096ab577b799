"""Our own connections: what they begin with, and what they say when a server does not let them."""

from __future__ import annotations

import asyncio

import pytest

from redis_streams_aio import (
    AuthenticationFailedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    ServerError,
    UnsupportedServerError,
)
from redis_streams_aio.connection.dial import dial
from redis_streams_aio.connection.wire.line import Line, Place

HELLO = b"*6\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$2\r\nid\r\n:7\r\n"
UNKNOWN = b"-ERR unknown subcommand\r\n"


async def greeted_by(*answers: bytes, **place: object) -> tuple[list[bytes], object]:
    """Dial a server that answers each read with the next of `answers`, and hangs up after the last one."""
    read: list[bytes] = []
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in left:
            read.append(await reader.read(10_000))
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    where = Place(host="127.0.0.1", port=server.sockets[0].getsockname()[1], library=("us", "1"), **place)  # type: ignore[arg-type]
    try:
        connection, greeted = await dial(lambda: Line(where, 5.0), 5.0, "there")
        await connection.disconnect(nowait=True)
        return read, greeted
    finally:
        server.close()
        await asyncio.sleep(0)


async def test_all_that_a_connection_begins_with_leaves_in_one_write() -> None:
    read, greeted = await greeted_by(HELLO + b"+OK\r\n" + 2 * UNKNOWN, database=3)
    assert greeted == ("redis", "7.2.4", 7, "standalone", "master")
    assert [written.count(b"*") for written in read] == [4]
    assert b"SELECT" in read[0]


async def test_nothing_follows_credentials_before_they_are_accepted() -> None:
    read, _ = await greeted_by(b"+OK\r\n", HELLO + 2 * b"+OK\r\n", credentials=("app", "secret"))
    assert [written.count(b"*") for written in read] == [1, 3]
    assert b"secret" in read[0]


@pytest.mark.parametrize("credentials", [(), ("secret",)])
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"-ERR max number of clients reached\r\n", RedisUnavailableError, "there: max number of clients reached"),
        (b"-DENIED Redis is running in protected mode\r\n", ServerError, "DENIED Redis is running in protected mode"),
        (b"-LOADING Redis is loading\r\n", RedisRefusedError, "LOADING Redis is loading"),
        (
            b"-NOAUTH Authentication required.\r\n",
            AuthenticationFailedError,
            "there: Redis refused the credentials: Authentication required.",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n", RedisUnavailableError, None),
        (b"", RedisUnavailableError, "there: Connection closed by server."),
    ],
)
async def test_p16_a_server_that_does_not_let_us_in_is_told_by_its_own_words(
    answer: bytes, error: type[RedisStreamsError], text: str | None, credentials: tuple[str, ...]
) -> None:
    with pytest.raises(error) as told:
        await greeted_by(answer, credentials=credentials)
    assert type(told.value) is error
    assert text is None or str(told.value) == text


async def test_credentials_are_refused_in_other_words_too() -> None:
    with pytest.raises(AuthenticationFailedError, match="there: Redis refused the credentials: AUTH called without"):
        await greeted_by(b"-ERR AUTH called without any password\r\n", credentials=("secret",))


async def test_a_database_that_is_not_there_and_a_server_that_is_too_old() -> None:
    with pytest.raises(ServerError, match="DB index is out of range"):
        await greeted_by(HELLO + b"-ERR DB index is out of range\r\n" + 2 * b"+OK\r\n", database=99)
    with pytest.raises(UnsupportedServerError):
        await greeted_by(HELLO.replace(b"7.2.4", b"6.2.4") + 2 * b"+OK\r\n")
