"""Find out whether a broker has work left, and which.

*Settled*: in every group nothing is unread and nothing pending, and no handler runs (on a deleted entry, for example).
Handlers may publish to streams that were checked a moment ago, so two checks in a row must find it, and no stream may
have grown in between. *Idle*: nothing is left to do now; unsettled entries wait for their time, or for a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from ..connection import Connection
from ..consumer import ConsumerGroupManager
from ..consumer.subscription import Subscription
from ..events import keys
from ..exceptions import GroupNotFoundError, StreamNotFoundError
from ..producer import StreamManager
from .clock import pending
from .movable_clock import MovableClock

LOOK_AGAIN = 0.002
"""Seconds between two checks."""
_MARGIN = 0.001
"""Added because Redis counts idle times in whole milliseconds."""

Subscriptions = Callable[[], Sequence[Subscription]]


class WorkLeft(msgspec.Struct, frozen=True):
    """The work that one subscription has left."""

    last: str
    """The stream's last id."""
    settled: bool
    """Whether all its entries are settled."""
    waits: float | None = None
    """Seconds until unsettled entries can be handled; `None` if they are being handled.

    0 if a lease has expired by itself: a step of time, however short, releases the entry.
    """

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do, until time passes."""
        return self.settled or self.waits is not None


async def until_settled(
    connection: Connection,
    subscriptions: Subscriptions,
    clock: MovableClock,
    advance: Callable[[float], Awaitable[None]],
) -> None:
    """Wait until everything is settled. When there is nothing to do but wait, time is advanced."""
    while not await _true_twice(connection, subscriptions, clock, lambda one: one.settled):
        now = await work_left(connection, subscriptions(), clock)
        if all(one.idle for one in now) and (waits := [one.waits for one in now if one.waits is not None]):
            await advance(min(waits))
        await asyncio.sleep(LOOK_AGAIN)


async def until_idle(
    connection: Connection,
    subscriptions: Subscriptions,
    clock: MovableClock,
    advance: Callable[[float], Awaitable[None]],
) -> None:
    """Wait until nothing is left to do now. Entries whose lease has expired by itself are released."""
    while not await _true_twice(connection, subscriptions, clock, lambda one: one.settled or bool(one.waits)):
        if any(one.waits == 0 for one in await work_left(connection, subscriptions(), clock)):
            await advance(0)
        await asyncio.sleep(LOOK_AGAIN)


async def _true_twice(
    connection: Connection, subscriptions: Subscriptions, clock: MovableClock, is_so: Callable[[WorkLeft], bool]
) -> bool:
    """Whether it is true for all, in two checks between which no stream has grown."""
    first = await work_left(connection, subscriptions(), clock)
    if not all(map(is_so, first)):
        return False
    second = await work_left(connection, subscriptions(), clock)
    return all(map(is_so, second)) and [one.last for one in first] == [one.last for one in second]


async def work_left(
    connection: Connection, subscriptions: Iterable[Subscription], clock: MovableClock
) -> list[WorkLeft]:
    """Check each subscription once. Raises `RedisUnavailableError`, `ServerError`."""
    return [await _measure(connection, subscription, clock) for subscription in subscriptions]


async def _measure(connection: Connection, subscription: Subscription, clock: MovableClock) -> WorkLeft:
    stream, group = subscription.options.stream, subscription.options.group
    try:
        info = await ConsumerGroupManager(connection).get_group_info(stream, group)
        last = (await StreamManager(connection).get_stream_info(stream)).last_generated_id
    except (StreamNotFoundError, GroupNotFoundError):  # deleted: the next read recreates the group
        return WorkLeft("", settled=False)
    unread = bool(await connection.call("XRANGE", stream, f"({info.last_delivered_id}", "+", "COUNT", 1))
    if not unread and not info.pending and not _is_busy(subscription, clock):
        return WorkLeft(last, settled=True)
    waits = None if unread or _is_busy(subscription, clock) else await _waits(connection, subscription, clock)
    return WorkLeft(last, settled=False, waits=waits)


def _is_busy(subscription: Subscription, clock: MovableClock) -> bool:
    """Whether a subscription is handling an entry or writing its fate, or will do so now."""
    status = subscription.status
    waits = status.delayed or (subscription.options.batch is not None and clock.next_call is not None)
    return subscription.is_handling or status.unwritten > 0 or (len(subscription.holdings) > 0 and not waits)


async def _waits(connection: Connection, subscription: Subscription, clock: MovableClock) -> float | None:
    """Return the seconds until the next delivery is due, or the next lease of others expires; `None`: now."""
    options, holdings = subscription.options, subscription.holdings
    moments = [
        max(0.0, options.lease - idle_ms / 1000 + _MARGIN)
        for entry_id, consumer, idle_ms in await pending(connection, options.stream, options.group)
        if entry_id.encode() not in holdings.by_id and consumer not in (keys.RELEASED, holdings.consumer)
    ]
    if holdings.by_id and (due := clock.next_call) is not None:
        moments.append(max(0.0, due))
    return min(moments, default=None)


async def in_words(connection: Connection, subscription: Subscription) -> str:
    """Describe the work that a subscription has left, for people."""
    status = subscription.status
    try:
        info = await ConsumerGroupManager(connection).get_group_info(status.stream, status.group)
        at_redis = f"{info.pending} pending, {'?' if info.lag is None else info.lag} unread at Redis"
    except (StreamNotFoundError, GroupNotFoundError):
        at_redis = "no such group at Redis"
    return (
        f"{status.stream}/{status.group}: {status.running} running, {status.buffered} buffered, "
        f"{status.delayed} waiting for their time; {at_redis}"
    )
