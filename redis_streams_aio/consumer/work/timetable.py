"""A timetable keeps deliveries that wait for a time, sorted by that time. Pure.

A delivery that leaves before its time is only marked, and its row is dropped when it comes to the front. So losing a
thousand leases at once does not search the table a thousand times.
"""

from __future__ import annotations

import heapq
import math
from itertools import count

from ...events.delivery import Delivery

_FEW = 32
"""The number of dropped rows below which tidying up is not worth it."""


class Timetable:
    """Deliveries by the time at which they are due; equal times in the order of adding."""

    def __init__(self) -> None:
        self.first: float = math.inf
        """When the first delivery is due."""
        self._rows: list[tuple[float, int, Delivery]] = []
        self._numbers: dict[Delivery, int] = {}  # of the valid row
        self._next_number = count()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, delivery: Delivery, due: float) -> None:
        """Let a delivery wait until `due`."""
        delivery.due = due
        number = self._numbers[delivery] = next(self._next_number)
        heapq.heappush(self._rows, (due, number, delivery))
        self.first = self._rows[0][0]

    def peek(self) -> Delivery:
        """Return the first delivery. Raises `IndexError`."""
        return self._rows[0][2]

    def pop(self) -> Delivery:
        """Remove and return the first delivery. Raises `IndexError`."""
        delivery = heapq.heappop(self._rows)[2]
        del self._numbers[delivery]
        delivery.due = 0.0
        self._tidy()
        return delivery

    def discard(self, delivery: Delivery) -> bool:
        """Remove a delivery, and return whether it was in the timetable."""
        if self._numbers.pop(delivery, None) is None:
            return False
        if len(self._rows) > 2 * len(self._numbers) + _FEW:
            self._rows = [row for row in self._rows if self._counts(row)]
            heapq.heapify(self._rows)
        self._tidy()
        return True

    def clear(self) -> list[Delivery]:
        """Remove and return all deliveries, in order."""
        rows = sorted(filter(self._counts, self._rows), key=lambda row: row[:2])
        self._rows, self._numbers, self.first = [], {}, math.inf
        for _, _, delivery in rows:
            delivery.due = 0.0
        return [delivery for _, _, delivery in rows]

    def _counts(self, row: tuple[float, int, Delivery]) -> bool:
        return self._numbers.get(row[2]) == row[1]

    def _tidy(self) -> None:
        """Drop invalid rows at the front."""
        while self._rows and not self._counts(self._rows[0]):
            heapq.heappop(self._rows)
        self.first = self._rows[0][0] if self._rows else math.inf
