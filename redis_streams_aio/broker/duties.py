"""The periodic duties of a broker as values: a name, a step that does the work once, and an interval.

These are the duties for all subscriptions together; each asks at every step which of them run. Duties of a single one
are its own (`consumer/subscription.py`). `consumer/periodic.py` repeats a step, with backoff when Redis is away. All of
them go on until the last subscription has ended, apart from the search for released entries: that brings new work, and
ends when the drain begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from ..config import Settings
from ..connection import Connection
from ..consumer.periodic import Interval
from ..monitoring import LagWatcher
from ..producer import StreamManager
from ..telemetry import Telemetry
from .releases import ReleaseWatch
from .running import Running
from .slow_handlers import SlowHandlers


class Duty(NamedTuple):
    """Work that is done again and again."""

    name: str
    step: Callable[[], Awaitable[object]]
    interval: Interval
    """Seconds from the end of a step to the next one."""


def of_reading(connection: Connection, running: Running, settings: Settings) -> Duty:
    """Return the duty that brings new work, and so ends when the drain begins."""
    return Duty("look for released entries", ReleaseWatch(connection, running).run_once, settings.reclaim_interval)


def of_handling(running: Running, lag: LagWatcher, settings: Settings, telemetry: Telemetry) -> Iterator[Duty]:
    """Duties for events whose handlers run, and for their groups in Redis."""
    slow = SlowHandlers(running, telemetry)
    yield Duty("watch handlers", slow.run_once, slow.interval)
    yield Duty("checkpoint", _Checkpoints(running).save, settings.checkpoint_interval)
    yield Duty("measure lag", lambda: lag.measure(running.groups()), settings.lag_interval)


def of_streams(connection: Connection, settings: Settings, telemetry: Telemetry) -> Iterator[Duty]:
    """Duties for the streams that the settings name, with handlers and without."""
    bounds = {name: bound for name, each in settings.streams.items() if (bound := each.alert_length) is not None}
    if bounds:
        manager = StreamManager(connection, telemetry=telemetry)
        for stream, bound in bounds.items():
            manager.watch_length(stream, bound)
        yield Duty("measure lengths", manager.check_lengths, settings.lag_interval)


class _Checkpoints:
    """Saves the checkpoints of all subscriptions."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def save(self) -> None:
        """Save checkpoints that may have changed. A group that fails does not keep the other ones from theirs."""
        saving = [each.save_checkpoint() for each in self._running if each.checkpoint_due]
        for outcome in await asyncio.gather(*saving, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
