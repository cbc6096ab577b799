"""A timetable: deliveries that wait for a time, by that time. Pure.

Whichever leaves before its time is only marked, and its row is dropped when it comes to the front: losing a thousand
leases at once looks through nothing a thousand times.
"""

from __future__ import annotations

import heapq
import math
from itertools import count

from ...events.delivery import Delivery

_FEW = 32
"""Rows without a delivery that are not worth tidying up."""


class Timetable:
    """Deliveries by the time at which they are due; those that are equally due as they were added."""

    def __init__(self) -> None:
        self.first: float = math.inf
        """When the first one is due."""
        self._rows: list[tuple[float, int, Delivery]] = []
        self._numbers: dict[Delivery, int] = {}  # of the row that counts
        self._next_number = count()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, delivery: Delivery, due: float) -> None:
        """Have it wait until `due`."""
        delivery.due = due
        number = self._numbers[delivery] = next(self._next_number)
        heapq.heappush(self._rows, (due, number, delivery))
        self.first = self._rows[0][0]

    def peek(self) -> Delivery:
        """The first one. Raises `IndexError`."""
        return self._rows[0][2]

    def pop(self) -> Delivery:
        """Take the first one out: it waits no longer. Raises `IndexError`."""
        delivery = heapq.heappop(self._rows)[2]
        del self._numbers[delivery]
        delivery.due = 0.0
        self._tidy()
        return delivery

    def discard(self, delivery: Delivery) -> bool:
        """Take one out, whenever it is due; whether it was in here."""
        if self._numbers.pop(delivery, None) is None:
            return False
        if len(self._rows) > 2 * len(self._numbers) + _FEW:
            self._rows = [row for row in self._rows if self._counts(row)]
            heapq.heapify(self._rows)
        self._tidy()
        return True

    def advance(self, seconds: float) -> None:
        """Let time pass: everything is due so much earlier."""
        self._rows = [(due - seconds, number, delivery) for due, number, delivery in filter(self._counts, self._rows)]
        heapq.heapify(self._rows)
        for due, _, delivery in self._rows:
            delivery.due = due
        self._tidy()

    def clear(self) -> list[Delivery]:
        """Take all out, the first first."""
        rows = sorted(filter(self._counts, self._rows), key=lambda row: row[:2])
        self._rows, self._numbers, self.first = [], {}, math.inf
        for _, _, delivery in rows:
            delivery.due = 0.0
        return [delivery for _, _, delivery in rows]

    def _counts(self, row: tuple[float, int, Delivery]) -> bool:
        return self._numbers.get(row[2]) == row[1]

    def _tidy(self) -> None:
        """Have a delivery in the first row, if there is any."""
        while self._rows and not self._counts(self._rows[0]):
            heapq.heappop(self._rows)
        self.first = self._rows[0][0] if self._rows else math.inf
