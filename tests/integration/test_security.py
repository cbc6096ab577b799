"""Security, against real servers: what strangers write to a stream, what users may do, what errors tell, TLS."""

from __future__ import annotations

import json
import logging
import re
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from click.testing import CliRunner
from redis.asyncio import Redis
from rich.pretty import pretty_repr

from redis_streams_aio import (
    Broker,
    Connection,
    FieldsCodec,
    RedisStreamsError,
    RedisUnavailableError,
    RetryPolicy,
    Settings,
    StreamConsumer,
    config,
)
from redis_streams_aio.cli import session
from redis_streams_aio.cli.app import app
from redis_streams_aio.connection.address import parse
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_connections import tls_in_front_of

NewServer = Callable[..., Server]
DEEP = b'{"x":' + b"[" * 200_000
"""JSON that no decoder can follow to its end."""


# -- what strangers write -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        {
            "redis_streams_aio:replayed_for": "g",
            "redis_streams_aio:replay_history": DEEP,
            "event_type": "Order",
            "payload": '{"number":1}',
        },
        {"event_type": "Order", "payload": DEEP},
        {"event_type": "Order", "payload": b"\x81\xa1x" + b"\x91" * 200_000, "content_type": "application/msgpack"},
    ],
    ids=["history", "json", "msgpack"],
)
async def test_p13_depth_that_no_decoder_follows_ends_nothing(url: str, redis: Redis, entry: dict[str, bytes]) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await redis.xadd("orders", entry)  # type: ignore[arg-type]
        await broker.publish("orders", Order(2))
        await until(lambda: 2 in got)
    assert got in ([2], [1, 2])


@pytest.mark.parametrize("codec", [None, FieldsCodec()], ids=["payload", "fields"])
async def test_p12_p13_what_is_too_large_is_dead_lettered_and_what_is_behind_it_handled(
    url: str, redis: Redis, codec: FieldsCodec | None
) -> None:
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(max_payload_bytes=100))

    @broker.handler("orders", event_type="Order", codec=codec)
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await redis.xadd("orders", {"event_type": "Order", "payload": json.dumps({"number": 1, "customer": "a" * 100})})
        await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":2}', "number": 2})
        await until(lambda: got == [2])
        [(_, letter)] = await redis.xrange("{orders}:g:dead")
    assert letter["dead:reason"] == "undecodable"
    assert letter["dead:error"].endswith("has 129 bytes, the limit is 100 (max_payload_bytes)")
    assert json.loads(letter["payload"])["number"] == 1, "whole, to be replayed under a higher limit"


async def test_p12_the_part_consumer_has_the_limit_too(connection: Connection, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": json.dumps({"number": 1, "customer": "a" * 100})})
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":2}'})
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, max_payload_bytes=100) as consumer:
        async for event in consumer.subscribe():
            assert event.payload.number == 2
            await consumer.acknowledge(event)
            consumer.stop()
    assert await redis.xlen("{orders}:g:dead") == 1


# -- credentials --------------------------------------------------------------------------------------------------

