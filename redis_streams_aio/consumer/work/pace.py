"""How much to buffer (P6): what the handlers get through in a quarter of a second, as measured, not guessed. Pure.

A worker that is slow thus sits on no entries that an idle one elsewhere could handle, and a fast one is never left
waiting for a round trip.
"""

from __future__ import annotations

HORIZON = 0.25
"""Seconds of work to have at hand."""
GROWTH = 4
"""At most so many times more from one measurement to the next: one lucky sample proves little."""


class Pace:
    """The number of deliveries to have buffered, between none and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit: int = 0

    def measured(self, done: int, seconds: float) -> None:
        """`done` deliveries came to an end within `seconds` in which there was always one more to begin."""
        affordable = int(done / max(seconds, 1e-6) * HORIZON)
        self.limit = min(affordable, max(self.limit, 1) * GROWTH, self._most)


def room(*, free: int, limit: int, buffered: int, idle: int) -> int:
    """How many entries to read now; 0: none yet.

    `free`: what may be held beyond what is; `idle`: workers without work. Reads are put off until the buffer is
    half empty, as many small reads cost more than few big ones.
    """
    if buffered * 2 > limit and buffered >= idle:
        return 0
    return max(0, min(free, max(limit, idle) - buffered))
