"""A plain client of the nemesis, past all proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    """A client of one server, as long as the block lasts."""
    from redis.asyncio import Redis  # its import is slow

    opened = Redis.from_url(url, protocol=2, decode_responses=True)
    try:
        yield opened
    finally:
        await opened.aclose()


async def send(redis: Redis, *command: object) -> Any:  # whatever Redis says
    """Send one command."""
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]


async def together(redis: Redis, *commands: tuple[object, ...]) -> list[Any]:
    """Send commands in one transaction."""
    async with redis.pipeline(transaction=True) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute())
