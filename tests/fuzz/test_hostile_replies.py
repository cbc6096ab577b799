"""A server that answers what no Redis does (P16): the broker stays, tells it in errors of ours, is in no hurry to ask
again, goes on when the server is itself again, and closes.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, RedisStreamsError, Settings
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.fuzz.hostile import BENDS, ENORMOUS, REFUSALS, UNHEARD_OF, Bend, hostile
from tests.fuzz.reading_entries import Order

SECONDS = 1.0
SETTINGS = Settings(
    block_ms=50, reclaim_interval=0.1, command_timeout=0.4, checkpoint_interval=0.1, lag_interval=0.1, grace=1
)


async def publish_for_a_while(broker: Broker, seconds: float) -> set[type[BaseException]]:
    """The kinds of errors that it came to; anything but an entry id or an error of ours is raised."""
    loop, kinds = asyncio.get_running_loop(), set()
    end = loop.time() + seconds
    while loop.time() < end:
        try:
            assert isinstance(await broker.publish("orders", Order(1)), str)
        except RedisStreamsError as error:
            kinds.add(type(error))
        await asyncio.sleep(0.02)
    return kinds


@pytest.mark.parametrize("bend", BENDS, ids=lambda bend: bend.__name__)
async def test_p16_a_hostile_server_is_outlived(url: str, server: Server, bend: Bend) -> None:
    seen: set[int] = set()
    async with hostile(server.port, bend.__name__) as between:
        broker = Broker(between.url, group="billing", settings=SETTINGS)

        @broker.handler("orders", lease=1)
        async def bill(order: Order) -> None:
            seen.add(order.number)

        async with broker:
            await broker.publish("orders", Order(-1))
            await until(lambda: -1 in seen)
            accepted, requests = between.accepted, between.requests
            between.bend = bend
            await publish_for_a_while(broker, SECONDS)
            between.bend = None
            assert between.accepted - accepted < 150 * SECONDS
            assert between.requests - requests < 600 * SECONDS
            plain = Redis.from_url(server.url)
            await plain.xadd("orders", {"event_type": "Order", "payload": b'{"number": 4711}'})
            await plain.aclose()
            await until(lambda: 4711 in seen, 15)
            between.bend = bend
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 12


async def test_p16_bytes_that_are_no_reply_are_an_error_of_ours(url: str, server: Server) -> None:
    """TypeError and MemoryError of the parser ended the link for good, and with it the broker."""
    async with hostile(server.port, "bytes") as between, Connection(between.url, command_timeout=0.2) as connection:
        reader = connection.reader("orders")
        for said in (*ENORMOUS, *UNHEARD_OF, *REFUSALS):
            await connection.call("PING")
            with contextlib.suppress(RedisStreamsError):
                await reader.read(Consumer("orders", "billing", "c"), count=1, block=0.01)
            between.bend = lambda _, __, said=said: said
            with contextlib.suppress(RedisStreamsError):
                await connection.call("PING")
            with contextlib.suppress(RedisStreamsError):
                await reader.read(Consumer("orders", "billing", "c"), count=1, block=0.01)
            between.bend = None
        assert await connection.call("PING") == b"PONG"
