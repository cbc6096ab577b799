"""An unanswered publish with an event id (P25): sent again where the server recognises it, and nowhere else.

By fakeredis, which knows `XADD IDMP`, everywhere; by a Redis that has it, where one is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import fakeredis
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, PermissionDeniedError, Settings, UnansweredError
from redis_streams_aio.connection import capabilities
from redis_streams_aio.connection.capabilities import IDMP
from redis_streams_aio.connection.replies import Answer
from redis_streams_aio.testing import servers
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

NewServer = Callable[..., Server]
NEWEST = "redis-8.10"
PLACES = ["fakeredis", NEWEST]
TIMEOUT = 2.0


class Place:
    """A broker on a server that recognises repetitions, whose answers get lost."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.to_lose = 0
        self.sent = 0
        """Requests that were sent to publish."""
        self._link = broker.connection.link("publish")
        self._send = self._link.send
        self._link.send = self._lossy  # type: ignore[method-assign, assignment]

    async def _lossy(self, packed: bytes, expected: int) -> list[Answer]:
        self.sent += 1
        answers = await self._send(packed, expected)
        if self.to_lose:
            self.to_lose -= 1
            raise UnansweredError("the answer was lost")
        return answers

    async def length(self) -> int:
        return int(await self.broker.connection.call("XLEN", "orders"))  # type: ignore[arg-type]


@asynccontextmanager
async def opened(url: str, timeout: float = TIMEOUT) -> AsyncIterator[Place]:
    async with Broker(url, settings=Settings(command_timeout=timeout)) as broker:
        yield Place(broker)


@pytest.fixture(params=PLACES)
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, new_server: NewServer) -> str:
    """The URL of a server that recognises repetitions."""
    if request.param == NEWEST:
        return newest(new_server).url
    server = fakeredis.FakeServer(version=(8, 8))
    monkeypatch.setattr(fakeredis, "FakeServer", lambda: server)
    monkeypatch.setattr(capabilities, "found", lambda _: frozenset({IDMP}))
    return "memory://"


def newest(new_server: NewServer, *options: str) -> Server:
    if not capabilities.SINCE:
        pytest.skip("all capabilities are masked")
    try:
        servers.binary(NEWEST)
    except LookupError as error:
        pytest.skip(str(error))
    return new_server(*options, kind=NEWEST)


@pytest.mark.parametrize("losses", [1, 3])
async def test_p25_an_unanswered_event_with_an_id_is_sent_again_and_is_there_once(url: str, losses: int) -> None:
    async with opened(url) as place:
        place.to_lose = losses
        entry_id = await place.broker.publish("orders", Order(1), event_id="a")
        assert (place.sent, await place.length()) == (losses + 1, 1)
        [[found, _]] = await place.broker.connection.call("XRANGE", "orders", "-", "+")  # type: ignore[misc, union-attr]
        assert found == entry_id.encode()


async def test_p25_an_unanswered_event_without_an_id_is_not_sent_again(url: str) -> None:
    async with opened(url) as place:
        place.to_lose = 1
        with pytest.raises(UnansweredError):
            await place.broker.publish("orders", Order(1))
        assert (place.sent, await place.length()) == (1, 1)


async def test_p25_masked_an_unanswered_event_is_not_sent_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "found", lambda _: frozenset())
    async with opened(url) as place:
        place.to_lose = 1
        with pytest.raises(UnansweredError):
            await place.broker.publish("orders", Order(1), event_id="a")
        assert (place.sent, await place.length()) == (1, 1)


