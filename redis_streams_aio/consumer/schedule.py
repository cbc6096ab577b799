"""The schedule: which delivery is handled next. Pure: no tasks, no clock of its own.

Every delivery has a *lane*; deliveries of one lane are handled one after another, in the order they came (P7). The
three orders are three ways to choose it: `"stream"` has one lane for all, `"key"` one for each key, `"none"` no
lanes. So one rule serves all three:

* a delivery is *ready* when nobody of its lane is before it,
* one that failed is *delayed* until its retry is due, and keeps its lane: those behind it wait,
* when its fate is settled, it *leaves*, and the next of its lane is ready.

A batch may have several of one lane, one behind the other; the lane is theirs together until the batch has ended.
Those to be tried again then go back to the front of their lane, in their order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import count

from ..delivery import Delivery


class Schedule:
    """See the module."""

    def __init__(self) -> None:
        self._ready: deque[Delivery] = deque()
        self._behind: dict[
            object, deque[Delivery]
        ] = {}  # a lane is in here while one of it is ready, running or delayed
        self._delayed: list[tuple[float, int, Delivery]] = []
        self._waiting = 0
        self._order = count()

    @property
    def buffered(self) -> int:
        """Deliveries that are ready, or wait behind another of their lane."""
        return len(self._ready) + self._waiting

    @property
    def ready(self) -> int:
        """Deliveries that a free worker could begin."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """Deliveries that wait until they are due."""
        return len(self._delayed)

    @property
    def next_due(self) -> float | None:
        """When the next retry is due, on the clock of `Delivery.due`."""
        return self._delayed[0][0] if self._delayed else None

    def startable(self, now: float) -> int:
        """Deliveries that could be begun; of those that are due, no more than one is counted."""
        return len(self._ready) + bool(self._delayed and self._delayed[0][0] <= now)

    def add(self, delivery: Delivery) -> None:
        """Take a delivery in; one with a `due` time is not handled before it."""
        lane = delivery.lane
        if lane is None:
            self._start(delivery)
        elif (behind := self._behind.get(lane)) is not None:
            behind.append(delivery)
            self._waiting += 1
        else:
            self._behind[lane] = deque()
            self._start(delivery)

    def take(self, now: float) -> Delivery | None:
        """The next delivery to handle, `None` when there is none now. A due retry goes before newer ones."""
        if self._delayed and self._delayed[0][0] <= now:
            return heapq.heappop(self._delayed)[2]
        return self._ready.popleft() if self._ready else None

    def peek(self, now: float) -> Delivery | None:
        """What `take` would give."""
        if self._delayed and self._delayed[0][0] <= now:
            return self._delayed[0][2]
        return self._ready[0] if self._ready else None

    def fills(self, most: int) -> bool:
        """Whether what could be begun now fills a batch; what waits behind a lane that is busy could not."""
        if self.buffered < most:
            return False
        count = 0
        for delivery in self._ready:
            count += 1 + (0 if delivery.lane is None else len(self._behind[delivery.lane]))
            if count >= most:
                return True
        return False

    def take_batch(self, now: float, most: int) -> list[Delivery]:
        """Up to `most` deliveries to handle together, of a lane in its order; a suspect comes alone."""
        batch: list[Delivery] = []
        while len(batch) < most and (following := self.peek(now)) is not None:
            alone = is_suspect(following)
            if alone and batch:
                break
            batch.append(following)
            self.take(now)
            if alone:
                break
            self._take_behind(following.lane, batch, most)
        return batch

    def _take_behind(self, lane: object, batch: list[Delivery], most: int) -> None:
        behind = self._behind.get(lane)
        while behind and len(batch) < most and not is_suspect(behind[0]) and not behind[0].due:
            batch.append(behind.popleft())
            self._waiting -= 1

    def delay(self, delivery: Delivery, due: float) -> None:
        """Put a delivery that was taken out aside until `due`; its lane waits."""
        delivery.due = due
        heapq.heappush(self._delayed, (due, next(self._order), delivery))

    def advance(self, seconds: float) -> None:
        """Let time pass: all that waits for its time is due so much earlier."""
        for behind in self._behind.values():
            for delivery in behind:
                if delivery.due:
                    delivery.due -= seconds
        for _, _, delivery in self._delayed:
            delivery.due -= seconds
        self._delayed = [(due - seconds, number, delivery) for due, number, delivery in self._delayed]

    def forget(self, delivery: Delivery) -> bool:
        """Take a delivery out that waits for its retry; whether it did."""
        kept = [item for item in self._delayed if item[2] is not delivery]
        found = len(kept) < len(self._delayed)
        if found:
            heapq.heapify(kept)
            self._delayed = kept
        return found

    def leave(self, delivery: Delivery) -> None:
        """A delivery that was taken out is done with: the next of its lane is ready."""
        if delivery.lane is not None:
            self._start_next(delivery.lane)

    def end_batch(self, batch: Sequence[Delivery], again: Sequence[Delivery]) -> None:
        """A batch that was taken out is done with, but for those to be handled `again` at their `due` time."""
        for delivery in reversed(again):
            if delivery.lane is None:
                self.delay(delivery, delivery.due)
            else:
                self._behind[delivery.lane].appendleft(delivery)
                self._waiting += 1
        for lane in dict.fromkeys(delivery.lane for delivery in batch if delivery.lane is not None):
            self._start_next(lane)

    def _start_next(self, lane: object) -> None:
        if behind := self._behind.get(lane):
            self._waiting -= 1
            self._start(behind.popleft())
        else:
            self._behind.pop(lane, None)

    def _start(self, delivery: Delivery) -> None:
        if delivery.due:
            self.delay(delivery, delivery.due)
        else:
            self._ready.append(delivery)


def is_suspect(delivery: Delivery) -> bool:
    """Whether it may hold up others, or drag them down: whoever had it before came to no end with it, it failed before,
    its fate is still to be written, or it is not ours any more.
    """
    return delivery.deliveries > 1 or delivery.failures > 0 or delivery.fate is not None or delivery.lost
