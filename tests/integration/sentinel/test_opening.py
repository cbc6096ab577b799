"""Opening behind Sentinels (P24, P30): it waits for what may come back, and says what is written wrong."""

from __future__ import annotations

import asyncio
import socket

import hiredis
import pytest

from redis_streams_aio import AuthenticationFailedError, Broker, ConfigError, RedisUnavailableError, Settings
from redis_streams_aio.connection import Connection
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order


def hosts(*servers: Server) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


async def test_p30_the_primary_that_the_sentinels_name_is_used(sentinels: SentinelSet) -> None:
    async with Connection(sentinels.url.replace("/0", "/3")) as connection:
        await connection.call("SET", "here", 1)
        assert connection.is_open
        assert sentinels.kind.partition("-")[0] in connection.server
    assert ask(sentinels.primary, "INFO", "keyspace").count("db3:keys=1") == 1


async def test_p30_sentinels_that_are_away_are_passed_over(sentinels: SentinelSet) -> None:
    url = sentinels.url.replace("://", "://127.0.0.1:1,localhost:2,")
    async with Connection(url) as connection:
        assert await connection.call("PING") == b"PONG"


async def test_p30_opening_waits_while_all_sentinels_are_away(sentinels: SentinelSet) -> None:
    for sentinel in sentinels.sentinels:
        sentinel.freeze()
    opening = asyncio.create_task(Connection(sentinels.url).open())
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(opening), 0.5)
    finally:
        for sentinel in sentinels.sentinels:
            sentinel.thaw()
    await asyncio.wait_for(opening, 10)


async def test_p30_without_any_sentinel_opening_says_why(sentinels: SentinelSet) -> None:
    url = "redis+sentinel://u:SECRET@127.0.0.1:1,127.0.0.1:2/events"
    with pytest.raises(RedisUnavailableError) as told:
        async with Connection(url, connect_timeout=0.01):
            pass
    shown = url.replace("u:SECRET", "***")
    assert str(told.value) == (
        f"gave up after connect_timeout=0.01 s: {shown}: no Sentinel answers: "
        "Sentinel 127.0.0.1:1: Connection refused; Sentinel 127.0.0.1:2: Connection refused"
    )


async def test_p24_a_name_that_the_sentinels_do_not_know_is_refused_with_those_they_know(
    sentinels: SentinelSet,
) -> None:
    url = sentinels.url.replace("/events/", "/orders/")
    with pytest.raises(ConfigError) as told:
        async with Connection(url):
            pass
    assert str(told.value) == f"redis_url: {url}: the Sentinels know no primary 'orders'; they know events"


async def test_p24_a_server_that_is_not_a_sentinel_is_refused(sentinels: SentinelSet) -> None:
    port = sentinels.primary.port
    with pytest.raises(ConfigError) as told:
        async with Connection(f"redis+sentinel://127.0.0.1:{port}/events"):
            pass
    assert str(told.value).startswith(f"redis_url: Sentinel 127.0.0.1:{port} is not a Sentinel; redis+sentinel://")


async def test_p30_sentinels_have_passwords_of_their_own(sentinels: SentinelSet) -> None:
    guarded = sentinels.sentinels[0]
    ask(guarded, "ACL", "SETUSER", "default", "resetpass", ">of/sentinels")
    try:
        url = f"redis+sentinel://{hosts(guarded)}/events"
        async with Connection(f"{url}?sentinel_password=of%2Fsentinels") as connection:
            assert await connection.call("PING") == b"PONG"
        async with Connection(f"{url}?sentinel_username=default&sentinel_password=of%2Fsentinels&db=1") as connection:
            assert await connection.call("PING") == b"PONG"
        with pytest.raises(AuthenticationFailedError, match=f"Sentinel 127.0.0.1:{guarded.port}: Redis refused"):
            async with Connection(f"{url}?sentinel_password=wrong"):
                pass
        with pytest.raises(AuthenticationFailedError):
            async with Connection(url):
                pass
    finally:
        unguard(guarded)


def unguard(sentinel: Server) -> None:
    with socket.create_connection(("127.0.0.1", sentinel.port), 5) as connected:
        connected.sendall(
            hiredis.pack_command(("AUTH", "of/sentinels"))
            + hiredis.pack_command(("ACL", "SETUSER", "default", "resetpass", "nopass"))
        )
        assert connected.recv(100).startswith(b"+OK")


async def test_p30_a_broker_opens_again_in_another_loop_and_after_it_was_closed(sentinels: SentinelSet) -> None:
    broker = Broker(sentinels.url, group="g", settings=Settings(connect_timeout=10))
    got: list[int] = []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    for number in range(2):
        async with broker:
            await broker.publish("orders", Order(number))
            await until(lambda number=number: got == [*range(number + 1)])
    left = [task.get_name() for task in asyncio.all_tasks() if "Sentinels" in task.get_name()]
    assert left == []
