"""A handler whose failures look systemic pauses, is probed with one event, and costs no event its attempts (P28)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Breaker, Broker, HandlerDefinitionError, RetryPolicy, Settings
from redis_streams_aio.telemetry import BreakerClosed, BreakerOpened, DeadLettered, Fact, RetryScheduled
from redis_streams_aio.testing.waiting import until
from tests.events import Order

BREAKER = Breaker(calls=3, wait=0.2, longest_wait=0.2, errors=(ConnectionError,))


class Outage:
    """A handler of something that is down."""

    def __init__(self, url: str, breaker: Breaker | None = BREAKER, **options: Any) -> None:
        self.is_down = True
        self.tried: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self.handled: list[int] = []
        self.facts: list[Fact] = []
        settings = Settings(reclaim_interval=0.05, block_ms=100)
        self.broker = Broker(url, group="g", settings=settings, observers=[self.facts.append])
        retry = RetryPolicy(max_failures=3, base=0.01, cap=0.01)
        declare = self.broker.handler("orders", breaker=breaker, retry=retry, **options)
        declare(self._batch if "batch" in options else self._handle)

    async def _handle(self, order: Order) -> None:
        await self._use(order.number)
        self.handled.append(order.number)

    async def _batch(self, orders: list[Order]) -> None:
        await self._use(orders[0].number)
        self.handled += [order.number for order in orders]

    async def _use(self, number: int) -> None:
        self.tried.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.005)
        self.at_once -= 1
        if self.is_down:
            raise ConnectionError("the provider is down")

    def count(self, kind: type[Fact]) -> int:
        return sum(isinstance(fact, kind) for fact in self.facts)

    @property
    def is_paused(self) -> bool:
        return self.broker.status[0].paused is not None


async def publish(url: str, count: int) -> None:
    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(count)])


@pytest.mark.parametrize(
    "options", [{}, {"order": "none", "concurrency": 8}, {"order": "key", "concurrency": 4}, {"batch": 5}]
)
async def test_p28_an_outage_costs_no_event_its_attempts(url: str, redis: Redis, options: dict[str, Any]) -> None:
    """Many probes fail, more than an event has attempts, and in the end all are handled."""
    one = Outage(url, **options)
    await publish(url, 30)
    async with one.broker:
        await until(lambda: one.count(BreakerOpened) == 1, 20)
        tried = len(one.tried)
        await until(lambda: len(one.tried) >= tried + 6, 30)
        assert one.broker.ready, "a restart would not help"
        one.is_down = False
        await until(lambda: sorted(one.handled) == list(range(30)), 30)
        await until(lambda: one.broker.status[0].settled >= 30, 20)
        assert not one.is_paused
    before = (BREAKER.calls - 1) * options.get("batch", 1)
    assert one.count(RetryScheduled) <= before, "no failure is counted by the opening and while it is open"
    assert one.count(DeadLettered) == 0
    assert one.count(BreakerOpened) == one.count(BreakerClosed) == 1
    assert await redis.xlen("{orders}:g:dead") == 0


async def test_p28_a_probe_is_one_event(url: str) -> None:
    one = Outage(url, order="none", concurrency=16)
    await publish(url, 60)
    async with one.broker:
        await until(lambda: one.count(BreakerOpened) == 1, 20)
        await until(lambda: one.at_once == 0)
        one.most_at_once = 0
        tried = len(one.tried)
        await until(lambda: len(one.tried) >= tried + 4, 30)
        assert one.most_at_once == 1
        one.is_down = False
        await until(lambda: len(one.handled) == 60, 30)


async def test_p28_it_pauses_and_says_why(url: str) -> None:
    one = Outage(url, Breaker(calls=3, wait=60, errors=(ConnectionError,)))
    await publish(url, 20)
    async with one.broker as broker:
        await until(lambda: one.is_paused, 20)
        paused = broker.status[0].paused
        assert paused is not None
        assert paused.by.startswith("the breaker of handler ")
        assert paused.why.endswith("calls failed, the last with ConnectionError: the provider is down")
        [opened] = [fact for fact in one.facts if isinstance(fact, BreakerOpened)]
        assert (opened.stream, opened.group, opened.error) == (
            "orders",
            "g",
            "ConnectionError: the provider is down",
        )
        assert opened.calls >= 3
        tried = len(one.tried)
        await broker.measure_lag()
        assert len(one.tried) == tried


async def test_p7_p28_errors_of_bad_events_do_not_open_it(url: str) -> None:
    one = Outage(url, Breaker(calls=2, rate=0.1, errors=(TimeoutError,)))
    await publish(url, 3)
    async with one.broker:
        await until(lambda: one.count(DeadLettered) == 3, 20)
    assert one.count(BreakerOpened) == 0


async def test_p27_p28_a_drain_ends_while_it_is_open_and_a_new_process_begins_closed(url: str, redis: Redis) -> None:
    one = Outage(url, Breaker(calls=2, wait=0.5, longest_wait=0.5), order="none", concurrency=4)
    await publish(url, 10)
    async with one.broker:
        await until(lambda: one.is_paused, 20)
    assert one.count(DeadLettered) == 0
    one.is_down = False
    async with one.broker:
        assert not one.is_paused
        await until(lambda: sorted(one.handled) == list(range(10)), 20)


def test_a_breaker_that_is_none_is_refused() -> None:
    broker = Broker("memory://", group="g")
    with pytest.raises(HandlerDefinitionError, match="breaker=True: expected a Breaker"):

        @broker.handler("orders", breaker=True)  # type: ignore[arg-type]
        async def handle(order: Order) -> None: ...
