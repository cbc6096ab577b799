"""A broker belongs to the event loop and process that opened it (P24): others are refused before anything is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    DeadLetters,
    RedisStreamsError,
    Settings,
    StreamConsumer,
    StreamManager,
    WrongLoopError,
)
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import ROOT

Use = Callable[[Broker], Awaitable[object]]


async def in_another_loop(use: Use, broker: Broker) -> object:
    """As a synchronous view does it: `asyncio.run` in a thread."""

    async def used() -> object:
        async with asyncio.timeout(5):
            return await use(broker)

    return await asyncio.to_thread(lambda: asyncio.run(used()))


async def read(broker: Broker) -> object:
    consumer = StreamConsumer(broker.connection, "orders", "g")
    async with consumer:
        return await consumer.fetch(1)


USES: dict[str, Use] = {
    "publish": lambda broker: broker.publish("orders", Order(1)),
    "publish_many": lambda broker: broker.publish_many("orders", [Order(1)]),
    "dead letters": lambda broker: DeadLetters(broker.connection, "orders", "g").list(),
    "streams": lambda broker: StreamManager(broker.connection).trim("orders", maxlen=0),
    "lag": lambda broker: broker.measure_lag(),
    "settling": lambda broker: broker.connection.call("XACK", "orders", "g", "1-1", purpose="settle"),
    "reading": read,
    "closing": lambda broker: broker.__aexit__(None, None, None),
    "closing the connection": lambda broker: broker.connection.close(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("first", [True, False], ids=["the first of all", "when others have"])
async def test_p24_from_another_event_loop_nothing_is_sent(url: str, redis: Redis, use: str, first: bool) -> None:
    """And whoever tries does no harm to the broker's own loop."""
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(command_timeout=3))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        if not first:
            await broker.publish("orders", Order(0))
            await until(lambda: got == [0])
        with pytest.raises(WrongLoopError, match=r"asyncio\.run_coroutine_threadsafe\(broker\.publish"):
            await in_another_loop(USES[use], broker)
        await broker.publish("orders", Order(2))
        await until(lambda: got[-1:] == [2])
    assert await redis.xlen("orders") == (1 if first else 2)


async def test_p24_what_the_error_says_works(url: str) -> None:
    loop = asyncio.get_running_loop()
    async with Broker(url) as broker:
        published = await asyncio.to_thread(
            lambda: asyncio.run_coroutine_threadsafe(broker.publish("orders", Order(1)), loop).result()
        )
        assert isinstance(published, str)


@pytest.mark.parametrize("handles", [True, False], ids=["with a handler", "without"])
def test_p26_a_broker_whose_loop_died_can_be_opened_again(url_of_a_server: str, handles: bool) -> None:
    """`asyncio.run` ended by an error, and nobody had closed it; as with the loops of tests."""
    got: list[int] = []
    broker = Broker(url_of_a_server, group="g")
    if handles:

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            got.append(order.number)

    async def fails() -> None:
        await broker.__aenter__()
        await broker.publish("orders", Order(1))
        raise ZeroDivisionError

    async def works() -> None:
        async with broker:
            await broker.publish("orders", Order(2))
            if handles:
                await until(lambda: 2 in got)

    async def closes() -> None:
        await broker.__aexit__(None, None, None)

    for then in (works, closes, works):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(fails())
        asyncio.run(then())


@pytest.fixture
def url_of_a_server(server: object) -> str:
    """For tests that have event loops of their own."""
    return str(server.url)  # type: ignore[attr-defined]


STRICT = ("-W", "error", "-W", "ignore::DeprecationWarning")  # Python 3.12 warns of any fork beside threads
PROGRAM = """
import asyncio, os, sys
from redis_streams_aio import Broker, Connection, Settings, StreamManager, WrongLoopError

url, how = sys.argv[1:]
broker = Broker(url, group="g", settings=Settings(command_timeout=3, block_ms=300))
got = []

@broker.handler("orders")
async def handle(order: dict) -> None:
    got.append(order["n"])

async def publish(n):
    return await broker.publish("orders", {"n": n}, event_type="T")

async def child_alone():
    try:
        await publish(-1)
    except WrongLoopError as error:
        print("child refused", "'async with broker:'" in str(error), flush=True)
    try:
        await StreamManager(broker.connection).length("orders")
    except WrongLoopError:
        print("child's parts refused", flush=True)
    if how == "close":
        await broker.__aexit__(None, None, None)
        print("child closed", flush=True)
    async with broker:
        await publish(100)
        print("child published", flush=True)

async def awaits(fact):
    async with asyncio.timeout(15):
        while not fact():
            await asyncio.sleep(0.01)

async def main():
    async with broker:
        await publish(0)
        await awaits(lambda: 0 in got)
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(child_alone())
            except BaseException as error:
                print("child failed", repr(error), flush=True)
            os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        print("parent goes on", flush=True)
        for n in range(1, 20):
            await publish(n)
        await awaits(lambda: set(range(20)) <= set(got) and not broker.status[0].unwritten)
        await asyncio.to_thread(lambda: None)
        ours = sorted(n for n in got if n != 100)  # which both of them may handle
        print("parent handled", ours == [*range(20)] or ours, "ready", broker.ready, flush=True)
    print("parent closed", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["open", "close"])
async def test_p24_a_forked_child_opens_its_own_and_never_touches_the_parent_s(
    url: str, redis: Redis, how: str
) -> None:
    """The parent's sockets stay in its epoll, nothing is written to them, and it handles each event once."""
    program = textwrap.dedent(PROGRAM)
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *STRICT, "-c", program, url, how],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    print(ran.stdout, ran.stderr)
    said = ran.stdout.splitlines()
    assert "child refused True" in said
    assert "child's parts refused" in said
    assert "child published" in said
    assert said[-3:] == ["parent goes on", "parent handled True ready True", "parent closed"]
    assert ran.stderr == ""
    assert await redis.xlen("orders") == 21


async def test_a_connection_that_is_open_in_another_loop_is_not_opened_again(url: str) -> None:
    async with Connection(url) as connection:
        with pytest.raises((RedisStreamsError, RuntimeError), match="open already"):
            await asyncio.to_thread(lambda: asyncio.run(connection.open()))
        assert await connection.call("PING") == b"PONG"
