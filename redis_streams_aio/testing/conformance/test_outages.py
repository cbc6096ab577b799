"""Redis and the network go away and come back, and nothing acknowledged is lost (P5, P16)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from redis_streams_aio import Broker, Delivery, RedisUnavailableError, Settings, UnansweredError
from redis_streams_aio.testing.proxy import Proxy
from redis_streams_aio.testing.waiting import until

from .kit import Order, nothing_left, noting, subscriber, until_count

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio

IMPATIENT = Settings(command_timeout=0.5, block_ms=200)
"""So that silence is noticed soon."""


async def test_15_redis_restarted_at_one_third_and_at_one_half_of_ten_thousand_all_acknowledged_arrive(
    url: str, stream: str, restart: Callable[[], Awaitable[None]]
) -> None:
    """Twenty publishers go on as soon as it is back (P16)."""
    attempted = iter(range(10_000))
    acknowledged: set[int] = set()
    got: list[int] = []

    async def publish_rest(broker: Broker) -> None:
        for number in attempted:
            try:
                await broker.publish(stream, Order(number))
            except UnansweredError:  # under way when Redis went; all others wait for it
                continue
            acknowledged.add(number)

    async with subscriber(url, stream, noting(got), concurrency=4) as broker:
        publishing = asyncio.gather(*(publish_rest(broker) for _ in range(20)))
        for upto in (3333, 5000):
            await until_count(acknowledged, upto, 30)
            await restart()
        await publishing
        await until(lambda: acknowledged <= set(got), 20, "all that were acknowledged arrive")
    assert len(acknowledged) >= 10_000 - 2 * 20
    assert set(got) <= set(range(10_000))


async def test_34_a_half_open_connection_is_left_and_reading_resumes(
    url: str, stream: str, network: Proxy, network_url: str
) -> None:
    """Nothing comes and nobody hangs up; the handler that runs knows nothing of it (P16)."""
    loop = asyncio.get_running_loop()
    started, may_end = asyncio.Event(), asyncio.Event()
    got: list[int] = []

    async def work(order: Order, _: Delivery) -> None:
        if order.number == 0:
            started.set()
            await may_end.wait()
        got.append(order.number)

    async with subscriber(network_url, stream, work, settings=IMPATIENT, concurrency=2) as broker, Broker(url) as other:
        await broker.publish(stream, Order(0))
        await started.wait()
        network.black_hole()
        for number, error in ((1, UnansweredError), (2, RedisUnavailableError)):
            began = loop.time()
            with pytest.raises(error):
                await broker.publish(stream, Order(number))
            assert loop.time() - began < 1.5
        may_end.set()
        await until_count(got, 1)
        await other.publish(stream, Order(3))
        await network.heal()
        await broker.publish(stream, Order(4))
        await until(lambda: {0, 3, 4} <= set(got))
        await nothing_left(url, stream)
    assert got.count(0) == 1


async def test_35_a_reply_cut_in_the_middle_loses_nothing(
    url: str, stream: str, network: Proxy, network_url: str
) -> None:
    """After a byte, after three, after three thousand, with publishes and deliveries under way (P5, P16)."""
    acknowledged: set[int] = set()
    got: list[int] = []
    stop = asyncio.Event()

    async def publish_on(broker: Broker) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                await broker.publish(stream, Order(number))
            except RedisUnavailableError:
                continue
            acknowledged.add(number)

    async with subscriber(network_url, stream, noting(got), settings=IMPATIENT, concurrency=4) as broker:
        publishing = asyncio.create_task(publish_on(broker))
        for nbytes in (1, 3, 50, 500, 3000):
            network.cut_reply_after(nbytes)
            await until(lambda: network.cut_after is None)
            await until_count(acknowledged, len(acknowledged) + 50)
        stop.set()
        await publishing
        await until(lambda: acknowledged <= set(got), 20, "all that were acknowledged arrive")
        await nothing_left(url, stream)


async def test_36_a_broker_that_starts_while_redis_is_away_waits_for_it(
    url: str, stream: str, network: Proxy, network_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And says so in the log (P16)."""
    got: list[int] = []

    async def run() -> None:
        async with subscriber(network_url, stream, noting(got)) as broker:
            await broker.publish(stream, Order(1))
            await until_count(got, 1)

    network.refuse()
    with caplog.at_level(logging.WARNING, "redis_streams_aio"):
        running = asyncio.create_task(run())
        await until(lambda: "Redis is not available" in caplog.text)
    assert not running.done()
    await network.heal()
    await running
    await nothing_left(url, stream)
