"""Bad input gets a clear error, before the network where that can be, and nothing is lost (P24, P16)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    AuthenticationFailedError,
    Broker,
    ConfigError,
    Connection,
    ConsumerGroupManager,
    EncodeError,
    GroupExistsError,
    GroupNotFoundError,
    InvalidEventError,
    NotOpenError,
    PayloadTooLargeError,
    RawCodec,
    RedisUnavailableError,
    Settings,
    StreamConsumer,
    StreamManager,
    StreamNotFoundError,
    StreamProducer,
    StreamTypeError,
    UnsupportedServerError,
)
from redis_streams_aio.connection import replies
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order


@pytest.mark.parametrize(
    ("stream", "payload", "options", "expected"),
    [
        ("orders", b"x" * 2 * 1024 * 1024, {"event_type": "Big"}, r"payload: \d+ bytes encoded, the limit is 1048576"),
        ("orders", Order(1), {"event_type": ""}, "event_type='': expected text that is not empty"),
        ("orders", {"a": 1}, {}, "event_type: is needed for a payload of type dict"),
        ("orders", Order(1), {"event_type": 7}, "event_type=7: expected text that is not empty"),
        ("orders", object(), {"event_type": "X"}, "payload: object cannot be encoded as JSON"),
        ("orders", {"a": {1, object}}, {"event_type": "X"}, "payload: dict cannot be encoded as JSON"),
        ("", Order(1), {}, "stream: the name is empty"),
        ("two words", Order(1), {}, "stream: the name 'two words' has white space"),
        (b"orders", Order(1), {}, "stream: the name b'orders' is not text"),
        (["orders"], Order(1), {}, "stream: the name \\['orders'\\] is not text"),
        ("x" * 513, Order(1), {}, "stream: the name has 513 characters, at most 512"),
        ("orders", Order(1), {"key": object()}, "key=<object object at .*>: expected text, got object"),
        ("orders", Order(1), {"headers": {"a": None}}, r"headers\['a'\]=None: expected text, got NoneType"),
        ("orders", Order(1), {"headers": ["a"]}, "headers=\\['a'\\]: expected a mapping of text to text, got list"),
        ("orders", Order(1), {"event_id": "\ud800"}, "cannot be written as UTF-8"),
    ],
)
async def test_p24_bad_events_are_refused_before_the_network(
    url: str, redis: Redis, stream: str, payload: object, options: dict[str, str], expected: str
) -> None:
    async with Broker(url) as broker:
        with pytest.raises(InvalidEventError, match=expected):
            await broker.publish(stream, payload, **options)
    assert await redis.keys("*") == []


async def test_p24_publish_many_checks_all_before_it_sends_any(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        with pytest.raises(EncodeError):
            await broker.publish_many("orders", [Order(1), object()], event_type="Order")
        assert await broker.publish_many("orders", []) == []
    assert await redis.exists("orders") == 0


async def test_p24_raw_codec_takes_bytes_only(url: str) -> None:
    async with Broker(url, codec=RawCodec()) as broker:
        with pytest.raises(EncodeError, match="RawCodec takes bytes, not dict"):
            await broker.publish("orders", {"a": 1}, event_type="X")


async def test_the_payload_limit_is_an_option(url: str) -> None:
    async with Broker(url, settings=Settings(max_payload_bytes=10)) as broker:
        with pytest.raises(PayloadTooLargeError):
            await broker.publish("orders", Order(1))


async def test_publishing_on_a_broker_that_is_not_open_says_so(url: str) -> None:
    broker = Broker(url)
    with pytest.raises(NotOpenError, match="async with broker"):
        await broker.publish("orders", Order(1))
    async with broker:
        await broker.publish("orders", Order(1))
    with pytest.raises(NotOpenError):
        await broker.publish_many("orders", [Order(1)])
    with pytest.raises(NotOpenError):
        await StreamProducer(Connection(url)).publish("orders", Order(1))
    with pytest.raises(NotOpenError):
        await broker.measure_lag()


async def test_a_key_that_is_no_stream_is_named_at_start_and_when_publishing(url: str, redis: Redis) -> None:
    await redis.set("orders", "a string")
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    with pytest.raises(StreamTypeError, match="stream 'orders': WRONGTYPE"):
        async with broker:
            pass
    async with Broker(url) as publisher:
        with pytest.raises(StreamTypeError, match="stream 'orders'"):
            await publisher.publish("orders", Order(1))
        with pytest.raises(StreamTypeError):
            await publisher.publish_many("orders", [Order(1), Order(2)])
        manager = StreamManager(publisher.connection)
        with pytest.raises(StreamTypeError):
            await manager.get_stream_info("orders")
        with pytest.raises(StreamTypeError):
            await manager.create_stream("orders")
        with pytest.raises(StreamTypeError):
            await manager.delete_stream("orders")
    assert await redis.get("orders") == "a string"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost", "unknown scheme http://"),
        ("localhost:6379", "unknown scheme none"),
        ("", "unknown scheme none"),
        ("redis://localhost/orders", "database after the last slash is a number, not 'orders'"),
        ("redis://localhost:notaport", "is not one; expected"),
        ("embedded://data", "3 slashes"),
    ],
)
def test_wrong_urls(url: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Connection(url)


async def test_no_url_at_all_says_so() -> None:
    with pytest.raises(ConfigError, match="no redis_url and no client"):
        async with Broker():
            pass


async def test_credentials_are_in_no_repr_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "hunter2"
    broker = Broker(f"redis://user:{secret}@127.0.0.1:1/0?password={secret}", settings=Settings(connect_timeout=0.2))
    with pytest.raises(RedisUnavailableError) as caught:
        async with broker:
            pass
    assert secret not in repr(broker) + repr(broker.connection) + str(caught.value) + caplog.text
    with pytest.raises(ConfigError) as wrong:
        Connection(f"redis://user:{secret}@host:port/0")
    assert secret not in str(wrong.value)


async def test_p16_redis_down_at_start_is_waited_for_and_said(
    new_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = new_server()
    server.stop()
    got: list[int] = []
    broker = Broker(server.url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async def run() -> None:
        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: got)

    running = asyncio.create_task(run())
    await until(lambda: "Redis is not available, trying again in" in caplog.text)
    server.start()
    await running
    assert got == [1]


async def test_connect_timeout_gives_up(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.stop()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(RedisUnavailableError, match=r"gave up after connect_timeout=0.5 s: .*127.0.0.1"):
        async with Broker(server.url, settings=Settings(connect_timeout=0.5)):
            pass
    assert loop.time() - began < 2


async def test_a_wrong_password_fails_at_once(new_server: Callable[..., Server]) -> None:
    server = new_server("--requirepass", "right")
    for url in (server.url, server.url.replace("127.0.0.1", ":wrong@127.0.0.1")):
        with pytest.raises(AuthenticationFailedError):
            async with Broker(url):
                pass
    async with Broker(server.url.replace("127.0.0.1", ":right@127.0.0.1")) as broker:
        await broker.publish("orders", Order(1))


def test_an_old_server_is_refused() -> None:
    def hello(name: bytes, version: bytes) -> list[replies.Reply]:
        return [b"server", name, b"version", version, b"proto", 2, b"id", 4]

    with pytest.raises(UnsupportedServerError, match=r"Redis 6.2.5; redis_streams_aio needs Redis 7.0"):
        replies.server(hello(b"redis", b"6.2.5"))
    assert replies.server(hello(b"redis", b"7.0.0")).client_id == 4
    assert replies.server(hello(b"valkey", b"9.1.2")).name == "valkey"


async def test_missing_streams_and_groups_have_errors_of_their_own(connection: Connection) -> None:
    manager, groups = StreamManager(connection), ConsumerGroupManager(connection)
    with pytest.raises(StreamNotFoundError, match="stream 'nothing': .*no such key"):
        await manager.get_stream_info("nothing")
    with pytest.raises(StreamNotFoundError):
        await groups.list_groups("nothing")
    await manager.create_stream("orders")
    with pytest.raises(GroupNotFoundError, match="has no group 'g'"):
        await groups.get_group_info("orders", "g")
    with pytest.raises(GroupNotFoundError):
        await groups.list_consumers("orders", "g")
    with pytest.raises(GroupNotFoundError):
        await groups.seek("orders", "g", "0")
    await groups.create_group("orders", "g")
    with pytest.raises(GroupExistsError):
        await groups.create_group("orders", "g")
    with pytest.raises(ConfigError, match="group: the name"):
        await groups.create_group("orders", "")


@pytest.mark.parametrize(
    "options",
    [{"name": ""}, {"lease": 0}, {"block": -1.0}, {"count": 0}, {"start": "yesterday"}, {"reclaim_interval": 0}],
)
def test_wrong_options_of_a_consumer(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StreamConsumer(Connection("memory://"), "orders", "g", **options)  # type: ignore[arg-type]
