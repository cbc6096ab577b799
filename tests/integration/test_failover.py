"""A failover behind a name, with the old primary alive (P16): the broker follows, and nothing is handled twice over it.

The name is a proxy whose new connections lead elsewhere; connections that are there stay, as Redis leaves them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Delivery, RedisRefusedError, RetryPolicy, Settings, WrongNodeError
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

NewServer = Callable[..., Server]
AT_ONCE = ("--repl-diskless-sync-delay", "0")
LEASE = 1.5


def look_at(server: Server) -> Redis:
    return Redis.from_url(server.url, protocol=2, decode_responses=True)


class Pair:
    """A primary, its replica, and the name that leads to the primary."""

    def __init__(self, old: Server, new: Server, name: Proxy) -> None:
        self.name = name
        self.old_port, self.new_port = old.port, new.port
        self.old, self.new = look_at(old), look_at(new)

    async def in_sync(self) -> bool:
        replicated = await self.new.info("replication")
        written = await self.old.info("replication")
        up: bool = replicated.get("master_link_status") == "up"
        return up and replicated["slave_repl_offset"] == written["master_repl_offset"]

    async def promote(self) -> None:
        """The replica becomes a primary, and the name leads to it."""
        await until(self.in_sync)
        self.name.lead_to(self.new_port)
        await self.new.execute_command("REPLICAOF", "NO", "ONE")

    async def demote(self) -> None:
        """The old primary becomes a replica, and lives on with all its connections."""
        await self.old.execute_command("REPLICAOF", "127.0.0.1", self.new_port)

    async def starve(self) -> None:
        """The old primary stays one, but takes no writes without a replica."""
        await self.old.config_set("min-replicas-to-write", 1)


@asynccontextmanager
async def pair(new_server: NewServer) -> AsyncIterator[Pair]:
    old, new = new_server(*AT_ONCE), new_server(*AT_ONCE)
    async with proxy(old.port) as name:
        both = Pair(old, new, name)
        await both.new.execute_command("REPLICAOF", "127.0.0.1", old.port)
        await until(both.in_sync)
        try:
            yield both
        finally:
            await both.old.aclose()
            await both.new.aclose()


def consumer(url: str, who: str, began: list[tuple[str, int]], may_end: asyncio.Event, *, thread: bool) -> Broker:
    """Handles orders; number 1 runs until it may end, and number 2 fails once."""
    broker = Broker(
        url, group="g", settings=Settings(command_timeout=2, block_ms=500, reclaim_interval=0.2, lease_thread=thread)
    )

    @broker.handler("orders", lease=LEASE, order="none", concurrency=4, retry=RetryPolicy(base=0.3, factor=1))
    async def handle(order: Order, delivery: Delivery) -> None:
        began.append((who, order.number))
        if order.number == 1:
            await may_end.wait()
        if order.number == 2 and not delivery.failures:
            raise ValueError("once")

    return broker


@pytest.mark.parametrize("ending", ["demoted", "without replicas"])
@pytest.mark.parametrize("thread", [False, True], ids=["leases in the loop", "leases in a thread"])
async def test_p16_a_failover_behind_a_name_is_followed_though_the_old_primary_lives(
    new_server: NewServer, ending: str, thread: bool
) -> None:
    """By publishing, reading, renewing, retrying and settling; another process of the group takes nothing over."""
    began: list[tuple[str, int]] = []
    may_end = asyncio.Event()
    async with pair(new_server) as servers:
        async with consumer(servers.name.url, "old", began, may_end, thread=thread) as broker:
            for number in (0, 2, 3):  # every connection is in use once
                await broker.publish("orders", Order(number))
            await until(lambda: broker.status[0].settled == 3)
            await broker.publish("orders", Order(1))
            await until(lambda: ("old", 1) in began)
            await servers.promote()
            await (servers.demote() if ending == "demoted" else servers.starve())
            began.clear()
            numbers = [2, *range(10, 20)]
            for number in numbers:
                await broker.publish("orders", Order(number))
            async with consumer(f"redis://127.0.0.1:{servers.new_port}/0", "new", began, may_end, thread=False):
                await until(lambda: {number for _, number in began} >= set(numbers))
                for _ in range(2):  # renewed on the new primary, or the other process would have it by now
                    await until(lambda: renewed(servers.new), what="the lease of the running one is renewed")
                    await asyncio.sleep(LEASE)
                may_end.set()
                await until(lambda: nothing_pending(servers.new))
                assert broker.ready
        assert ("new", 1) not in began
        assert ("old", 1) not in began
        assert Counter(number for _, number in began) == Counter([*numbers, 2])  # the one that failed, once more
        assert await servers.new.xlen("orders") == 4 + len(numbers)


async def renewed(redis: Redis) -> bool:
    pending = await redis.xpending_range("orders", "g", "-", "+", 1)
    return bool(pending) and pending[0]["time_since_delivered"] < LEASE * 500


async def nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def test_p16_while_the_name_leads_to_a_replica_connecting_is_tried_with_backoff(new_server: NewServer) -> None:
    """One connection for each turn, growing apart; publishing is refused by name, and goes on by itself."""
    async with (
        pair(new_server) as servers,
        Broker(servers.name.url, settings=Settings(command_timeout=1.5)) as broker,
    ):
        await broker.publish("orders", Order(0))
        await until(servers.in_sync)
        await servers.new.execute_command("REPLICAOF", "NO", "ONE")
        await servers.demote()
        dialled = servers.name.accepted
        for _ in range(2):
            with pytest.raises(WrongNodeError, match="READONLY"):
                await broker.publish("orders", Order(1))
        assert 2 <= servers.name.accepted - dialled <= 8
        servers.name.lead_to(servers.new_port)
        await until(lambda: published(broker))
        assert await servers.new.xlen("orders") == 2


async def published(broker: Broker) -> bool:
    try:
        await broker.publish("orders", Order(2))
    except WrongNodeError:
        return False
    return True


async def test_p16_what_one_connection_learns_is_true_for_those_made_before(new_server: NewServer) -> None:
    """A stale replica would answer those who only read, and what a process holds would look like another's."""
    async with (
        pair(new_server) as servers,
        Broker(servers.name.url, settings=Settings(command_timeout=2)) as broker,
    ):
        control = broker.connection.link("control")
        await broker.publish("orders", Order(0))
        assert await control.call("XLEN", "orders") == 1
        await servers.promote()
        await servers.demote()
        await broker.publish("orders", Order(1))  # refused once by the old one
        await servers.new.delete("orders")
        await servers.new.execute_command("CLIENT", "KILL", "TYPE", "replica")
        await servers.old.execute_command("REPLICAOF", "127.0.0.1", "1")  # and it stays as it was
        assert await control.call("XLEN", "orders") == 0


async def test_p16_a_redis_that_refuses_for_other_reasons_keeps_its_connections(new_server: NewServer) -> None:
    server = new_server()
    async with proxy(server.port) as name, Broker(name.url, settings=Settings(command_timeout=0.5)) as broker:
        await broker.publish("orders", Order(0))
        redis, dialled = look_at(server), name.accepted
        await redis.config_set("maxmemory", 1)
        with pytest.raises(RedisRefusedError, match="OOM"):
            await broker.publish("orders", Order(1))
        assert name.accepted == dialled
        await redis.aclose()
