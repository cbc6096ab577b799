"""What the tests of steps share: a consumer and the entries that it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio.connection.steps.consumer import Consumer

WHO = Consumer("orders", "billing", "ann")
Deliver = Callable[..., Awaitable[list[bytes]]]


@pytest.fixture
def deliver(redis: Redis) -> Deliver:
    """Hands out new entries to a consumer."""

    async def handed_out(count: int, consumer: str = WHO.name) -> list[bytes]:
        if not await redis.exists(WHO.stream):
            await redis.xgroup_create(WHO.stream, WHO.group, "0", mkstream=True)
        ids = [await redis.xadd(WHO.stream, {"number": number}) for number in range(count)]
        await redis.xreadgroup(WHO.group, consumer, {WHO.stream: ">"})
        return [entry_id.encode() for entry_id in ids]

    return handed_out


async def pending(redis: Redis) -> dict[bytes, str]:
    """Who has which entries."""
    found = await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 1000)
    return {one["message_id"].encode(): one["consumer"] for one in found}
