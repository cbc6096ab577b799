"""A clock that a test moves, so that waiting events in the broker are due without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic


class MovableClock:
    """The event loop's clock, ahead by as much as the test has moved it (`redis_streams_aio.consumer.clock.Clock`)."""

    def __init__(self) -> None:
        self.ahead: float = 0.0
        """Seconds."""
        self._timers: set[_Timer] = set()

    def now(self) -> float:
        """Return the time, in seconds."""
        return monotonic() + self.ahead

    def call_at(self, when: float, callback: Callable[[], object], *, context: Context) -> _Timer:
        """Call `callback` in the running event loop when it is `when`."""
        return _Timer(self, self._timers, when, callback, context)

    def advance(self, seconds: float) -> None:
        """Move the clock. Calls whose time has come by then are made with the next turn of the event loop."""
        self.ahead += seconds
        for timer in self._timers:
            timer.set()

    @property
    def next_call(self) -> float | None:
        """Seconds until the next call; `None` if nothing waits for a time."""
        due = min((timer.when for timer in self._timers), default=None)
        return None if due is None else due - self.now()


class _Timer:
    """A call at a time that has not come."""

    def __init__(
        self,
        clock: MovableClock,
        timers: set[_Timer],
        when: float,
        callback: Callable[[], object],
        context: Context,
    ) -> None:
        self.when = when
        self._clock = clock
        self._timers = timers
        self._callback = callback
        self._context = context
        self._handle: asyncio.TimerHandle | None = None
        timers.add(self)
        self.set()

    def set(self) -> None:
        """Let the event loop make the call at the right time of its own clock."""
        if self._handle is not None:
            self._handle.cancel()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_at(self.when - self._clock.ahead, self._call, context=self._context)

    def cancel(self) -> None:
        """Call nothing."""
        self._timers.discard(self)
        if self._handle is not None:
            self._handle.cancel()

    def _call(self) -> None:
        self._timers.discard(self)
        self._callback()
