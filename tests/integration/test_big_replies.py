"""Entries that are too big together for one reply: fewer are asked for, and all of them come (P6)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, DeadLetters, Delivery, RetryPolicy, Settings, StreamConsumer
from redis_streams_aio.testing.waiting import until

PAYLOAD = "x" * 50_000
MANY = 40


@pytest.fixture
async def limited(redis: Redis) -> AsyncIterator[None]:
    """A server that ends connections which more than 150 kB are ready for: three of the payloads."""
    await redis.config_set("client-output-buffer-limit", "normal 150000 0 0")
    yield
    await redis.config_set("client-output-buffer-limit", "normal 0 0 0")


def broker_of(url: str, handled: list[int], *, bad: bool = False, name: str | None = None) -> Broker:
    settings = Settings(consumer=name, reclaim_interval=0.05, block_ms=200)
    broker = Broker(url, group="g", settings=settings)

    @broker.handler("big", event_type="E", concurrency=16, lease=1.0, retry=RetryPolicy(max_failures=1))
    async def handle(event: dict, delivery: Delivery) -> None:
        handled.append(event["number"])
        assert delivery.deliveries <= 2
        if bad:
            raise ValueError("no")

    return broker


async def publish(url: str) -> None:
    async with Broker(url) as broker:
        await broker.publish_many("big", [{"number": number, "pad": PAYLOAD} for number in range(MANY)], event_type="E")


@pytest.mark.usefixtures("limited")
async def test_p6_new_entries_that_are_too_big_for_one_reply_are_handled_once_each(url: str) -> None:
    handled: list[int] = []
    await publish(url)
    async with broker_of(url, handled):
        await until(lambda: len(handled) >= MANY, 20)
    assert sorted(handled) == list(range(MANY))


@pytest.mark.parametrize("owner", ["gone", "me"])
@pytest.mark.usefixtures("limited")
async def test_p6_pending_entries_that_are_too_big_for_one_reply_are_handled(
    url: str, redis: Redis, owner: str
) -> None:
    """Those of a consumer that is gone, and our own of a life before; none is dead-lettered for lost replies."""
    handled: list[int] = []
    await publish(url)
    await redis.xgroup_create("big", "g", "0")
    for _ in range(MANY // 2):
        await redis.xreadgroup("g", owner, {"big": ">"}, count=2)
    async with broker_of(url, handled, name="me"):
        await until(lambda: len(handled) >= MANY, 20)
    assert sorted(handled) == list(range(MANY))


@pytest.mark.usefixtures("limited")
async def test_p6_the_iterator_asks_for_fewer_too(connection: Connection, url: str) -> None:
    await publish(url)
    numbers: list[int] = []
    async with StreamConsumer(connection, "big", "g", block=0.2) as consumer:
        async for event in consumer.subscribe():
            numbers.append(event.payload["number"])
            await consumer.acknowledge(event)
            if len(numbers) == MANY:
                break
    assert sorted(numbers) == list(range(MANY))


@pytest.mark.usefixtures("limited")
async def test_p6_p12_dead_letters_that_are_too_big_for_one_reply_are_listed_and_replayed(
    connection: Connection, url: str
) -> None:
    failed: list[int] = []
    letters = DeadLetters(connection, "big", "g")
    await publish(url)
    async with broker_of(url, failed, bad=True):
        await until(letters.count, 20)
        await until(lambda: len(failed) == MANY, 20)

        async def all_given_up() -> bool:
            return await letters.count() == MANY

        await until(all_given_up, 20)
    assert len(await letters.list()) == MANY
    assert (await letters.replay()).replayed == MANY
