"""A call of a batch handler, and its entries that may be lost meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from ..entry import Entry
from .row_batch import RowBatch


class BatchCall:
    """A call of the handler; counts which of its entries are still held, from the first lost one on."""

    __slots__ = ("_left", "_members", "entries")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries: Sequence[Entry] = entries
        self._members: frozenset[Entry] | None = None
        self._left = 0

    @property
    def shown(self) -> Sequence[Entry]:
        """The entries, for those who only look."""
        return self.entries.shown() if isinstance(self.entries, RowBatch) else self.entries

    def __contains__(self, entry: Entry) -> bool:
        if isinstance(self.entries, RowBatch) and not self.entries.is_made:
            return False
        if self._members is None:
            self._members = frozenset(self.entries)
            self._left = len(self._members)
        return entry in self._members

    def lose_one(self) -> bool:
        """Note that an entry is lost; return whether it was the last one."""
        self._left -= 1
        return self._left == 0


def subject(taken: Sequence[Entry]) -> str:
    """Return the words for a batch in the log."""
    return f"{taken[0]}" + (f" and {len(taken) - 1} others" if len(taken) > 1 else "")
