"""A timetable keeps entries that wait for a time, sorted by that time. Pure.

An entry that leaves before its time is only marked, and its row is dropped when it comes to the front. So losing a
thousand leases at once does not search the table a thousand times.
"""

from __future__ import annotations

import heapq
import math
from itertools import count

from ..entry import Entry

_FEW = 32
"""The number of dropped rows below which tidying up is not worth it."""


class Timetable:
    """Entries by the time at which they are due; equal times in the order of adding."""

    def __init__(self) -> None:
        self.first: float = math.inf
        """When the first entry is due."""
        self._rows: list[tuple[float, int, Entry]] = []
        self._numbers: dict[Entry, int] = {}  # of the valid row
        self._next_number = count()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, entry: Entry) -> None:
        """Keep an entry until its time has come (`Entry.until`)."""
        number = self._numbers[entry] = next(self._next_number)
        heapq.heappush(self._rows, (entry.until, number, entry))
        self.first = self._rows[0][0]

    def peek(self) -> Entry:
        """Return the first entry. Raises `IndexError`."""
        return self._rows[0][2]

    def last(self, most: int, order: str) -> list[Entry]:
        """Return up to `most` entries that are due last, and have no fate that is still to be written.

        Entries that hold a lane are among them only in the order `"none"`: others may not overtake them.
        """
        free = (entry for entry in self._numbers if entry.fate is None and (entry.lane is None or order == "none"))
        return heapq.nlargest(most, free, key=lambda entry: entry.until)

    def pop(self) -> Entry:
        """Remove and return the first entry. Raises `IndexError`."""
        entry = heapq.heappop(self._rows)[2]
        del self._numbers[entry]
        self._tidy()
        return entry

    def discard(self, entry: Entry) -> bool:
        """Remove an entry, and return whether it was in the timetable."""
        if self._numbers.pop(entry, None) is None:
            return False
        if len(self._rows) > 2 * len(self._numbers) + _FEW:
            self._rows = [row for row in self._rows if self._counts(row)]
            heapq.heapify(self._rows)
        self._tidy()
        return True

    def clear(self) -> list[Entry]:
        """Remove and return all entries, in order."""
        rows = sorted(filter(self._counts, self._rows), key=lambda row: row[:2])
        self._rows, self._numbers, self.first = [], {}, math.inf
        return [entry for _, _, entry in rows]

    def _counts(self, row: tuple[float, int, Entry]) -> bool:
        return self._numbers.get(row[2]) == row[1]

    def _tidy(self) -> None:
        """Drop invalid rows at the front."""
        while self._rows and not self._counts(self._rows[0]):
            heapq.heappop(self._rows)
        self.first = self._rows[0][0] if self._rows else math.inf
