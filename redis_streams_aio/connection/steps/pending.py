"""Pending: the entries that Redis has delivered and nobody has acknowledged, with their consumers (`XPENDING`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ...models import PendingMessage
from ..packing import Argument
from ..replies import Reply, age, array, checked_id, how_many, integer, reads, row, text

if TYPE_CHECKING:
    from ..connection import Connection

BEGINNING = "-"
"""The start of all pending entries."""


class PendingPage(NamedTuple):
    """Some of the pending entries of a group, and where to go on."""

    found: list[PendingMessage]
    next: str | None
    """The start of the next page; `None` after the last one."""


async def pending(
    connection: Connection, stream: str, group: str, count: int, *, start: str = BEGINNING, consumer: str | None = None
) -> list[PendingMessage]:
    """Return the first `count` pending entries from `start` on, of all consumers or of one.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    of_consumer: tuple[Argument, ...] = () if consumer is None else (consumer,)
    return pending_messages(await connection.call("XPENDING", stream, group, start, "+", count, *of_consumer))


async def left_by(
    connection: Connection, stream: str, group: str, count: int, *, consumer: str, idle_ms: int
) -> list[PendingMessage]:
    """Return the first `count` pending entries of a consumer that have been idle for `idle_ms`.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    asked: tuple[Argument, ...] = ("IDLE", idle_ms, "-", "+", count, consumer)
    return pending_messages(await connection.call("XPENDING", stream, group, *asked))


async def pending_page(
    connection: Connection, stream: str, group: str, count: int, *, start: str, idle: float
) -> PendingPage:
    """Look at the first `count` pending entries from `start` on, and return those that were idle for `idle` seconds.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    reply = await connection.call("XPENDING", stream, group, start, "+", count)
    found = pending_messages(reply, idle=idle)
    return PendingPage(found, after(text(last_id(reply))) if len(array(reply)) == count else None)


def after(entry_id: str) -> str:
    """Return the start of the entries after this one."""
    return f"({entry_id}"


@reads
def pending_messages(reply: Reply, *, idle: float = -math.inf) -> list[PendingMessage]:
    """`XPENDING` with a range: entries that were idle for `idle` seconds, or that have no consumer."""
    return [
        PendingMessage(checked_id(entry_id).decode(), text(consumer), age(since), how_many(deliveries))
        for entry_id, consumer, since, deliveries in map(row, array(reply))
        if integer(since) >= idle * 1000 or not consumer
    ]


@reads
def last_id(reply: Reply) -> bytes:
    """The id of the last of some entries."""
    return checked_id(row(array(reply)[-1])[0])
