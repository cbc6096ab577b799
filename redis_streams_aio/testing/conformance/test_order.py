"""Order: of a stream, and of a key (P7)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from redis_streams_aio import Broker, Delivery
from redis_streams_aio.testing.waiting import until

from .kit import SOON, Order, nothing_left, publish, subscriber

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_05_with_order_the_second_waits_for_the_first(url: str, stream: str) -> None:
    """Also while the first one fails (P7)."""
    attempts: list[int] = []

    async def work(order: Order, delivery: Delivery) -> None:
        attempts.append(order.number)
        await asyncio.sleep(0.001)
        if delivery.failures < 2:
            raise ValueError("not yet")

    await publish(url, stream, range(20))
    async with subscriber(url, stream, work, order="stream", retry=SOON):
        await nothing_left(url, stream)
    assert attempts == [number for number in range(20) for _ in range(3)]


async def test_09_a_thousand_events_of_sixteen_keys_are_in_order_per_key(url: str, stream: str) -> None:
    """Published by sixteen tasks, handled by sixteen workers, and every tenth fails once (P7)."""
    done: dict[str, list[int]] = defaultdict(list)
    at_once, most_at_once = 0, 0

    async def work(order: Order, delivery: Delivery) -> None:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(at_once, most_at_once)
        await asyncio.sleep(0.002)
        at_once -= 1
        if order.number % 10 == 3 and not delivery.failures:
            raise ValueError("once")
        done[order.customer].append(order.number)

    async def publish_key(broker: Broker, key: int) -> None:
        for number in range(key, 1000, 16):
            await broker.publish(stream, Order(number, f"k{key}"), key=f"k{key}")

    async with subscriber(url, stream, work, concurrency=16, order="key", retry=SOON) as broker:
        await asyncio.gather(*(publish_key(broker, key) for key in range(16)))
        await until(lambda: sum(map(len, done.values())) >= 1000, 20, "all of them")
    assert done == {f"k{key}": list(range(key, 1000, 16)) for key in range(16)}
    assert most_at_once > 8, "keys did not run beside one another"
