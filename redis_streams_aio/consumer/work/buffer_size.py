"""Choose how much to buffer: as many entries as the handlers do in a quarter of a second, measured. Pure.

So a slow worker holds no entries that an idle worker elsewhere could handle, and a fast worker never waits for a round
trip.
"""

from __future__ import annotations

HORIZON = 0.25
"""Seconds of work in the buffer."""
GROWTH = 4
"""The largest growth from one measurement to the next, because one fast sample proves little."""


class BufferSize:
    """The number of entries to buffer, between 0 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit: int = 0

    def measured(self, done: int, seconds: float) -> None:
        """Learn that `done` entries ended within `seconds` in which more entries were always waiting."""
        affordable = int(done / max(seconds, 1e-6) * HORIZON)
        self.limit = min(affordable, max(self.limit, 1) * GROWTH, self._most)


def room(*, free: int, limit: int, buffered: int, idle: int) -> int:
    """Return how many entries to read now; 0 to wait.

    `free` is the number of entries that may still be held; `idle` is the number of workers without work. A read waits
    until the buffer is half empty, because many small reads cost more than few big ones.
    """
    if buffered * 2 > limit and buffered >= idle:
        return 0
    return max(0, min(free, max(limit, idle) - buffered))
