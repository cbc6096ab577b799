"""`StreamConsumer`: the consumer without a broker, at its edges (P6, P13, P16)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, EventMessage, StreamConsumer, StreamProducer, StreamTypeError
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

DEAD = "{orders}:g:dead"


async def next_of(events: AsyncIterator[EventMessage[Order]]) -> EventMessage[Order]:
    return await asyncio.wait_for(anext(events), 10)


async def test_p13_what_cannot_be_decoded_is_dead_lettered_and_the_next_one_yielded(
    connection: Connection, redis: Redis
) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": "{broken"})
    await StreamProducer(connection).publish("orders", Order(1))
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.05) as consumer:
        event = await next_of(consumer.subscribe())
        assert event.payload == Order(1)
        assert await consumer.acknowledge(event) == 1
        assert consumer.status.settled == 2
    [(_, letter)] = await redis.xrange(DEAD)
    assert letter["dead:reason"] == "undecodable"


async def test_p16_a_full_redis_is_read_on_and_the_dead_letter_written_when_it_can_be(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    try:
        async with Connection(server.url) as connection:
            await redis.xadd("orders", {"event_type": "Order", "payload": "{broken"})
            await StreamProducer(connection).publish("orders", Order(1))
            await redis.xgroup_create("orders", "g", "0")
            await redis.config_set("maxmemory", "1")
            consumer = StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.05)
            async with consumer:
                waiting = asyncio.create_task(next_of(consumer.subscribe()))
                await until(lambda: consumer.status.held == 2)
                assert await redis.exists(DEAD) == 0
                await redis.config_set("maxmemory", "0")
                assert (await waiting).payload == Order(1)
            assert await redis.xlen(DEAD) == 1
    finally:
        await redis.aclose()


async def test_p6_it_reads_no_further_than_its_cap_until_something_is_acknowledged(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(6)])
    caplog.set_level(logging.WARNING, "redis_streams_aio")
    async with StreamConsumer(
        connection, "orders", "g", payload_type=Order, block=0.02, count=2, lease=0.3
    ) as consumer:
        events = consumer.subscribe()
        got = [await next_of(events) for _ in range(4)]
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: "waits for acknowledgements" in caplog.text)
        assert consumer.status.held == 4
        await consumer.acknowledge(*got)
        assert (await waiting).payload == Order(4)


async def test_a_key_that_is_no_stream_ends_it_with_the_reason(connection: Connection, redis: Redis) -> None:
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.02) as consumer:
        await redis.delete("orders")
        await redis.set("orders", "text")
        with pytest.raises(StreamTypeError, match="orders"):
            await next_of(consumer.subscribe())
        assert consumer.status.state == "failed"
        assert "WRONGTYPE" in (consumer.status.error or "")
    await redis.delete("orders")
    await redis.set("orders", "text")
    refused = StreamConsumer(connection, "orders", "g", payload_type=Order)
    with pytest.raises(StreamTypeError):
        await refused.open()
    assert refused.status.state == "failed"
