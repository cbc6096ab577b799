"""The cleaner removes the names of consumers that are gone from the group.

A consumer that crashed leaves its name behind. When its entries were taken over and it has been idle for a long time, a
script removes the name. The script checks again in the same step, because `XGROUP DELCONSUMER` deletes pending entries.
A consumer that was only quiet loses nothing: Redis recreates the name with its next read.
"""

from __future__ import annotations

from ...connection import replies
from ...events import keys
from ...exceptions import StreamNotFoundError
from ...telemetry import ConsumerRemoved
from ..groups import ConsumerGroupManager
from ..holdings import Holdings


async def remove_idle_consumers(holdings: Holdings, expiry: float) -> list[str]:
    """Remove consumers with nothing pending that have been idle for `expiry` seconds, and return their names.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    connection, stream, group = holdings.connection, holdings.stream, holdings.group
    try:
        listed = replies.consumer_infos(await connection.call("XINFO", "CONSUMERS", stream, group))
    except StreamNotFoundError:
        return []
    removed = []
    for consumer in listed:
        idle = consumer.idle >= expiry and consumer.pending == 0
        if not idle or consumer.name in (holdings.consumer, keys.RELEASED):
            continue
        if await ConsumerGroupManager(connection).delete_consumer(stream, group, consumer.name, idle=expiry):
            removed.append(consumer.name)
            holdings.telemetry.emit(ConsumerRemoved(stream=stream, group=group, consumer=consumer.name))
    return removed
