"""Security, against real servers: what strangers write to a stream, what users may do, what errors tell, TLS."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Settings
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until

from ..events import Order

NewServer = Callable[..., Server]
DEEP = b'{"x":' + b"[" * 200_000
"""JSON that no decoder can follow to its end."""


# -- what strangers write -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        {"replayed_for": "g", "replay_history": DEEP, "event_type": "Order", "payload": '{"number":1}'},
        {"event_type": "Order", "payload": DEEP},
        {"event_type": "Order", "payload": b"\x81\xa1x" + b"\x91" * 200_000, "content_type": "application/msgpack"},
    ],
    ids=["history", "json", "msgpack"],
)
async def test_p13_depth_that_no_decoder_follows_ends_nothing(url: str, redis: Redis, entry: dict[str, bytes]) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await redis.xadd("orders", entry)  # type: ignore[arg-type]
        await broker.publish("orders", Order(2))
        await until(lambda: 2 in got)
    assert got in ([2], [1, 2])
