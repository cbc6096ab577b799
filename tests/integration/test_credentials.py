"""Credentials that are renewed while connections are held (P16)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from redis_streams_aio import Broker, Delivery, RetryPolicy, Settings
from redis_streams_aio.connection import credentials
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import Fact, LeaseLost, StepFailed
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order


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
        await broker.connection.call("XLEN", "orders", purpose="settle")  # made when it is first needed: now
        await broker.connection.call("XLEN", "orders", purpose="control")
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


class OfOneLoop(Rotating):
    """A provider with objects of its event loop, as one with an HTTP client has."""

    def __init__(self, password: str) -> None:
        super().__init__(password)
        self.loop = asyncio.get_running_loop()
        self.asked_elsewhere = 0

    async def get_credentials_async(self) -> tuple[str, str]:
        if asyncio.get_running_loop() is not self.loop:
            self.asked_elsewhere += 1
            raise RuntimeError("is bound to a different event loop")
        await asyncio.sleep(0)
        return self.get_credentials()


async def test_p3_the_lease_thread_asks_a_provider_in_its_own_event_loop(server: Server) -> None:
    """It was asked in the thread's: no lease was ever renewed, and all was taken over from a healthy process."""
    provider = OfOneLoop("one")
    client = Redis.from_url(server.url, credential_provider=provider)
    admin = Redis.from_url(server.url, protocol=2, decode_responses=True)
    facts: list[Fact] = []
    blocked: list[int] = []
    broker = Broker(client=client, group="g", settings=Settings(lease_thread=True), observers=[facts.append])

    @broker.handler("orders", lease=0.6, on_lost="continue")
    async def handle(order: Order) -> None:
        await asyncio.sleep(0.7)
        await admin.execute_command("ACL", "SETUSER", "app", ">two", "<one")
        provider.password = "two"
        await asyncio.sleep(1.5)
        time.sleep(1.2)  # nobody can answer the thread's question now
        with BlockingRedis.from_url(server.url, protocol=2, decode_responses=True) as look:
            [entry] = look.xpending_range("orders", "g", "-", "+", 1)
            blocked.append(entry["time_since_delivered"])

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1, 10)
    assert blocked[0] < 600, "renewed while the event loop was blocked, with the new password"
    assert provider.asked_elsewhere == 0
    assert not [fact for fact in facts if isinstance(fact, LeaseLost | StepFailed)]
    await admin.aclose()
    await client.aclose()


async def test_p14_a_provider_that_raises_costs_the_lease_thread_nothing(server: Server) -> None:
    provider = OfOneLoop("one")
    client = Redis.from_url(server.url, credential_provider=provider)
    facts: list[Fact] = []
    broker = Broker(client=client, group="g", settings=Settings(lease_thread=True), observers=[facts.append])

    @broker.handler("orders", lease=0.6)
    async def handle(order: Order) -> None:
        await asyncio.sleep(0.7)
        provider.broken = True
        await asyncio.sleep(1.5)
        provider.broken = False  # connections that are still to be made need it

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1, 10)
    assert not [fact for fact in facts if isinstance(fact, LeaseLost)]
    await client.aclose()


@pytest.mark.parametrize("kind", ["fails", "batch fails", "follows up"])
async def test_p16_fates_wait_while_redis_refuses_the_credentials(server: Server, kind: str) -> None:
    """A fate that is decided then is written when a connection is accepted again, and the broker lives on."""
    admin = Redis.from_url(server.url, protocol=2, decode_responses=True)
    facts: list[Fact] = []
    url, settings = server.url.replace("//", "//app:one@"), Settings(block_ms=50, reclaim_interval=0.05)
    broker = Broker(url, group="g", settings=settings, observers=[facts.append])
    begun, go = list[int](), asyncio.Event()

    async def wait(number: int) -> None:
        begun.append(number)
        await go.wait()

    if kind == "batch fails":

        @broker.handler("orders", batch=10, order="none", retry=RetryPolicy(max_failures=1), lease=60.0)
        async def handle_all(orders: list[Order]) -> None:
            await wait(orders[0].number)
            raise ValueError

    else:

        @broker.handler("orders", retry=RetryPolicy(max_failures=1), lease=60.0)
        async def handle(order: Order, delivery: Delivery) -> None:
            await wait(order.number)
            if kind == "fails":
                raise ValueError
            delivery.publish("bills", Order(0), atomic=False)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: begun == [1])
        await admin.execute_command("ACL", "SETUSER", "app", ">two", "<one")
        await admin.client_kill_filter(user="app")
        go.set()
        await until(lambda: any(isinstance(each, StepFailed) and each.duty.startswith("settle") for each in facts))
        await admin.execute_command("ACL", "SETUSER", "app", ">one")
        await until(lambda: broker.status[0].settled == 1)
        assert broker.failed is None
    assert begun == [1]
    assert await admin.xlen("bills" if kind == "follows up" else keys.dead_letters("orders", "g")) == 1
    await admin.aclose()
