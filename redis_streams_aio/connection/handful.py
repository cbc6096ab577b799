"""How many entries to ask for in one step, where a reply may be too big to come through (P6). Pure.

A slow line, or a limit of the server's on what it has ready for one client, loses the reply to a step that asks for
too much, and would lose it again each time. So after a loss half as many are asked for, down to one. What comes through
in full lets the number grow again by one, and up to what was lost last only slowly: each loss costs a new connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..exceptions import UnansweredError

SLOWLY = 1.05
"""By how much the bound grows with each step that comes through in full."""


class Handful:
    """The number of entries to ask for at once, between one and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bound = float(most)
        self.size: int = most

    @contextmanager
    def asking_for(self, count: int) -> Iterator[None]:
        """A step that asks for so many; when its answer is lost, the next one is to ask for less."""
        try:
            yield
        except UnansweredError:
            self.lost(count)
            raise

    def lost(self, count: int) -> None:
        """The reply to a step that asked for so many was lost."""
        asked = min(count, self.size)
        self._bound = max(1.0, asked - 1)
        self.size = max(1, asked // 2)

    def came(self, count: int) -> None:
        """So many came in one step."""
        if self.size <= count and self.size < self._most:
            self._bound = min(self._bound * SLOWLY, self._most)
            self.size = min(self.size + 1, int(self._bound))
