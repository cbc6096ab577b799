"""What waits in Redis, or starves its subscription, outlives all that happens to its process (P2, P7, P17, P25)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, RetryLater, Settings
from redis_streams_aio.consumer import room
from redis_streams_aio.consumer.subscription import Subscription
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import DuplicateDropped, Fact, LeaseLost, ReadingAgain, Reclaimed, Starved
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import worker

COUNT = 600
CAP = 50
AT_LEAST = 100
"""Events of these that are parked: the buffer in front of the handlers holds some beside the cap."""
KEYS = 3
PARKED = "{orders}:g:parked"


@pytest.fixture(autouse=True)
def _quiet_and_small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hundreds of wishes are not logged, and few events fill the cap."""
    monkeypatch.setattr(room, "MOST_WAITING", CAP)
    logger = logging.getLogger("redis_streams_aio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


class Group:
    """Brokers of one group, one after another. Events ask for a later time once: all, or per key the first ones."""

    def __init__(self, url: str, order: str, wait: float = 5) -> None:
        self.url = url
        self.order = order
        self.wait = wait
        self.asked: set[int] = set()
        self.got: list[int] = []
        self.asked_at: dict[int, float] = {}
        self.shortest = float("inf")
        """The shortest time between a wish and the next call."""
        self.facts: list[Fact] = []

    def broker(self, **options: Any) -> Broker:
        settings = Settings(reclaim_interval=0.1, grace=1, block_ms=100, checkpoint_interval=0.05)
        broker = Broker(self.url, group="g", settings=settings, observers=[self.facts.append])
        key = (lambda order: order.number % KEYS) if self.order == "key" else None

        @broker.handler("orders", order=self.order, key=key, **{"concurrency": 16, "lease": 0.5} | options)
        async def handle(order: Order) -> None:
            if order.number not in self.asked and (self.order == "none" or order.number < KEYS):
                self.asked.add(order.number)
                self.asked_at[order.number] = time.time()
                raise RetryLater(self.wait)
            if order.number in self.asked_at:
                self.shortest = min(self.shortest, time.time() - self.asked_at[order.number])
            self.got.append(order.number)

        return broker

    async def waits(self, redis: Redis, broker: Broker) -> bool:
        """Whether as many wait as may: the others are parked, or not read."""
        if self.order == "key":
            return broker.status[0].delayed == KEYS and broker.status[0].buffered >= CAP - KEYS
        return len(self.asked) == COUNT and await redis.zcard(PARKED) >= AT_LEAST

    def first_of_each(self) -> list[int]:
        return list(dict.fromkeys(self.got))

    async def is_settled(self, redis: Redis) -> bool:
        return set(self.got) == set(range(COUNT)) and (await redis.xpending("orders", "g"))["pending"] == 0


def running(broker: Broker) -> Subscription:
    assert broker._supervisor is not None
    [subscription] = broker._supervisor.subscriptions
    return subscription


async def drain(group: Group, broker: Broker, redis: Redis, stack: AsyncExitStack) -> None:
    await stack.aclose()
    await stack.enter_async_context(group.broker())


async def pause(group: Group, broker: Broker, redis: Redis, stack: AsyncExitStack) -> None:
    subscription = running(broker)
    subscription.pause()
    await until(lambda: len(subscription.holdings) == 0)
    owners = {one["name"] for one in (await redis.xpending("orders", "g"))["consumers"]}
    assert owners == ({keys.RELEASED} if group.order == "key" else {keys.RELEASED, keys.PARKED})
    subscription.resume()


async def lose_group(group: Group, broker: Broker, redis: Redis, stack: AsyncExitStack) -> None:
    await redis.xgroup_destroy("orders", "g")


Act = Callable[[Group, Broker, Redis, AsyncExitStack], Awaitable[None]]


@pytest.mark.parametrize("act", [drain, pause, lose_group])
@pytest.mark.parametrize("order", ["none", "key"])
async def test_p2_p7_p17_what_waits_beyond_the_cap_is_handled_whatever_happens(
    url: str, redis: Redis, order: str, act: Act
) -> None:
    group = Group(url, order)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(group.broker())
        await broker.publish_many("orders", list(map(Order, range(COUNT))))
        await until(lambda: group.waits(redis, broker), 30)
        assert group.got == []
        await act(group, broker, redis, stack)
        await until(lambda: group.is_settled(redis), 30)
        if act is lose_group:  # the set may list entries that came again: a clean-up drops them, page by page
            await until(lambda: _cleaned_up(redis, running(broker)))
        await until(lambda: _none_is_parked(redis))
    assert group.shortest >= group.wait - 0.001, "none is early; Redis's times are whole milliseconds"
    if order == "key":
        assert await redis.exists(PARKED) == 0
        first = group.first_of_each()
        for key in range(KEYS):
            assert [number for number in first if number % KEYS == key] == list(range(key, COUNT, KEYS))
    if act is not lose_group:
        assert len(group.got) == COUNT, "each was handled once"
        assert not [fact for fact in group.facts if isinstance(fact, LeaseLost)]


async def _cleaned_up(redis: Redis, subscription: Subscription) -> bool:
    await subscription.clean_up(3600)
    return await _none_is_parked(redis)


async def _none_is_parked(redis: Redis) -> bool:
    return await redis.zcard(PARKED) == 0


async def test_p7_p19_per_key_it_starves_once_and_reads_again_when_the_first_ones_are_due(
    url: str, redis: Redis
) -> None:
    """A look at the own pending entries, after a lost answer, is no end of it."""
    group = Group(url, "key", wait=5)
    async with group.broker() as broker:
        await broker.publish_many("orders", list(map(Order, range(COUNT))))
        await until(lambda: not broker.ready, 30)
        subscription = running(broker)
        subscription._source.look_back()
        subscription._freed.set()
        await until(lambda: subscription._source.has_all_own_entries)
        assert (group.got, broker.ready) == ([], False)
        await until(lambda: group.is_settled(redis), 30)
        await until(lambda: broker.ready)
    told = [type(fact) for fact in group.facts if isinstance(fact, Starved | ReadingAgain)]
    assert told == [Starved, ReadingAgain]


async def test_p33_parked_events_that_are_due_were_left_by_nobody(url: str, redis: Redis) -> None:
    group = Group(url, "none")
    async with group.broker() as broker:
        await broker.publish_many("orders", list(map(Order, range(COUNT))))
        await until(lambda: group.waits(redis, broker), 30)
        await until(lambda: group.is_settled(redis), 30)
    assert not [fact for fact in group.facts if isinstance(fact, Reclaimed)]


async def test_p2_parked_events_of_a_killed_process_are_handled_by_another(url: str, redis: Redis) -> None:
    async with Broker(url) as publisher:
        await publisher.publish_many("orders", list(map(Order, range(COUNT))))
    group = Group(url, "none")
    group.asked = set(range(COUNT))
    options = ("--later", 3, "--most-waiting", CAP, "--lease", 0.5, "--concurrency", 16, "--order", "none")
    async with worker(url, *options) as victim:
        await until(lambda: _are_parked(redis, AT_LEAST), 30)
        await victim.kill()
        assert victim.numbers("end") == []
    async with group.broker():
        await until(lambda: group.is_settled(redis), 30)
        await until(lambda: _none_is_parked(redis))
    assert sorted(group.got) == list(range(COUNT))


async def _are_parked(redis: Redis, count: int) -> bool:
    return await redis.zcard(PARKED) >= count


async def test_p25_a_copy_of_a_parked_event_waits_for_it(url: str, redis: Redis) -> None:
    """Here, where it waits behind it until that is parked, and in another process."""
    group = Group(url, "none")
    async with group.broker(deduplicate=60) as broker:
        sent = [broker.publish("orders", Order(number), event_id=str(number)) for number in range(COUNT)]
        await asyncio.gather(*sent)  # before the first of them is due
        await until(lambda: group.waits(redis, broker), 30)
        async with group.broker(deduplicate=60):
            for number in range(0, COUNT, 10):
                await broker.publish("orders", Order(number), event_id=str(number))
            await until(lambda: group.is_settled(redis), 30)
    assert sorted(group.got) == list(range(COUNT)), "each was handled once"
    assert len([fact for fact in group.facts if isinstance(fact, DuplicateDropped)]) == COUNT // 10