CORE = "s3cr3t"
"""Stands in every form of the secrets."""
PASSWORD = f"{CORE}/p@ss?w#rd:1 "
USER = "user@corp"
"""Redis tells it itself, of whom a command is not permitted: it is no secret."""
QUOTED = f"{CORE}%40{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
Told = list[str]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    """What anybody is told; no secret is in it, nor in any log at any level, when the test is over."""
    caplog.set_level(logging.DEBUG)
    for name in ("redis", "redis_streams_aio", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    texts: Told = []
    yield texts
    for text in (*texts, caplog.text):
        assert CORE not in text


def tell(told: Told, error: BaseException) -> None:
    told += (str(error), repr(error), "".join(traceback.format_exception(error)))


async def refused(told: Told, use: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(RedisStreamsError) as raised:
        await use()
    tell(told, raised.value)


IMPATIENT = Settings(connect_timeout=0.01, command_timeout=1, block_ms=50, grace=0)


async def opened(url: str) -> None:
    async with Broker(url, settings=IMPATIENT) as broker:
        await broker.publish("orders", Order(1))


WRONG = [
    f"redis://:{CORE}@localhost:notaport",
    f"redis://u:{CORE}@localhost:notaport/0",
    f"redis://u:{QUOTED}@localhost:99999/0",
    f"redis://u:123/{CORE}@localhost/0",
    f"redis://u:12?{CORE}@localhost/0",
    f"redis://:12#{CORE}@localhost/0",
    f"redis://u:[{CORE}@localhost/0",
    f"redis+sentinel://{QUOTED}@localhost:26379/mymaster",
    f"postgres://{QUOTED}@localhost",
    f"u:{CORE}@localhost:6379",
    f"embedded://{QUOTED}@x/y",
    f"redis://{QUOTED}@127.0.0.1:1/0",
    f"rediss://{QUOTED}@127.0.0.1:1/0",
    f"unix://{QUOTED}@/nowhere/redis.sock",
    f"redis://127.0.0.1:1/0?password={QUOTED}&username={QUOTED}",
    f"redis://{QUOTED}@127.0.0.1:1/0?unknown=1",
    f"redis://{QUOTED}@127.0.0.1:1/0?socket_timeout={CORE}",
]


@pytest.mark.parametrize("url", WRONG, ids=range(len(WRONG)))
async def test_no_error_tells_what_is_secret_in_a_url(told: Told, url: str) -> None:
    await refused(told, lambda: opened(url))


@pytest.mark.parametrize("url", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize(
    "command", [["groups", "s"], ["dead-letters", "ls", "s", "g"], ["publish", "s", "{}", "--type", "E"]]
)
def test_no_message_of_the_command_line_tells_it(
    told: Told, url: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CONNECT_TIMEOUT", 0.01)
    for where in ({"args": [*command, "--url", url]}, {"args": command, "env": {"REDIS_STREAMS_REDIS_URL": url}}):
        result = CliRunner().invoke(app, **where)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), "told as an error, not as a traceback"
        told.append(result.output)


FILES = [
    f'redis_streams:\n  redis_url: "redis://{QUOTED}@localhost\n',
    f"redis_streams:\n  group: g\n  redis_url:redis://{QUOTED}@localhost\n",
    f"redis_streams: {{redis_url:redis://u:{CORE}@localhost, group: g}}\n",
    f"redis_streams:\n  redis_url: *{CORE}\n",
    f"redis_streams:\n  redis_url: !{CORE} x\n",
    f"redis_streams:\n  redis_url: [redis://u:{CORE}@localhost]\n",
    f"redis_streams:\n  checkpoints: redis://u:{CORE}@localhost\n",
    f"redis_streams:\n  block_ms: redis://u:{CORE}@localhost\n",
    f"redis_streams: redis://u:{CORE}@localhost\n",
    f"redis_streams:\n  group: redis://u:{CORE} @localhost\n",
]


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_no_error_about_a_file_tells_it(told: Told, text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(RedisStreamsError) as raised:
        config.load(file, {})
    tell(told, raised.value)


@pytest.mark.parametrize("key", ["BLOCK_MS", "CHECKPOINTS", "GROUP", "GRACE", "STREAMS", "NO_SETTING"])
def test_no_error_about_the_environment_tells_it(told: Told, key: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("redis_streams:\n")
    try:
        config.load(file, {f"REDIS_STREAMS_{key}": f"redis://u:{CORE} @localhost"})
    except RedisStreamsError as error:
        tell(told, error)


def test_no_error_about_settings_tells_it(told: Told) -> None:
    with pytest.raises(RedisStreamsError) as raised:
        Settings(redis_url=f"redis://:{CORE}".encode())  # type: ignore[arg-type]
    tell(told, raised.value)


async def test_no_repr_tells_it(told: Told) -> None:
    url = f"redis://{QUOTED}@127.0.0.1:1/0?password={CORE}"
    settings, broker, connection = Settings(redis_url=url), Broker(url, group="g"), Connection(url)
    client = Broker(client=Redis.from_url(url))
    for one in (settings, broker, connection, client, parse(url), Settings()):
        told += (repr(one), str(one), pretty_repr(one))


@asynccontextmanager
async def locked(
    new_server: NewServer, *options: str, rules: tuple[str, ...] = ("~*", "+@all")
) -> AsyncIterator[Server]:
    """A server with one user of our name and password."""
    server = new_server(*options)
    async with Redis.from_url(server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *rules)
    yield server


def with_secret(server: Server) -> str:
    return server.url.replace("//", f"//{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@")


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        ((), ("off",)),
        ((), ("resetpass", ">another")),
        ((), ("~nothing", "+@all")),
        ((), ("~*", "+hello")),
        ((), ("~*", "-@all")),
        (("--rename-command", "AUTH", ""), ("~*", "+@all")),
        (("--maxmemory", "1"), ("~*", "+@all")),
    ],
    ids=["off", "wrong-password", "no-keys", "no-commands", "nothing", "no-auth", "full"],
)
@pytest.mark.parametrize("by", ["url", "client", "provider"])
async def test_no_refusal_of_the_server_tells_it(
    told: Told, new_server: NewServer, options: tuple[str, ...], rules: tuple[str, ...], by: str
) -> None:
    from redis.credentials import UsernamePasswordCredentialProvider

    async with locked(new_server, *options, rules=rules) as server:
        if by == "url":
            broker = Broker(with_secret(server), settings=IMPATIENT)
        elif by == "client":
            broker = Broker(client=Redis.from_url(with_secret(server)), settings=IMPATIENT)
        else:
            provider = UsernamePasswordCredentialProvider(USER, PASSWORD)
            broker = Broker(client=Redis.from_url(server.url, credential_provider=provider), settings=IMPATIENT)

        async def use() -> None:
            async with broker:
                await broker.publish("orders", Order(1))

        await refused(told, use)


async def test_p12_no_dead_letter_and_no_fact_tells_it(told: Told, new_server: NewServer) -> None:
    """Of errors of ours that a handler lets through, chained ones too, with the server going away in between."""
    async with locked(new_server) as server:
        facts: list[object] = []
        broker = Broker(with_secret(server), group="g", settings=IMPATIENT, observers=[facts.append])
        away = [url for url in WRONG if "127.0.0.1:1/" in url]

        @broker.handler("orders", retry=RetryPolicy(max_failures=2, base=0))
        async def handle(order: Order) -> None:
            try:
                await opened(away[order.number % len(away)])
            except RedisStreamsError as error:
                raise ValueError("not passed on") from error

        async with broker, Redis.from_url(server.url, protocol=2, decode_responses=True) as admin:
            await broker.publish_many("orders", [Order(number) for number in range(4)])
            await until(lambda: admin.xlen("{orders}:g:dead"), seconds=20)
            for letter in await admin.xrange("{orders}:g:dead"):
                assert "not passed on" in str(letter)
                assert "RedisUnavailableError" in str(letter), "the chain is in the traceback"
                told.append(str(letter))
            server.stop()
            await refused(told, lambda: broker.publish("orders", Order(9)))
            await until(lambda: any("StepFailed" in repr(fact) for fact in facts))
        told += (repr(broker), *map(repr, facts))


# -- TLS ----------------------------------------------------------------------------------------------------------


class Certificates:
    """An authority for this test, and another one that nobody trusts."""

    def __init__(self, folder: Path) -> None:
        self.ours = trustme.CA()
        self.ca = folder / "ca.pem"
        self.ours.cert_pem.write_to_path(self.ca)
        self.client = folder / "client.pem"
        client = self.ours.issue_cert("client")
        client.private_key_and_cert_chain_pem.write_to_path(self.client)

    def server(self, *names: str, authority: trustme.CA | None = None, ask: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.ours).issue_cert(*names).configure_cert(context)
        if ask:
            self.ours.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls_with_an_authority_that_is_named(server: Server, redis: Redis, certificates: Certificates) -> None:
    async with tls_in_front_of(server, certificates.server("localhost")) as port:
        await opened(f"rediss://localhost:{port}/0?ssl_ca_certs={certificates.ca}")
    assert await redis.xlen("orders") == 1


async def test_tls_refuses_an_authority_that_is_not_trusted_and_says_what_to_do(
    server: Server, redis: Redis, certificates: Certificates
) -> None:
    stranger = certificates.server("localhost", authority=trustme.CA())
    for options in ("", f"?ssl_ca_certs={certificates.ca}"):
        async with tls_in_front_of(server, stranger) as port:
            with pytest.raises(
                RedisUnavailableError, match="CERTIFICATE_VERIFY_FAILED.*; name the authority .*ssl_ca_certs="
            ):
                await opened(f"rediss://localhost:{port}/0{options}")
    assert await redis.exists("orders") == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_refuses_another_servers_certificate_and_says_what_to_do(
    server: Server, certificates: Certificates, host: str
) -> None:
    async with tls_in_front_of(server, certificates.server("another.example")) as port:
        with pytest.raises(RedisUnavailableError, match="mismatch.*; connect by a name that is in"):
            await opened(f"rediss://{host}:{port}/0?ssl_ca_certs={certificates.ca}")


async def test_tls_verifies_also_for_a_client(server: Server, certificates: Certificates) -> None:
    async with tls_in_front_of(server, certificates.server("localhost")) as port:
        client = Redis.from_url(f"rediss://localhost:{port}/0")
        with pytest.raises(RedisUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            async with Broker(client=client, settings=IMPATIENT):
                pass


async def test_tls_with_a_client_certificate(server: Server, redis: Redis, certificates: Certificates) -> None:
    mine = f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client}"
    async with tls_in_front_of(server, certificates.server("localhost", ask=True)) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificates.ca}"
        await opened(url + mine)
        with pytest.raises(RedisUnavailableError):
            await opened(url)


def test_nobody_is_told_to_switch_verification_off() -> None:
    root = Path(__file__).parents[2]
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("examples/*"), *root.glob("*.yaml")]
    for page in (page for page in pages if page.is_file()):
        assert not re.search(r"cert_reqs|check_hostname|CERT_NONE|insecure", page.read_text()), page
