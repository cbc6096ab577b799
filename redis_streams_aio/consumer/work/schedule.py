"""The schedule: which delivery is handled next. Pure: no tasks, no clock of its own.

Every delivery has a *lane*; deliveries of one lane are handled one after another, in the order they came (P7). The
three orders are three ways to choose it: `"stream"` has one lane for all, `"key"` one for each key, `"none"` no
lanes. So one rule serves all three:

* a delivery is *ready* when nobody of its lane is before it,
* one that failed is *delayed* until its retry is due, and keeps its lane: those behind it wait,
* a copy of an event that another process is handling is *aside* until it is asked after again. It has left its lane:
  the original may come here and need it, and nobody else is to wait either. Once it may be handled it *queues up*
  first in its lane again,
* when its fate is settled, it *leaves*, and the next of its lane is ready.

A batch may have several of one lane, one behind the other; the lane is theirs together until the batch has ended.
Those to be tried again then go back to the front of their lane, in their order, and come back together: those that
are due go into a batch before any others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from ...events.delivery import Delivery
from .timetable import Timetable


class Schedule:
    """Says which delivery is handled next."""

    def __init__(self) -> None:
        self._ready: deque[Delivery] = deque()
        self._behind: dict[
            object, deque[Delivery]
        ] = {}  # a lane is in here while one of it is ready, running or delayed
        self._delayed = Timetable()
        self._aside = Timetable()
        self._first_due = math.inf  # of both: asked for each event
        self._waiting = 0

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
        """Deliveries that wait until they are due, in their lane or aside."""
        return len(self._delayed) + len(self._aside)

    @property
    def next_due(self) -> float | None:
        """When the next of them is due, on the clock of `Delivery.due`."""
        return self._first_due if self.delayed else None

    def startable(self, now: float) -> int:
        """Deliveries that could be begun; of those that are due, no more than one is counted."""
        return len(self._ready) + (self._first_due <= now)

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
        """The next delivery to handle, `None` when there is none now. Those that are due go before newer ones.

        The first may be one that is aside: it has no lane, and it is to be asked after.
        """
        if self._first_due <= now:
            return self._take_due(now)
        return self._ready.popleft() if self._ready else None

    def _take_due(self, now: float) -> Delivery:
        delivery = self._aside.pop() if self._aside.first <= now else self._delayed.pop()
        self._timed()
        return delivery

    def _timed(self) -> None:
        """What waits for a time has changed."""
        self._first_due = min(self._delayed.first, self._aside.first)

    def peek(self, now: float) -> Delivery | None:
        """What `take` would give, but for those that are aside."""
        if self._delayed.first <= now:
            return self._delayed.peek()
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
        """Up to `most` deliveries to handle together, of a lane in its order; a suspect comes alone.

        Those that come back come first, in the order in which they were: what is new goes behind all of them.
        """
        batch: list[Delivery] = []
        lanes: dict[object, None] = {}
        while len(batch) < most and (following := self.peek(now)) is not None:
            comes_back = self._delayed.first <= now
            if lanes and not comes_back:
                self._take_behind(lanes, batch, most, now)
                lanes.clear()
                continue
            if is_suspect(following):
                if not batch:
                    batch.append(self._take_first(now))
                break
            batch.append(self._take_first(now))
            if comes_back:
                lanes[following.lane] = None
            self._take_behind((following.lane,), batch, most, now, back=comes_back)
        self._take_behind(lanes, batch, most, now)
        return batch

    def _take_first(self, now: float) -> Delivery:
        if self._delayed.first > now:
            return self._ready.popleft()
        delivery = self._delayed.pop()
        self._timed()
        return delivery

    def _take_behind(
        self, lanes: Iterable[object], batch: list[Delivery], most: int, now: float, *, back: bool = False
    ) -> None:
        """Take along what is next in these lanes; where it is to come `back`, nothing that was never taken."""
        for lane in lanes:
            behind = self._behind.get(lane)
            while behind and len(batch) < most and not is_suspect(behind[0]) and behind[0].due <= now:
                if back and not behind[0].due:
                    break
                batch.append(behind.popleft())
                batch[-1].due = 0.0
                self._waiting -= 1

    def delay(self, delivery: Delivery, due: float) -> None:
        """Have a delivery that was taken out wait until `due`; its lane waits."""
        self._delayed.add(delivery, due)
        self._timed()

    def set_aside(self, delivery: Delivery, due: float) -> None:
        """Have a copy wait until `due` without a lane: whoever sets it aside has left its lane, or does."""
        self._aside.add(delivery, due)
        self._timed()

    def is_aside_due(self, now: float) -> bool:
        """Whether there is one that is aside and to be asked after now."""
        return self._aside.first <= now

    def take_aside(self, until: float, most: int) -> list[Delivery]:
        """Up to `most` of those that are aside and to be asked after by then."""
        due: list[Delivery] = []
        while len(due) < most and self._aside.first <= until:
            due.append(self._aside.pop())
        self._timed()
        return due

    def queue_up(self, deliveries: Sequence[Delivery]) -> None:
        """Those that were aside may be handled, in this order: ready, or first behind the one of their lane."""
        for delivery in reversed(deliveries):
            lane = delivery.lane
            if lane is not None and (behind := self._behind.get(lane)) is not None:
                behind.appendleft(delivery)
                self._waiting += 1
                continue
            if lane is not None:
                self._behind[lane] = deque()
            self._ready.appendleft(delivery)

    def advance(self, seconds: float) -> None:
        """Let time pass: all that waits for its time is due so much earlier."""
        for behind in self._behind.values():
            for delivery in behind:
                if delivery.due:
                    delivery.due -= seconds
        self._delayed.advance(seconds)
        self._aside.advance(seconds)
        self._timed()

    def forget(self, delivery: Delivery) -> None:
        """A delivery is lost: if it waits for its time, it waits no longer, and the next of its lane is ready."""
        kept_its_lane = not self._aside.discard(delivery) and self._delayed.discard(delivery)
        self._timed()
        if kept_its_lane:
            self.leave(delivery)

    def leave(self, delivery: Delivery) -> None:
        """A delivery that was taken out is done with: the next of its lane is ready."""
        if delivery.lane is not None:
            self._start_next(delivery.lane)

    def end_batch(self, batch: Sequence[Delivery], again: Sequence[Delivery]) -> None:
        """A batch that was taken out is done with, but for those to be handled `again` at their `due` time."""
        for delivery in again:
            if delivery.lane is None:
                self.delay(delivery, delivery.due)
        for delivery in reversed(again):
            if delivery.lane is not None:
                self._behind[delivery.lane].appendleft(delivery)
                self._waiting += 1
        for lane in dict.fromkeys(delivery.lane for delivery in batch if delivery.lane is not None):
            self._start_next(lane)

    def clear(self) -> list[Delivery]:
        """Take all out that has not begun, in no order to rely on; lanes stay those of whoever is running."""
        everything = [*self._ready, *chain(*self._behind.values()), *self._delayed.clear(), *self._aside.clear()]
        self._ready.clear()
        for behind in self._behind.values():
            behind.clear()
        self._waiting = 0
        self._timed()
        return everything

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
