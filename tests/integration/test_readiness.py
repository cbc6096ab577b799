"""Readiness: red while reads do not come back, green again by itself (P19)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.asyncio import Redis

from redis_streams_aio import Broker, Settings
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

FAST = Settings(block_ms=100, command_timeout=2)


def consumer(url: str, settings: Settings = FAST) -> Broker:
    broker = Broker(url, group="g", settings=settings)

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    @broker.handler("clicks", event_type="Click")
    async def click(payload: dict) -> None: ...

    return broker


async def test_p19_ready_from_the_start_to_the_drain(url: str) -> None:
    broker = consumer(url)
    assert not broker.ready
    async with broker:
        assert broker.ready
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
        assert broker.ready
        assert all(status.ready for status in broker.status)
    assert not broker.ready


async def test_p19_a_broker_that_only_publishes_is_ready_while_it_is_open(url: str) -> None:
    broker = Broker(url)
    async with broker:
        assert broker.ready
    assert not broker.ready


async def test_p19_red_while_redis_is_down_and_green_again_by_itself(new_server: Callable[..., Server]) -> None:
    server = new_server()
    async with consumer(server.url) as broker:
        assert broker.ready
        server.stop()
        await until(lambda: not broker.ready)
        server.start()
        await until(lambda: broker.ready)


async def test_p19_red_while_redis_answers_pings_and_no_reads(new_server: Callable[..., Server]) -> None:
    """Only the group's stream is refused: PING would be content."""
    server = new_server()
    async with Redis.from_url(server.url, protocol=2, decode_responses=True) as redis, consumer(server.url) as broker:
        await redis.execute_command("ACL", "SETUSER", "default", "-xreadgroup")
        await until(lambda: not broker.ready)
        assert await redis.ping()
        await redis.execute_command("ACL", "SETUSER", "default", "+xreadgroup")
        await until(lambda: broker.ready)


async def test_p19_red_while_redis_has_gone_silent(new_server: Callable[..., Server]) -> None:
    """No error comes: the read is overdue."""
    server = new_server()
    async with consumer(server.url) as broker:
        server.freeze()
        await until(lambda: not broker.ready)
        assert [status.ready for status in broker.status] == [False, False]
        server.thaw()
        await until(lambda: broker.ready)


async def test_p19_one_sick_subscription_is_enough_and_is_named(url: str, redis: Redis) -> None:
    async with consumer(url) as broker:
        await redis.delete("clicks")
        await redis.set("clicks", "no stream any more")
        await until(lambda: not broker.ready)
        assert {status.stream: status.ready for status in broker.status} == {"orders": True, "clicks": False}
        await redis.delete("clicks")
        await until(lambda: broker.ready)


async def test_p19_busy_handlers_are_no_reason_to_be_red(url: str) -> None:
    broker = Broker(url, group="g", settings=FAST)
    may_end = asyncio.Event()

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        await may_end.wait()

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: broker.status[0].running == 1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + 1.5:  # longer than block and what a read may be late
            assert broker.ready
            await asyncio.sleep(0.05)
        may_end.set()


async def test_p19_red_while_it_drains(url: str) -> None:
    broker = Broker(url, group="g", settings=FAST)
    seen: list[bool] = []
    began = asyncio.Event()

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        began.set()
        await until(lambda: not broker.ready)
        seen.append(broker.ready)

    async with broker:
        await broker.publish("orders", Order(1))
        await began.wait()
    assert seen == [False]
