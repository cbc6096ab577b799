"""The cleaner: takes the names of consumers that are gone out of the group (P22).

A consumer that crashed leaves its name behind. When its entries were taken over and it has been idle for long, the
name is removed by a script that looks once more, in the same step: `XGROUP DELCONSUMER` throws away what is pending.
A consumer that was only quiet is none the worse for it, Redis makes the name again with its next read.
"""

from __future__ import annotations

from ...connection import replies
from ...events import keys
from ...exceptions import StreamNotFoundError
from ...telemetry import ConsumerRemoved
from ..groups import ConsumerGroupManager
from ..holdings import Holdings


async def remove_idle_consumers(holdings: Holdings, expiry: float) -> list[str]:
    """Remove consumers with nothing pending that have been idle for `expiry` seconds; their names.

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
