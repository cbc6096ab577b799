"""Choose how many entries to ask for in one step, because a reply may be too big to arrive. Pure.

A slow connection, or a limit of the server on the output for one client, loses the reply to a step that asks for too
much, and would lose it again each time. So after a loss the next step asks for half as many entries, down to one. Each
complete reply lets the number grow by one, and more slowly near the last loss, because each loss costs a new
connection.

To avoid losses at all, and to limit memory, a step asks only for as many entries as fit into `REPLY_BYTES`, by the size
of recent entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ..exceptions import UnansweredError

SLOWLY = 1.05
"""The growth of the bound with each complete reply."""
REPLY_BYTES = 2 * 1024 * 1024
"""The largest size that a reply should have."""
SAMPLES = 8
"""The number of entries of a reply that are measured; measuring all would cost more than reading them."""
FADES = 0.75
"""The rest of the last weight after a reply with smaller entries, because big entries may come again."""


class Entry(Protocol):
    """An entry of a stream."""

    @property
    def fields(self) -> Sequence[bytes] | None:
        """The entry's fields; `None` if the entry was deleted."""


class Handful:
    """The number of entries to ask for at once, between one and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bound = float(most)
        self._size = most
        self._weight = 0.0

    @property
    def size(self) -> int:
        """The number of entries to ask for now."""
        return min(self._size, self.within(REPLY_BYTES))

    def within(self, size: int) -> int:
        """Return how many entries fit into `size` bytes, by the size of recent entries; at least one."""
        return max(1, int(size / self._weight)) if self._weight else size

    @contextmanager
    def asking_for(self, count: int) -> Iterator[None]:
        """Watch a step that asks for `count` entries; after a lost answer the next step asks for fewer."""
        try:
            yield
        except UnansweredError:
            self.lost(count)
            raise

    def lost(self, count: int) -> None:
        """Learn that the reply to a step that asked for `count` entries was lost."""
        asked = min(count, self.size)
        self._bound = max(1.0, asked - 1)
        self._size = max(1, asked // 2)

    def came(self, count: int) -> None:
        """Learn that `count` entries came in one step."""
        if self._size <= count and self._size < self._most:
            self._bound = min(self._bound * SLOWLY, self._most)
            self._size = min(self._size + 1, int(self._bound))

    def weigh(self, entries: Sequence[Entry]) -> None:
        """Learn the size of entries from a sample of a reply."""
        if entries:
            samples = entries[:: -(-len(entries) // SAMPLES)]
            self.weighed(sum(sum(map(len, entry.fields or ())) for entry in samples) / len(samples))

    def weighed(self, weight: float) -> None:
        """Learn the size of the entries of a reply, in bytes for each."""
        self._weight = max(weight, self._weight * FADES)
