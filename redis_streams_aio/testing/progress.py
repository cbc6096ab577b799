"""Whether a broker has anything left to do, and what.

*Settled*: in every group nothing is unread and nothing pending, and no handler runs (on an entry that was deleted,
say). Handlers may publish to streams that were looked at a moment ago, so it is true when two looks in a row found it,
and no stream had grown in between. *Idle*: nothing is left to do now; what is not settled waits for its time, or for a
lease to run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from ..connection import Connection
from ..consumer import ConsumerGroupManager
from ..consumer.subscription import Subscription
from ..exceptions import GroupNotFoundError, StreamNotFoundError
from ..producer import StreamManager
from .clock import pending
from .movable_clock import MovableClock

LOOK_AGAIN = 0.002
"""Seconds between looks."""
_MARGIN = 0.001
"""Redis counts idle times in whole milliseconds."""

Subscriptions = Callable[[], Sequence[Subscription]]


class Look(msgspec.Struct, frozen=True):
    """What one subscription has left to do."""

    last: str
    """The stream's last id."""
    settled: bool
    """Whether all of it is settled."""
    waits: float | None = None
    """Seconds until something can be done about what is not settled; `None`: it is being done."""

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do now."""
        return self.settled or self.waits is not None


async def until_settled(
    connection: Connection,
    subscriptions: Subscriptions,
    clock: MovableClock,
    advance: Callable[[float], Awaitable[None]],
) -> None:
    """Until all is settled; when there is nothing to do but to wait, time is advanced to where there is."""
    while not await _twice(connection, subscriptions, clock, lambda one: one.settled):
        now = await look(connection, subscriptions(), clock)
        if all(one.idle for one in now) and (waits := [one.waits for one in now if one.waits is not None]):
            await advance(min(waits))
        await asyncio.sleep(LOOK_AGAIN)


async def until_idle(connection: Connection, subscriptions: Subscriptions, clock: MovableClock) -> None:
    """Until nothing is left to do now."""
    while not await _twice(connection, subscriptions, clock, lambda one: one.idle):  # noqa: ASYNC110  # Redis tells nobody
        await asyncio.sleep(LOOK_AGAIN)


async def _twice(
    connection: Connection, subscriptions: Subscriptions, clock: MovableClock, is_so: Callable[[Look], bool]
) -> bool:
    """Whether it is so of all, in two looks between which no stream has grown."""
    first = await look(connection, subscriptions(), clock)
    if not all(map(is_so, first)):
        return False
    second = await look(connection, subscriptions(), clock)
    return all(map(is_so, second)) and [one.last for one in first] == [one.last for one in second]


async def look(connection: Connection, subscriptions: Iterable[Subscription], clock: MovableClock) -> list[Look]:
    """One look at each. Raises `RedisUnavailableError`, `ServerError`."""
    return [await _look(connection, subscription, clock) for subscription in subscriptions]


async def _look(connection: Connection, subscription: Subscription, clock: MovableClock) -> Look:
    stream, group = subscription.options.stream, subscription.options.group
    try:
        info = await ConsumerGroupManager(connection).get_group_info(stream, group)
        last = (await StreamManager(connection).get_stream_info(stream)).last_generated_id
    except (StreamNotFoundError, GroupNotFoundError):  # deleted: the next read makes the group again
        return Look("", settled=False)
    unread = bool(await connection.call("XRANGE", stream, f"({info.last_delivered_id}", "+", "COUNT", 1))
    if not unread and not info.pending and not _is_busy(subscription, clock):
        return Look(last, settled=True)
    waits = None if unread or _is_busy(subscription, clock) else await _waits(connection, subscription, clock)
    return Look(last, settled=False, waits=waits)


def _is_busy(subscription: Subscription, clock: MovableClock) -> bool:
    """Whether it is handling an entry, or writing its fate, or about to. It is not where all it holds waits."""
    status = subscription.status
    waits = status.delayed or (subscription.options.batch is not None and clock.next_call is not None)
    return subscription.is_handling or status.unwritten > 0 or (len(subscription.holdings) > 0 and not waits)


async def _waits(connection: Connection, subscription: Subscription, clock: MovableClock) -> float | None:
    """Seconds until the next of what it holds is due, or the next lease of others runs out; `None`: now."""
    options, held = subscription.options, subscription.holdings.by_id
    idle = [
        idle_ms / 1000
        for entry_id, _, idle_ms in await pending(connection, options.stream, options.group)
        if entry_id.encode() not in held
    ]
    moments = [] if not idle else [options.lease - max(idle) + _MARGIN]
    if held and (due := clock.next_call) is not None:
        moments.append(due)
    waits = min(moments, default=0.0)
    return waits if waits > 0 else None


async def told(connection: Connection, subscription: Subscription) -> str:
    """What a subscription has left, for people."""
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
