"""Stopping, and falling behind: what is released, what is ended at once, and who is told (P27, P28)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from redis_streams_aio import Delivery, Settings
from redis_streams_aio.telemetry import Fact, LagHigh, LagLow
from redis_streams_aio.testing.waiting import until

from .kit import Order, nothing_left, once_each, orders, publish, subscriber, until_count
from .processes import Consumer

Start = Callable[..., Awaitable[Consumer]]

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_44_a_drain_lets_handlers_finish_and_another_has_the_rest_within_a_second(url: str, stream: str) -> None:
    """Whatever is left of the lease, here ten minutes (P27)."""
    loop = asyncio.get_running_loop()
    finished: list[int] = []
    taken: list[tuple[int, int]] = []
    started: list[int] = []
    may_end = asyncio.Event()

    async def work(order: Order, _: Delivery) -> None:
        started.append(order.number)
        await (may_end.wait() if order.number < 2 else asyncio.Event().wait())
        finished.append(order.number)

    async def take(order: Order, delivery: Delivery) -> None:
        taken.append((order.number, delivery.failures))

    draining = subscriber(url, stream, work, settings=Settings(grace=0.3), concurrency=4, lease=600)
    await publish(url, stream, range(20))
    async with AsyncExitStack() as peer:
        async with draining:
            await until_count(started, 4)
            await peer.enter_async_context(subscriber(url, stream, take, lease=600))
            await until_count(taken, 1)
            loop.call_later(0.1, may_end.set)  # when the drain is under way
        drained_at = loop.time()
        await until(lambda: len(taken) + len(finished) == 20)
        assert loop.time() - drained_at < 1
        await nothing_left(url, stream)
    assert sorted(finished) == [0, 1]
    once_each([*finished, *(number for number, _ in taken)], 20)
    assert {failures for _, failures in taken} == {0}


async def test_45_a_second_signal_stops_at_once_and_costs_nothing(url: str, stream: str, start: Start) -> None:
    """In the middle of a handler that would have had ten minutes to finish (P27)."""
    taken: list[int] = []

    async def take(_: Order, delivery: Delivery) -> None:
        taken.append(delivery.failures)

    await publish(url, stream, [0])
    stopping = await start("--hang", 0, "--grace", 600, "--lease", 600)
    await until(lambda: stopping.said("start", 0))
    stopping.signal(signal.SIGTERM)
    await until(lambda: stopping.said("log", "SIGTERM:"))
    stopping.signal(signal.SIGINT)
    assert await stopping.ended(5) == 0
    async with subscriber(url, stream, take, lease=600):
        await until_count(taken, 1, 2)
        await nothing_left(url, stream)
    assert taken == [0]


async def test_33_a_group_that_falls_behind_is_told_of_and_again_when_it_has_caught_up(url: str, stream: str) -> None:
    """Once each, with the figures (P28)."""
    facts: list[Fact] = []
    may_work = asyncio.Event()

    async def work(_: Order, __: Delivery) -> None:
        await may_work.wait()

    def signals() -> list[LagHigh | LagLow]:
        return [fact for fact in facts if isinstance(fact, LagHigh | LagLow)]

    settings = Settings(lag_high=50, lag_low=5, lag_interval=0.02)
    async with subscriber(url, stream, work, settings=settings, observers=[facts.append]) as broker:
        await broker.publish_many(stream, orders(range(100)))
        await until(signals)
        may_work.set()
        await until(lambda: len(signals()) == 2)
    high, low = signals()
    assert (type(high), type(low)) == (LagHigh, LagLow)
    assert high.report.behind > 50
    assert low.report.behind <= 5
