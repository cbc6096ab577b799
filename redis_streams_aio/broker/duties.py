"""The periodic duties of a broker as values: a name, a step that does the work once, and an interval.

These are the duties for all subscriptions together; each asks at every step which of them run. Duties of a single one
are its own (`consumer/subscription.py`). `consumer/periodic.py` repeats a step, with backoff when Redis is away. All of
them go on until the last subscription has ended, apart from the search for released entries: that brings new work, and
ends when the drain begins.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from ..config import Settings
from ..connection import Connection
from ..consumer.controls import Controls
from ..consumer.periodic import Interval
from ..monitoring import LagWatcher, StreamSweeper
from ..producer import StreamManager
from ..telemetry import Telemetry
from .releases import ReleaseWatch
from .running import Running
from .slow_handlers import SlowHandlers

CLEAN_UP_INTERVAL = 60.0
"""Seconds between looks for names of consumers that are gone, and old dead letters; less where they expire sooner."""


class Duty(NamedTuple):
    """Work that is done again and again."""

    name: str
    step: Callable[[], Awaitable[object]]
    interval: Interval
    """Seconds from the end of a step to the next one."""


def of_reading(connection: Connection, running: Running, controls: Controls, settings: Settings) -> Duty:
    """Return the duty that brings new work, and so ends when the drain begins."""
    watch = ReleaseWatch(connection, running, controls.look)
    return Duty("look for released entries", watch.run_once, settings.reclaim_interval)


def of_handling(running: Running, lag: LagWatcher, slow: SlowHandlers, settings: Settings) -> Iterator[Duty]:
    """Duties for events whose handlers run, and for their groups in Redis."""
    yield Duty("watch handlers", slow.run_once, slow.interval)
    all_of = _All(running)
    yield Duty("checkpoint", all_of.save_checkpoints, settings.checkpoint_interval)
    clean_up = partial(all_of.clean_up, settings.consumer_expiry)
    yield Duty("clean up", clean_up, _clean_up_interval(settings))
    yield Duty("measure lag", lambda: lag.measure(running.groups()), settings.lag_interval)


def of_streams(connection: Connection, running: Running, settings: Settings, telemetry: Telemetry) -> Iterator[Duty]:
    """Duties for the streams that the settings name, with handlers and without."""
    kept = {name: retention for name, each in settings.streams.items() if (retention := each.retention) is not None}
    if kept:
        sweeper = StreamSweeper(connection, kept, groups=running.groups, telemetry=telemetry)
        yield Duty("sweep streams", sweeper.run_where_permitted, sweeper.interval)
    bounds = {name: bound for name, each in settings.streams.items() if (bound := each.alert_length) is not None}
    if bounds:
        manager = StreamManager(connection, telemetry=telemetry)
        for stream, bound in bounds.items():
            manager.watch_length(stream, bound)
        yield Duty("measure lengths", manager.check_lengths, settings.lag_interval)


class _All:
    """Does something for all subscriptions at once. One that fails does not keep the others from theirs."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def save_checkpoints(self) -> None:
        """Save checkpoints that may have changed."""
        await _together(each.save_checkpoint() for each in self._running if each.checkpoint_due)

    async def clean_up(self, expiry: float) -> None:
        """Remove names that have been idle for `expiry` seconds, and what nobody needs any more."""
        await _together(each.clean_up(expiry) for each in self._running)


async def _together(steps: Iterable[Awaitable[None]]) -> None:
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _clean_up_interval(settings: Settings) -> float:
    """Often enough that nothing stays for much longer than it should."""
    shortest = min(settings.consumer_expiry, settings.dead_letter_retention or math.inf)
    return min(CLEAN_UP_INTERVAL, shortest / 4)
