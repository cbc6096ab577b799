"""The clock of entries that wait: for a retry, for a batch to be full, for a copy of an event that is being handled.

A broker has one, as one of its parts. It is the event loop's clock; `redis_streams_aio.testing` puts one in its place
that a test moves. Leases, reads and timeouts are not asked of it: they go by Redis's clock and the event loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Protocol


class Timer(Protocol):
    """A call at a time that has not come."""

    def cancel(self) -> None:
        """Call nothing."""
        ...


class Clock(Protocol):
    """Says what time it is, and calls when a time has come."""

    @property
    def now(self) -> Callable[[], float]:
        """The function that returns the time, in seconds. It is asked for each event: keep it at hand."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], *, context: Context) -> Timer:
        """Call `callback` in the running event loop when it is `when`."""
        ...


class LoopClock:
    """The clock of the event loop."""

    now: Callable[[], float] = staticmethod(monotonic)

    def call_at(self, when: float, callback: Callable[[], object], *, context: Context) -> Timer:
        """Call `callback` in the running event loop when it is `when`."""
        return asyncio.get_running_loop().call_at(when, callback, context=context)


LOOP_CLOCK = LoopClock()
