"""`Route`: whether the connections that were made still lead to where they should, and when to make new ones.

Redis does not close the connections to a primary that is demoted. One of them is told so (`WrongNodeError`) when it
writes or reads new entries; others may go on asking a replica that is behind, and believe that what they hold is not
theirs. So what one of them learns is true for all that were made before, and while the address leads to the wrong
node, all of them share one backoff. Used by the threads of a process at once: all it has are numbers.
"""

from __future__ import annotations

import random
from time import monotonic

from ..exceptions import WrongNodeError
from .backoff import LONGEST

FIRST = 0.4
"""Seconds, half of it at random: a failover takes longer, and to connect costs several commands."""
STEADY = 5.0
"""Seconds without such a refusal after which the backoff starts from the beginning."""


class Route:
    """Where connections lead, counted: those of an older `turn` than the present one lead to the wrong node."""

    __slots__ = ("_in_a_row", "_not_before", "refusal", "turn")

    def __init__(self) -> None:
        self.turn: int = 0
        self.refusal: WrongNodeError = WrongNodeError("no connection yet")
        """The last one."""
        self._not_before = 0.0
        self._in_a_row = 0

    def wrong(self, turn: int, refusal: WrongNodeError) -> None:
        """A connection of that turn leads to the wrong node. The first to say so counts, others only repeat it."""
        if turn != self.turn:
            return
        now = monotonic()
        self._in_a_row = 0 if now > self._not_before + STEADY else self._in_a_row + 1
        wait = min(LONGEST, FIRST * 2**self._in_a_row)
        self._not_before = now + random.uniform(wait / 2, wait)
        self.refusal = refusal
        self.turn += 1

    def wait(self) -> float:
        """Seconds to wait before a new connection is made; 0 or less: none."""
        return self._not_before - monotonic()
