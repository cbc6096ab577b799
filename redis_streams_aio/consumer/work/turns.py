"""Limit how long the workers of a pool keep the event loop busy: after `LONGEST` seconds, other tasks run first.

All workers of a pool share this time, a turn. It begins when the first of them has work, and ends with the current
iteration of the event loop. So a hundred workers that wake up together hold the loop no longer than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

LONGEST = 0.005
"""Seconds after which workers let other tasks of the event loop run."""


Worker = asyncio.Task[object]


class Turn:
    """The part of a turn in which one worker handles one unit after another."""

    __slots__ = ("began", "freed", "has_changed", "until", "worker")

    def __init__(
        self,
        worker: Worker,
        began: float,
        until: float,
        has_changed: Callable[[], bool],
        freed: Callable[[], None],
    ) -> None:
        self.worker: Worker = worker
        self.began: float = began
        """When the present unit was begun, on the broker's clock."""
        self.until: float = until
        """When the worker has to let other tasks run."""
        self.has_changed: Callable[[], bool] = has_changed
        """Whether a handler has left something in the worker's context: then no further handler may begin in it."""
        self.freed: Callable[[], None] = freed
        """Tells the reader that there may be room."""


class Turns:
    """The turns of one pool."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._nowhere = Context()  # else a callback would keep its worker's context, with variables of handlers
        self.ends: float = 0.0
        """When the present turn ends; 0 if there is none."""

    def begin(self) -> bool:
        """Begin a turn, or join the present one; return false if that one is over already: step back then."""
        if self.ends:
            return self._now() <= self.ends
        self.ends = self._now() + LONGEST
        asyncio.get_running_loop().call_soon(self._end, context=self._nowhere)
        return True

    def _end(self) -> None:
        self.ends = 0.0
