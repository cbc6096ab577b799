"""The periodic duties of a broker as values: a name, a step that does the work once, and an interval.

`consumer/periodic.py` repeats a step, with backoff when Redis is away. Duties of reading end when the drain begins; the
other ones go on until the last handler has ended.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from ..config import Settings
from ..connection import Connection
from ..consumer.subscription import Subscription
from ..monitoring import LagWatcher
from ..producer import StreamManager
from ..telemetry import Telemetry
from .releases import ReleaseWatch
from .slow_handlers import SlowHandlers

CLEAN_UP_INTERVAL = 60.0
"""Seconds between looks for names of consumers that are gone, and old dead letters; less where they expire sooner."""


class Duty(NamedTuple):
    """Work that is done again and again."""

    name: str
    step: Callable[[], Awaitable[object]]
    interval: float
    """Seconds from the end of a step to the next one."""


def of_reading(connection: Connection, subscriptions: Sequence[Subscription], settings: Settings) -> Iterator[Duty]:
    """Duties that bring new work, and so end when the drain begins."""
    if subscriptions:
        watch = ReleaseWatch(connection, subscriptions)
        yield Duty("look for released entries", watch.run_once, settings.reclaim_interval)
    for subscription in subscriptions:
        yield Duty("reclaim", subscription.reclaim, settings.reclaim_interval)


def of_handling(subscriptions: Sequence[Subscription], settings: Settings, telemetry: Telemetry) -> Iterator[Duty]:
    """Duties for events whose handlers run, and for what they leave in Redis."""
    for subscription in subscriptions:
        yield Duty("clean up", subscription.clean_up, _clean_up_interval(settings))
    if subscriptions:
        slow = SlowHandlers(subscriptions, telemetry)
        yield Duty("watch handlers", slow.run_once, slow.interval)
        yield Duty("checkpoint", _Checkpoints(subscriptions).save, settings.checkpoint_interval)


def of_measuring(
    connection: Connection, lag: LagWatcher | None, settings: Settings, telemetry: Telemetry
) -> Iterator[Duty]:
    """Duties that measure groups and streams, and tell of it."""
    if lag is not None:
        yield Duty("measure lag", lag.run_once, settings.lag_interval)
    bounds = {name: bound for name, each in settings.streams.items() if (bound := each.alert_length) is not None}
    if bounds:
        manager = StreamManager(connection, telemetry=telemetry)
        for stream, bound in bounds.items():
            manager.watch_length(stream, bound)
        yield Duty("measure lengths", manager.check_lengths, settings.lag_interval)


class _Checkpoints:
    """Saves the checkpoints of all subscriptions."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = subscriptions

    async def save(self) -> None:
        """Save checkpoints that may have changed. A group that fails does not keep the other ones from theirs."""
        saving = [each.save_checkpoint() for each in self._subscriptions if each.checkpoint_due]
        for outcome in await asyncio.gather(*saving, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome


def _clean_up_interval(settings: Settings) -> float:
    """Often enough that nothing stays for much longer than it should."""
    shortest = min(settings.consumer_expiry, settings.dead_letter_retention or math.inf)
    return min(CLEAN_UP_INTERVAL, shortest / 4)
