"""`Patience`: when the answers to the commands that were sent are late.

The time of an answer is measured in silence. An answer is late when for `timeout` seconds no byte came and none left,
and for as long as the commands before it need on the slowest line that is borne: bytes that have left us may lie in
buffers on their way for that long.

A reply that went missing on its way shifts all that follow: each command gets the reply of the one before. That shows
when nothing more is sent: the last commands are never answered. So a connection on which commands were under way all
the time, for `timeout` seconds, has to answer all of them before it is written to again.
"""

from __future__ import annotations

from typing import Protocol

SLOWEST = 64 * 1024
"""Bytes a second on the slowest line that is borne."""


class Line(Protocol):
    """A connection whose bytes are watched: a `Wire`."""

    @property
    def heard(self) -> float:
        """When bytes came last."""

    @property
    def unsent(self) -> int:
        """Bytes that have not reached the other side."""


class Patience:
    """How long the answers to the last two writes are waited for, on the event loop's clock."""

    __slots__ = ("_alone_at", "_left_at", "_size", "_timeout", "_unsent", "_within")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._within = timeout
        self._size = 0
        self._left_at = self._alone_at = 0.0
        self._unsent = 0

    def of(self, size: int) -> float:
        """Return the longest silence in seconds after `size` bytes."""
        return self._timeout + size / SLOWEST

    def sent(self, size: int, now: float, *, behind: bool) -> None:
        """Note that `size` bytes leave now; `behind` a write that is not answered yet, or alone."""
        if behind:
            self._within = self.of(self._size + size)
        else:
            self._within, self._left_at, self._alone_at = self._timeout + size / SLOWEST, now, now
        self._size, self._unsent = size, 0

    def may_follow(self, now: float) -> bool:
        """Whether more may be sent before all that is under way is answered."""
        return now - self._alone_at < self._timeout

    def left(self, line: Line, now: float) -> float:
        """Return the seconds until the answer is late, if nothing moves till then. Ask again before that."""
        unsent = line.unsent
        if unsent < self._unsent:
            self._left_at = now
        self._unsent = unsent
        return max(self._left_at, line.heard) + self._within - now
