"""Failovers behind Sentinels (P30): by order, by SIGKILL and by SIGSTOP of the primary, while events are published.

The gap between two events is no longer than the promotion and a second; each event that was confirmed, or that the new
primary has, is handled; and an event that was settled before the failover is not handled again. (Redis replicates
without waiting: events and acknowledgements that the old primary takes after the promotion are not in the new one.)
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from redis_streams_aio import Broker, RedisUnavailableError, Settings
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.waiting import until
from tests.events import Order

KINDS = [
    "valkey-9.1",
    pytest.param("redis-7.0", marks=pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")),
]
EACH = 0.01
"""Seconds between two publishes."""


class Load:
    """Publishes and handles numbered orders, and notes when."""

    def __init__(self, url: str, *, lease_thread: bool = False) -> None:
        self.broker = Broker(url, group="g", settings=Settings(lease_thread=lease_thread))
        self.confirmed: list[tuple[float, int]] = []
        self.handled: list[tuple[float, int]] = []
        self.unanswered: list[int] = []
        self.number = 0
        self.broker.handler("orders", order="none", concurrency=8)(self.handle)

    async def handle(self, order: Order) -> None:
        self.handled.append((monotonic(), order.number))

    async def publish(self) -> None:
        while True:
            self.number += 1
            try:
                await self.broker.publish("orders", Order(self.number))
            except RedisUnavailableError:
                self.unanswered.append(self.number)
            else:
                self.confirmed.append((monotonic(), self.number))
            await asyncio.sleep(EACH)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.broker:
            publishing = asyncio.create_task(self.publish())
            try:
                await self.goes_on()
                yield
                await self.goes_on()
            finally:
                publishing.cancel()
            await until(lambda: self.numbers(self.confirmed) <= self.numbers(self.handled), what="all are handled")

    async def goes_on(self) -> None:
        """Wait until fifty more events are published and handled."""
        handled, confirmed = len(self.handled) + 50, len(self.confirmed) + 50
        await until(lambda: len(self.handled) >= handled and len(self.confirmed) >= confirmed, 20)

    @staticmethod
    def numbers(seen: list[tuple[float, int]]) -> set[int]:
        return {number for _, number in seen}

    def twice(self) -> list[tuple[float, int]]:
        """The orders that were handled more than once, with the time of the first handling."""
        counts = Counter(number for _, number in self.handled)
        return [(at, number) for at, number in self.handled if counts[number] > 1]

    @staticmethod
    def gap(seen: list[tuple[float, int]]) -> float:
        """The longest time without an event."""
        return max(later - before for (before, _), (later, _) in itertools.pairwise(seen))


def ordered(servers: SentinelSet) -> None:
    servers.failover()


def killed(servers: SentinelSet) -> None:
    servers.until_promoted(servers.kill())


def frozen(servers: SentinelSet) -> None:
    servers.until_promoted(servers.freeze())


def there(servers: SentinelSet, stream: str) -> set[int]:
    """The numbers of the orders that the primary has."""
    entries = ask(servers.primary, "XRANGE", stream, "-", "+")
    return {int(number) for number in re.findall(r'"number":(\d+)', str(entries))}


async def timed(fault: Callable[[SentinelSet], None], servers: SentinelSet) -> float:
    """The seconds that a promotion takes."""
    began = monotonic()
    await asyncio.to_thread(fault, servers)
    return monotonic() - began


@pytest.mark.parametrize("fault", [ordered, killed, frozen])
@pytest.mark.parametrize("sentinels", KINDS, indirect=True)
async def test_p30_a_failover_is_followed_within_a_second_of_the_promotion(
    sentinels: SentinelSet, fault: Callable[[SentinelSet], None]
) -> None:
    load = Load(sentinels.url)
    before, began = sentinels.primary, 0.0
    async with load.running():
        began = monotonic()
        promotion = await timed(fault, sentinels)
    assert sentinels.primary is not before
    assert load.gap(load.confirmed) <= promotion + 1
    assert load.gap(load.handled) <= promotion + 1
    assert [number for at, number in load.twice() if at < began - 0.1] == []
    assert len(load.unanswered) <= 1  # the one that was under way
    assert there(sentinels, "orders") <= load.numbers(load.handled)


async def test_p30_two_failovers_in_turn_and_back_with_leases_in_a_thread(sentinels: SentinelSet) -> None:
    """A handler that outlives its lease and both failovers keeps its event: the lease follows the primary."""
    load = Load(sentinels.url, lease_thread=True)
    began: list[int] = []
    may_end = asyncio.Event()

    @load.broker.handler("slow", lease=2)
    async def slow(order: Order) -> None:
        began.append(order.number)
        await may_end.wait()

    async with load.running():
        await load.broker.publish("slow", Order(1))
        await until(lambda: began)
        for _ in range(2):
            await timed(ordered, sentinels)
            await load.goes_on()
            await asyncio.to_thread(sentinels.until_well)
        assert (await pending(sentinels, "slow"))[1] < 2000
        may_end.set()
        await until(lambda: not ask(sentinels.primary, "XPENDING", "slow", "g")[0], what="it is acknowledged")
    assert began == [1]


async def pending(servers: SentinelSet, stream: str) -> tuple[str, int]:
    """The consumer of the one pending entry, and the milliseconds since its lease was renewed."""
    [[_, consumer, idle, _]] = await asyncio.to_thread(ask, servers.primary, "XPENDING", stream, "g", "-", "+", 1)
    return consumer, idle


async def test_p30_a_sentinel_that_is_away_or_silent_is_passed_over(sentinels: SentinelSet) -> None:
    """The one that is listened to, too."""
    load = Load(sentinels.url)
    async with load.running():
        sentinels.sentinels[0].freeze()
        try:
            promotion = await timed(killed, sentinels)
            await load.goes_on()
        finally:
            sentinels.sentinels[0].thaw()
    assert load.gap(load.confirmed) <= promotion + 1
