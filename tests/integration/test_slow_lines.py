"""Big events on slow lines: what moves is not late, others have their turn, and memory is bounded (P6, P16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, DeadLetters, Delivery, Settings
from redis_streams_aio.telemetry import Fact, StepFailed
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until

SIZE = 300_000
SLOW = 1_000_000
"""Bytes a second."""
IMPATIENT = Settings(command_timeout=0.5, block_ms=200)


def event(number: int, size: int = SIZE) -> dict[str, object]:
    return {"n": number, "x": "a" * size}


@pytest.fixture
async def line(server: Server, redis: Redis) -> AsyncIterator[Proxy]:
    async with proxy(server.port) as network:
        yield network


async def add(redis: Redis, stream: str, count: int, size: int = SIZE, **fields: str) -> None:
    for number in range(count):
        payload = f'{{"n": {number}, "x": "{"a" * size}"}}'
        await redis.xadd(stream, {"event_type": "E", "payload": payload, **fields})  # type: ignore[dict-item]


async def test_p16_a_read_that_takes_longer_than_its_time_comes_through_while_bytes_come(
    line: Proxy, redis: Redis
) -> None:
    """Four seconds of bytes, and half a second to answer: each is delivered once."""
    got: list[int] = []
    deliveries: set[int] = set()
    facts: list[Fact] = []
    broker = Broker(line.url, group="g", settings=IMPATIENT, observers=[facts.append])

    @broker.handler("orders", concurrency=12, order="none")
    async def handle(payload: dict[str, object], delivery: Delivery) -> None:
        got.append(int(str(payload["n"])))
        deliveries.add(delivery.deliveries)

    await add(redis, "orders", 12)
    async with broker:
        line.slow_down(replies=SLOW)
        await until(lambda: len(got) == 12, 20)
        line.slow_down()
    assert sorted(got) == list(range(12))
    assert deliveries == {1}
    assert not [fact for fact in facts if isinstance(fact, StepFailed) and "read" in fact.duty]


async def test_p16_an_event_that_takes_longer_than_its_time_to_leave_is_published(line: Proxy, redis: Redis) -> None:
    async with Broker(line.url, settings=IMPATIENT) as broker:
        line.slow_down(requests=SLOW / 2)
        began = asyncio.get_running_loop().time()
        await broker.publish("orders", event(0, 900_000), event_type="E")
        assert asyncio.get_running_loop().time() - began > 3 * IMPATIENT.command_timeout
        line.slow_down()
    assert await redis.xlen("orders") == 1


async def test_p23_many_big_events_on_a_slow_line_are_published_and_hold_nobody_up(line: Proxy, redis: Redis) -> None:
    """Twenty times as long as a command has, with a small event of another task now and then."""
    longest = 0.0
    loop = asyncio.get_running_loop()

    async def publish_small(broker: Broker) -> None:
        nonlocal longest
        while True:
            began = loop.time()
            await broker.publish("small", {"n": 0}, event_type="E")
            longest = max(longest, loop.time() - began)
            await asyncio.sleep(0.05)

    async with Broker(line.url, settings=IMPATIENT) as broker:
        line.slow_down(requests=2 * SLOW)
        small = asyncio.create_task(publish_small(broker))
        ids = await broker.publish_many("orders", [event(number, 60_000) for number in range(160)], event_type="E")
        small.cancel()
        line.slow_down()
    assert [entry_id for entry_id, _ in await redis.xrange("orders")] == ids
    assert len(ids) == 160
    assert longest < 1.5  # of five seconds; two parts take a quarter


async def test_p12_dead_letters_are_listed_on_a_slow_line(line: Proxy, redis: Redis) -> None:
    letter = {"dead:reason": "failures", "dead:group": "g", "dead:stream": "orders", "dead:id": "1-1"}
    await add(redis, "{orders}:g:dead", 8, **letter)
    async with Broker(line.url, settings=IMPATIENT) as broker:
        letters = DeadLetters(broker.connection, "orders", "g")
        assert await letters.count() == 8
        dialled = line.accepted
        line.slow_down(replies=SLOW)
        assert len(await letters.list()) == 8
        assert line.accepted == dialled
        line.slow_down()


async def test_p6_what_waits_for_a_worker_is_bounded_in_bytes(url: str, redis: Redis) -> None:
    """8 MiB, whatever the pace; by number alone it would be 200 entries."""
    most, got = 0, 0
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(payload: dict[str, object]) -> None:
        nonlocal most, got
        got += 1
        if got > 305:  # the first of the big ones have told how big they are
            assert broker._supervisor is not None
            most = max(most, len(broker._supervisor.subscriptions[0].holdings))

    async with broker:
        await broker.publish_many("orders", [event(0, 10)] * 300, event_type="E")
        await until(lambda: got == 300)
        for number in range(5):
            await broker.publish("orders", event(number, 1_000_000), event_type="E")
            await until(lambda number=number: got == 301 + number)  # type: ignore[misc]
        await broker.publish_many("orders", [event(0, 1_000_000)] * 60, event_type="E")
        await until(lambda: got == 365, 20)
    assert 0 < most <= 8 + 2 + 1


async def test_p30_a_reply_that_is_older_than_the_lease_is_not_handled(line: Proxy, redis: Redis) -> None:
    """Others have taken its entries over by then: the reader gives the connection up when block and lease are over."""
    got: list[tuple[str, object]] = []
    facts: list[Fact] = []

    def of(url: str, name: str) -> Broker:
        broker = Broker(url, group="g", settings=Settings(block_ms=200, consumer=name), observers=[facts.append])

        @broker.handler("orders", lease=1.0)
        async def handle(payload: dict[str, object]) -> None:
            got.append((name, payload["n"]))

        return broker

    async def put(number: int) -> None:
        await redis.xadd("orders", {"event_type": "E", "payload": f'{{"n": {number}}}'})

    async with of(line.url, "cut-off"):
        await put(0)
        await until(lambda: got)
        line.partition("replies")
        await put(1)
        await until(lambda: pending_of(redis, "cut-off"))
        async with of(line.url.replace(str(line.port), str(line.target)), "other"):
            await until(lambda: len(got) == 2)
        await until(lambda: [fact for fact in facts if isinstance(fact, StepFailed) and "read" in fact.duty], 5)
        await line.heal()
        await put(2)
        await until(lambda: ("cut-off", 2) in got)
    assert got == [("cut-off", 0), ("other", 1), ("cut-off", 2)]


async def pending_of(redis: Redis, consumer: str) -> bool:
    """Whether an entry was delivered to a consumer."""
    found = await redis.xpending_range("orders", "g", "-", "+", 1, consumer)
    return bool(found)
