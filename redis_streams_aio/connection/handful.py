"""How many entries to ask for in one step, where a reply may be too big to come through (P6). Pure.

A slow line, or a limit of the server's on what it has ready for one client, loses the reply to a step that asks for
too much, and would lose it again each time. So after a loss half as many are asked for, down to one. What comes through
in full lets the number grow again by one, and up to what was lost last only slowly: each loss costs a new connection.

So that nothing is lost in the first place, and memory is bounded, a step asks for no more than fits into
`REPLY_BYTES`, as the entries weighed that came lately.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ..exceptions import UnansweredError

SLOWLY = 1.05
"""By how much the bound grows with each step that comes through in full."""
REPLY_BYTES = 2 * 1024 * 1024
"""How big a reply should be at most."""
SAMPLES = 8
"""Entries of a reply that are weighed: all of them would cost more than to read them."""
FADES = 0.75
"""What is left of the last weight with each reply of lighter entries: big ones may come again."""


class Entry(Protocol):
    """An entry of a stream, whatever stands around it."""

    @property
    def fields(self) -> Sequence[bytes] | None:
        """Its fields; `None`: it was deleted."""


class Handful:
    """The number of entries to ask for at once, between one and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bound = float(most)
        self._size = most
        self._weight = 0.0

    @property
    def size(self) -> int:
        """How many to ask for now."""
        return min(self._size, self.within(REPLY_BYTES))

    def within(self, size: int) -> int:
        """How many entries there are in so many bytes, going by those that came lately: at least one."""
        return max(1, int(size / self._weight)) if self._weight else size

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
        self._size = max(1, asked // 2)

    def came(self, count: int) -> None:
        """So many came in one step."""
        if self._size <= count and self._size < self._most:
            self._bound = min(self._bound * SLOWLY, self._most)
            self._size = min(self._size + 1, int(self._bound))

    def weigh(self, entries: Sequence[Entry]) -> None:
        """Learn how big entries are, from some of those that came."""
        if entries:
            samples = entries[:: -(-len(entries) // SAMPLES)]
            weight = sum(sum(map(len, entry.fields or ())) for entry in samples) / len(samples)
            self._weight = max(weight, self._weight * FADES)
