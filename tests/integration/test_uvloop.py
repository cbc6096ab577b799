"""With uvloop too: delivery, order, retries, dead letters, outages, drains, and `uvloop.run(broker.run())`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop
from redis import Redis

from redis_streams_aio import Broker, RetryPolicy, Settings
from redis_streams_aio.events import keys
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

Run = Callable[[Awaitable[None]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in an event loop of uvloop's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture
def empty(server: Server) -> Iterator[Redis]:
    """The session's server, emptied, and a plain client."""
    with Redis.from_url(server.url, protocol=2, decode_responses=True) as client:
        client.flushall()
        yield client


def test_p1_p7_p15_events_are_handled_once_and_in_order_one_by_one_per_key_and_in_batches(
    run: Run, server: Server, empty: Redis
) -> None:
    one_by_one: list[int] = []
    per_key: dict[str, list[int]] = {"ada": [], "bob": []}
    batched: list[int] = []
    broker = Broker(server.url, group="g")

    @broker.handler("orders")
    async def one(order: Order) -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        one_by_one.append(order.number)

    @broker.handler("orders", group="keys", concurrency=16, key=lambda order: order.customer)
    async def keyed(order: Order) -> None:
        await asyncio.sleep(0)
        per_key[order.customer].append(order.number)

    @broker.handler("orders", group="batches", batch=100, within=0.01)
    async def many(orders: list[Order]) -> None:
        batched.extend(order.number for order in orders)

    async def course() -> None:
        async with broker:
            orders = [Order(number, "ada" if number % 2 else "bob") for number in range(1_000)]
            await broker.publish_many("orders", orders[:500])
            await asyncio.gather(*(broker.publish("orders", order) for order in orders[500:]))
            handled = (one_by_one, batched, per_key["ada"], per_key["bob"])
            await until(lambda: sum(map(len, handled)) >= 3_000)

    run(course())
    assert one_by_one == batched == list(range(1_000))
    assert per_key == {"ada": list(range(1, 1_000, 2)), "bob": list(range(0, 1_000, 2))}
    assert [group["pending"] for group in empty.xinfo_groups("orders")] == [0, 0, 0]


def test_p11_p12_what_fails_is_retried_and_then_a_dead_letter(run: Run, server: Server, empty: Redis) -> None:
    tried: list[int] = []
    broker = Broker(server.url, group="g")

    @broker.handler("orders", retry=RetryPolicy(max_failures=3, base=0.01))
    async def fail(order: Order) -> None:
        tried.append(order.number)
        if order.number == 1:
            raise ValueError("never")

    async def course() -> None:
        async with broker:
            await broker.publish_many("orders", [Order(1), Order(2)])
            await until(lambda: 2 in tried)

    run(course())
    assert tried == [1, 1, 1, 2]
    assert empty.xlen(keys.dead_letters("orders", "g")) == 1


def test_p16_a_redis_that_was_killed_is_waited_for(run: Run, new_server: Callable[..., Server]) -> None:
    server = new_server(appendonly=True)
    got: list[int] = []
    broker = Broker(server.url, group="g", settings=Settings(block_ms=200))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async def course() -> None:
        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: got == [1])
            await asyncio.to_thread(server.restart, signal.SIGKILL)
            await until(lambda: broker.ready, 20)
            await broker.publish("orders", Order(2))
            await until(lambda: 2 in got)

    run(course())


@pytest.mark.parametrize("lease_thread", [False, True])
def test_p27_a_signal_drains_what_run_has_begun(run: Run, server: Server, empty: Redis, *, lease_thread: bool) -> None:
    """`uvloop.run(broker.run())`, as docs/performance.md has it."""
    ended: list[int] = []
    broker = Broker(server.url, group="g", settings=Settings(lease_thread=lease_thread))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        ended.append(order.number)

    async def publish() -> None:
        async with Broker(server.url) as publisher:
            await publisher.publish("orders", Order(1))

    run(publish())
    before = signal.getsignal(signal.SIGTERM)
    uvloop.run(broker.run())
    assert ended == [1]
    assert empty.xpending("orders", "g")["pending"] == 0
    assert signal.getsignal(signal.SIGTERM) is before
