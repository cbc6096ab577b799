"""Streams: an empty one is created in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

MAKER = "redis_streams_aio:create_stream"
"""A group that lives for a moment: Redis creates a stream only with its first entry or its first group."""

CREATE_STREAM = Script(
    """
-- ARGV: name of the group that makes the stream. A destroyed group leaves no trace.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
end
""",
    keys={"stream": "exists xgroup|create xgroup|destroy"},
)


async def create_stream(connection: Connection, stream: str) -> None:
    """Create an empty stream if the key does not exist. Raises `RedisUnavailableError`, `ServerError`."""
    await connection.run(CREATE_STREAM, stream, MAKER)
