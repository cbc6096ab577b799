"""Credentials that are renewed while connections are held (P16)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from redis_streams_aio import Broker, Settings
from redis_streams_aio.connection import credentials
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until

from ..events import Order


class Rotating(CredentialProvider):
    """Gives what it has now; `broken` makes it raise."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.broken = False

    def get_credentials(self) -> tuple[str, str]:
        if self.broken:
            raise OSError("the identity service is away")
        return "app", self.password

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "ASKED_EVERY", 0.05)


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server("--user", "app", "on", ">one", "~*", "&*", "+@all")


async def logins(redis: Redis) -> tuple[int, int]:
    """AUTHs so far, and connections so far."""
    stats = await redis.info("commandstats")
    return stats["cmdstat_auth"]["calls"], (await redis.info("stats"))["total_connections_received"]


async def test_p16_held_connections_log_in_again_when_their_provider_has_new_credentials(server: Server) -> None:
    provider = Rotating("one")
    client = Redis.from_url(server.url, credential_provider=provider)
    admin = Redis.from_url(server.url, protocol=2, decode_responses=True)
    got: list[int] = []
    broker = Broker(client=client, group="g", settings=Settings(block_ms=50))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        await admin.execute_command("ACL", "SETUSER", "app", ">two", "<one")
        provider.password = "two"
        auths, connections = await logins(admin)

        async def publish_link_and_reader_have_logged_in() -> bool:
            await broker.publish("orders", Order(2))
            return (await logins(admin))[0] >= auths + 3  # publish, settle or control, and the reader

        await until(publish_link_and_reader_have_logged_in)
        assert (await logins(admin))[1] == connections, "on the connections that it had"
        assert broker.ready
    await admin.aclose()
    await client.aclose()


async def test_p14_a_provider_that_raises_ends_nothing(server: Server) -> None:
    provider = Rotating("one")
    client = Redis.from_url(server.url, credential_provider=provider)
    got: list[int] = []
    broker = Broker(client=client, group="g", settings=Settings(block_ms=50))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
        provider.broken = True
        for number in range(2, 6):
            await broker.publish("orders", Order(number))
            await until(lambda number=number: number in got)
        assert broker.ready
    await client.aclose()


async def test_p16_new_credentials_that_redis_refuses_are_waited_out(server: Server) -> None:
    provider = Rotating("one")
    client = Redis.from_url(server.url, credential_provider=provider)
    got: list[int] = []
    broker = Broker(client=client, group="g", settings=Settings(block_ms=50))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        provider.password = "wrong"
        await until(lambda: not broker.ready)
        provider.password = "one"
        await until(lambda: broker.ready)
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
    await client.aclose()
