"""`StreamConsumer`: the consumer without a broker, at its edges (P6, P13, P16)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    EventMessage,
    NotOpenError,
    RetryLater,
    StreamConsumer,
    StreamProducer,
    StreamTypeError,
)
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import Fact, LeaseLost, StepFailed, Telemetry
from redis_streams_aio.testing.proxy import proxy
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


# -- on the engine of the subscriptions -------------------------------------------------------------------------


async def test_p3_leases_are_renewed_while_the_user_works(connection: Connection, redis: Redis) -> None:
    await StreamProducer(connection).publish_many("orders", [Order(1), Order(2)])
    facts: list[Fact] = []
    async with StreamConsumer(
        connection, "orders", "g", payload_type=Order, name="me", lease=0.6, telemetry=Telemetry([facts.append])
    ) as consumer:
        events = consumer.subscribe()
        first = await next_of(events)
        await redis.xclaim("orders", "g", "me", 0, [first.id], idle=500, justid=True)

        async def is_renewed() -> bool:
            [entry, *_] = await redis.xpending_range("orders", "g", "-", "+", 10, "me")
            return entry["time_since_delivered"] < 400

        await until(is_renewed)
        assert await consumer.acknowledge(first) == 1
        assert (await next_of(events)).payload == Order(2)
    assert not [fact for fact in facts if isinstance(fact, LeaseLost)]


async def test_p11_a_retry_is_yielded_when_it_is_due(url: str, connection: Connection) -> None:
    """It was yielded at once."""
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        raise RetryLater(1.5)

    async with broker:
        began = asyncio.get_running_loop().time()
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].delayed == 1)
    await StreamProducer(connection).publish("orders", Order(2))
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.05) as consumer:
        events = consumer.subscribe()
        assert (await next_of(events)).payload == Order(2)
        await until(lambda: (consumer.status.held, consumer.status.buffered) == (2, 1))
        assert (await next_of(events)).payload == Order(1)
        assert asyncio.get_running_loop().time() - began >= 1.5


async def test_p10_p13_the_delivery_cap_counts(connection: Connection, redis: Redis) -> None:
    entry_id = await StreamProducer(connection).publish("orders", Order(1))
    await StreamProducer(connection).publish("orders", Order(2))
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "dead", {"orders": ">"}, count=1)
    await redis.xclaim("orders", "g", "dead", 0, [entry_id], idle=3_600_000, retrycount=20, justid=True)
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.05) as consumer:
        assert (await next_of(consumer.subscribe())).payload == Order(2)
    [(_, letter)] = await redis.xrange(DEAD)
    assert letter["dead:reason"] == "deliveries"


async def test_p27_stop_releases_what_was_not_handed_out(connection: Connection, redis: Redis) -> None:
    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(40)])
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, name="me", block=0.05) as consumer:
        events = consumer.subscribe()
        while consumer.status.buffered == 0:
            await consumer.acknowledge(await next_of(events))
        event = await next_of(events)
        consumer.stop()
        await until(lambda: consumer.status.held == 1)
        assert await consumer.acknowledge(event) == 1
        assert [event async for event in events] == []
        assert {entry["consumer"] for entry in await redis.xpending_range("orders", "g", "-", "+", 100)} <= {
            keys.RELEASED
        }


async def test_p6_a_consumer_that_nobody_asks_takes_no_entries(connection: Connection) -> None:
    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(40)])
    async with (
        StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.02) as idle,
        StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.02) as busy,
    ):
        assert (await next_of(idle.subscribe())).payload == Order(0)
        events = busy.subscribe()
        got = [(await next_of(events)).payload.number for _ in range(39)]
        assert got == list(range(1, 40))
        assert idle.status.held == 1


async def test_an_iteration_that_is_cancelled_goes_on_where_it_was(connection: Connection) -> None:
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.02) as consumer:
        got: list[int] = []

        async def one() -> None:
            event = await anext(consumer.subscribe())
            got.append(event.payload.number)

        for number in range(20):
            waiting = asyncio.create_task(one())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))
            await StreamProducer(connection).publish("orders", Order(number))
        while len(got) < 20:
            await asyncio.wait_for(one(), 10)
        assert got == list(range(20))


async def test_entries_are_fetched_by_hand_beside_an_iterator(connection: Connection) -> None:
    async with StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.2) as consumer:
        events = consumer.subscribe()
        waiting = asyncio.create_task(next_of(events))
        fetched = [asyncio.create_task(consumer.fetch(2)) for _ in range(5)]
        await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(6)])
        got = [(await waiting).payload.number]
        await asyncio.gather(*fetched)
        got += [(await next_of(events)).payload.number for _ in range(5)]
        assert got == list(range(6))


async def test_p16_it_waits_through_an_outage(server: Server, connection: Connection) -> None:
    async with proxy(server.port) as network, Connection(network.url, command_timeout=0.3) as away:
        facts: list[Fact] = []
        telemetry = Telemetry([facts.append])
        async with StreamConsumer(away, "orders", "g", payload_type=Order, block=0.05, telemetry=telemetry) as consumer:
            events = consumer.subscribe()
            await StreamProducer(connection).publish("orders", Order(1))
            assert (await next_of(events)).payload == Order(1)
            waiting = asyncio.create_task(next_of(events))
            network.refuse()
            network.cut()
            await until(lambda: any(isinstance(fact, StepFailed) for fact in facts))
            await network.heal()
            await StreamProducer(connection).publish("orders", Order(2))
            assert (await waiting).payload == Order(2)


async def test_a_consumer_that_was_not_opened_says_so(connection: Connection) -> None:
    consumer = StreamConsumer(connection, "orders", "g")
    with pytest.raises(NotOpenError, match="async with consumer"):
        await anext(consumer.subscribe())
    assert consumer.status.state == "failed"


async def test_a_consumer_whose_task_somebody_cancels_says_so(connection: Connection) -> None:
    async with StreamConsumer(connection, "orders", "g", block=0.02) as consumer:
        waiting = asyncio.create_task(next_of(consumer.subscribe()))
        await until(lambda: consumer._task is not None)
        consumer._task.cancel()  # type: ignore[union-attr]
        with pytest.raises(RuntimeError, match="cancelled from outside"):
            await waiting


async def test_a_connection_that_is_closed_ends_the_iterator(url: str) -> None:
    connection = Connection(url)
    await connection.open()
    consumer = StreamConsumer(connection, "orders", "g", block=0.02)
    await consumer.open()
    waiting = asyncio.create_task(next_of(consumer.subscribe()))
    await until(lambda: consumer._source._reader.is_connected)  # type: ignore[attr-defined]
    await connection.close()
    with pytest.raises(NotOpenError):
        await waiting
    await consumer.close()