@pytest.mark.parametrize("is_masked", [False, True])
async def test_p25_two_calls_with_one_event_id_are_two_entries(
    url: str, is_masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on every server: consumers drop the second, and another payload under the same id is not lost in silence."""
    if is_masked:
        monkeypatch.setattr(capabilities, "found", lambda _: frozenset())
    async with opened(url) as place:
        ids = [await place.broker.publish("orders", Order(number), event_id="a") for number in (1, 2)]
        reply = await place.broker.connection.call("XRANGE", "orders", "-", "+")
        entries = [(entry_id.decode(), fields[3][:11]) for entry_id, fields in reply]  # type: ignore[misc, union-attr]
        assert entries == [(ids[0], b'{"number":1'), (ids[1], b'{"number":2')]


@pytest.mark.parametrize("forgetful", [("IDMP-MAXSIZE", 99), ("IDMP-DURATION", 4)])
async def test_p25_where_the_stream_forgets_too_soon_nothing_is_sent_again(
    url: str, forgetful: tuple[str, int]
) -> None:
    if url == "memory://" and "MAXSIZE" in forgetful[0]:
        pytest.skip("fakeredis 2.40 forgets what it was told here")
    async with opened(url) as place:
        await place.broker.publish("orders", Order(1))
        await place.broker.connection.call("XCFGSET", "orders", *forgetful)
        place.to_lose = 1
        with pytest.raises(UnansweredError):
            await place.broker.publish("orders", Order(1), event_id="a")
        assert (place.sent, await place.length()) == (2, 2)


async def test_p25_who_may_not_ask_how_much_the_stream_remembers_sends_nothing_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise PermissionDeniedError("NOPERM")

    async with opened(url) as place:
        place.to_lose = 1
        with monkeypatch.context() as patched, pytest.raises(UnansweredError):
            patched.setattr(Connection, "call", refused)
            await place.broker.publish("orders", Order(1), event_id="a")
        assert (place.sent, await place.length()) == (1, 1)


async def test_p25_answers_that_are_lost_for_ever_end_with_the_time_of_the_call(url: str) -> None:
    async with opened(url, timeout=0.5) as place:
        place.to_lose = 1000
        began = asyncio.get_running_loop().time()
        with pytest.raises(UnansweredError):
            await place.broker.publish("orders", Order(1), event_id="a")
        assert asyncio.get_running_loop().time() - began < 5
        assert 1 < place.sent < 10
        assert await place.length() == 1


async def test_p25_a_repetition_that_fails_otherwise_leaves_it_open_whether_the_first_was_executed(url: str) -> None:
    async with opened(url) as place:
        place.to_lose = 1
        losing = place._link.send

        async def lose_and_replace(packed: bytes, expected: int) -> list[Answer]:
            try:
                return await losing(packed, expected)
            except UnansweredError:
                await place.broker.connection.call("DEL", "orders")
                await place.broker.connection.call("SET", "orders", "text")
                raise

        place._link.send = lose_and_replace  # type: ignore[method-assign, assignment]
        with pytest.raises(UnansweredError):
            await place.broker.publish("orders", Order(1), event_id="a")


async def test_p25_a_stream_that_is_gone_gets_the_event_again(url: str) -> None:
    async with opened(url) as place:
        place.to_lose = 1
        losing = place._link.send

        async def lose_and_delete(packed: bytes, expected: int) -> list[Answer]:
            try:
                return await losing(packed, expected)
            except UnansweredError:
                await place.broker.connection.call("DEL", "orders")
                raise

        place._link.send = lose_and_delete  # type: ignore[method-assign, assignment]
        await place.broker.publish("orders", Order(1), event_id="a")
        assert await place.length() == 1


async def test_a_server_that_says_more_than_it_can_is_asked_once(
    server: Server, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A managed service or a proxy may name a version whose commands it does not have."""
    monkeypatch.setattr(capabilities, "found", lambda _: frozenset({IDMP}))
    if server.kind == NEWEST:
        pytest.skip("this one can")
    async with opened(server.url) as place:
        await place.broker.publish("orders", Order(1), event_id="a")
        assert place.sent == 2
        await place.broker.publish("orders", Order(2), event_id="b")
        assert place.sent == 3
        assert await redis.xlen("orders") == 2
        await place.broker.connection.link("control").close()  # another connection to the same server changes nothing
        assert place.broker.connection.node_of("orders").capabilities == frozenset()


@pytest.mark.timeout(60)
async def test_p25_cut_connections_lose_and_double_nothing_that_has_an_event_id(new_server: NewServer) -> None:
    server = newest(new_server)
    async with (
        proxy(server.port) as network,
        Broker(network.url, settings=Settings(command_timeout=10)) as broker,
        Redis.from_url(server.url, protocol=2, decode_responses=True) as redis,
    ):
        await broker.publish("orders", Order(0), event_id="0")
        network.cut_reply_after(0)
        await broker.publish("orders", Order(1), event_id="1")
        publishing = [
            asyncio.create_task(broker.publish("orders", Order(number), event_id=str(number)))
            for number in range(2, 1000)
        ]
        for _ in range(5):
            network.cut_reply_after(100)
            await until(lambda: network.cut_after is None or all(task.done() for task in publishing))
        ids = await asyncio.gather(*publishing)
        entries = await redis.xrange("orders")
        assert len(entries) == 1000
        assert {entry_id for entry_id, _ in entries} >= set(ids)
        assert len({fields["event_id"] for _, fields in entries}) == 1000
