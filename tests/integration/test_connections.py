"""Every kind of address (`redis://` is everywhere else), and what a user's own client may be."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis as sync_redis
from redis.asyncio import BlockingConnectionPool, Redis

from redis_streams_aio import Broker, ConfigError, Connection, RedisUnavailableError, Settings
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

TLS = Path(__file__).parent.parent / "tls"


async def works(broker: Broker) -> None:
    """One event there and back."""
    got: list[int] = []

    @broker.handler("orders", group="g")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])


async def test_a_unix_socket(new_server: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    new_server("--unixsocket", str(path))
    await works(Broker(f"unix://{path}?db=3"))


async def test_a_plain_url_needs_nothing_of_redis_py(new_server: Callable[..., Server], tmp_path: Path) -> None:
    """User, password and database are in it, or a socket is: the import of redis-py takes most of the time to open."""
    path = tmp_path / "s.sock"
    server = new_server("--unixsocket", str(path))
    program = (
        "import asyncio, sys\nfrom redis_streams_aio import Broker\nasync def main(url, kind):\n"
        "    async with Broker(url) as broker:\n        await broker.publish(kind, {}, event_type='E')\n"
        "asyncio.run(main(*sys.argv[1:]))\nassert 'redis' not in sys.modules"
    )
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "app", "on", ">p/w", "+@all", "~*", "&*")
    urls = {"tcp": server.url.replace("//", "//app:p%2Fw@").replace("/0", "/3"), "unix": f"unix://{path}"}
    for kind, url in urls.items():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, kind)
        assert await process.wait() == 0
    for database, kind in ((3, "tcp"), (0, "unix")):
        async with Redis.from_url(server.url.replace("/0", f"/{database}")) as redis:
            assert await redis.exists(kind)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://127.0.0.1:1", "redis://127.0.0.1:1: Connection refused"),
        ("redis://localhost:1", "redis://localhost:1: Connection refused"),
        ("redis://127.0.0.1:1?protocol=2", "redis://127.0.0.1:1?***: Connection refused"),
        ("rediss://127.0.0.1:1", "rediss://127.0.0.1:1: Connection refused"),
        ("unix:///nowhere/s.sock", "unix:///nowhere/s.sock: No such file or directory"),
    ],
)
async def test_where_nobody_is_says_so_in_few_words(url: str, problem: str) -> None:
    with pytest.raises(RedisUnavailableError) as told:
        async with Connection(url, connect_timeout=0.01):
            pass
    assert str(told.value).rstrip(".") == f"gave up after connect_timeout=0.01 s: {problem}"


@contextlib.asynccontextmanager
async def tls_in_front_of(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A TLS port that leads to the server's plain one."""
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    ends: set[asyncio.StreamWriter] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", server.port)
        ends.update((writer, back_writer))
        await asyncio.gather(copy(reader, back_writer), copy(back_reader, writer))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in ends:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def test_tls_with_a_certificate_that_is_trusted(server: Server, redis: Redis) -> None:
    async with tls_in_front_of(server) as port:
        await works(Broker(f"rediss://localhost:{port}/0?ssl_ca_certs={TLS / 'cert.pem'}"))


async def test_tls_verifies_by_default(server: Server, redis: Redis) -> None:
    async with tls_in_front_of(server) as port:
        with pytest.raises(RedisUnavailableError, match="(?i)certificate verify failed"):
            async with Broker(f"rediss://localhost:{port}/0", settings=Settings(connect_timeout=0.3)):
                pass


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_clients_configuration_whatever_it_is(url: str, protocol: int) -> None:
    pool = BlockingConnectionPool.from_url(
        url, protocol=protocol, decode_responses=True, socket_timeout=1, health_check_interval=1, client_name="theirs"
    )
    client = Redis(connection_pool=pool)
    await works(Broker(client=client))
    assert await client.get("nothing") is None
    await client.aclose()
    await pool.disconnect()


async def test_a_client_of_another_kind_is_refused(url: str) -> None:
    client = sync_redis.Redis.from_url(url)
    with pytest.raises(
        ConfigError, match="client: expected a redis.asyncio.Redis or RedisCluster, got redis.client.Redis"
    ):
        async with Connection(client=client):  # type: ignore[arg-type]
            pass
    client.close()


async def test_a_cancelled_publish_mixes_no_replies_up(url: str, redis: Redis) -> None:
    """The reply to a publish that nobody waits for any more is not the next one's."""
    async with Broker(url) as broker:
        await broker.publish("orders", Order(0))
        await redis.client_pause(100, all=False)
        abandoned = [asyncio.create_task(broker.publish("orders", Order(-1))) for _ in range(10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in abandoned[::2]:
            task.cancel()
        ids = await asyncio.gather(*(broker.publish("others", Order(number)) for number in range(10)))
        await asyncio.gather(*abandoned, return_exceptions=True)
    assert ids == [entry_id for entry_id, _ in await redis.xrange("others")]


async def test_a_thousand_publishers_wait_while_much_is_queued(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis_streams_aio.connection.wire import outbox

    monkeypatch.setattr(outbox, "MOST_QUEUED", 10_000)
    async with Broker(url) as broker:
        ids = await asyncio.gather(*(broker.publish("orders", Order(number)) for number in range(1000)))
    assert sorted(ids) == sorted(entry_id for entry_id, _ in await redis.xrange("orders"))


async def test_p5_a_reader_that_is_closed_while_it_connects_reads_nothing(server: Server, redis: Redis) -> None:
    """Nobody knows the connection that came about after: what it read would be pending, and nobody would have it."""
    await redis.xgroup_create("orders", "g", mkstream=True)
    async with proxy(server.port) as network, Connection(network.url) as connection:
        reader = connection.reader("orders")
        before = network.accepted
        network.partition("replies")
        reading = asyncio.create_task(reader.read(Consumer("orders", "g", "one"), count=1, block=5.0))
        await until(lambda: network.accepted > before)
        await connection.release(reader)
        await network.heal()
        with pytest.raises(RedisUnavailableError, match="closed while it connected"):
            await reading
        await redis.xadd("orders", {"a": "b"})
        assert (await redis.xpending("orders", "g"))["pending"] == 0
        assert not [each for each in await redis.client_list() if each["cmd"] == "xreadgroup"]
