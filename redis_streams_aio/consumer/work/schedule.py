"""The schedule decides which delivery is handled next. Pure: no tasks, no clock.

Every delivery has a *lane*; deliveries of one lane are handled one after another, in the order in which they came. The
three orders differ only in the lanes: `"stream"` has one lane for all, `"key"` one for each key, `"none"` has no lanes.
So one rule serves all three:

* A delivery is *ready* when no earlier delivery of its lane is left.
* A failed delivery is *delayed* until its retry is due. It keeps its lane, so later deliveries of the lane wait.
* A copy of an event that another process is handling is *aside* until its state is asked again. It has left its lane,
  because the original may come here and need the lane, and no other delivery should wait. When the copy may be handled,
  it *queues up* first in its lane again.
* When its fate is settled, a delivery *leaves*, and the next one of its lane is ready.

A batch may contain several deliveries of one lane, in order; they hold the lane together until the batch has ended.
Deliveries to be retried then go back to the front of their lane, in order, and come back together: due deliveries go
into a batch before any others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from ...events.delivery import Delivery
from .timetable import Timetable


class Schedule:
    """Decides which delivery is handled next."""

    def __init__(self) -> None:
        self._ready: deque[Delivery] = deque()
        self._behind: dict[
            object, deque[Delivery]
        ] = {}  # a lane is in here while one of it is ready, running or delayed
        self._delayed = Timetable()
        self._aside = Timetable()
        self._first_due = math.inf  # of both timetables; read for each event
        self._waiting = 0

    @property
    def buffered(self) -> int:
        """The number of deliveries that are ready, or wait for another one of their lane."""
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
        """Return the next delivery to handle; `None` if there is none now. Due deliveries go before newer ones.

        It may be a copy that was aside: it has no lane, and its state must be asked.
        """
        if self._first_due <= now:
            return self._take_due(now)
        return self._ready.popleft() if self._ready else None

    def _take_due(self, now: float) -> Delivery:
        delivery = self._aside.pop() if self._aside.first <= now else self._delayed.pop()
        self._timed()
        return delivery

    def _timed(self) -> None:
        """Update the time of the first delivery that waits for a time."""
        self._first_due = min(self._delayed.first, self._aside.first)

    def peek(self, now: float) -> Delivery | None:
        """Return the delivery that `take` would return, apart from copies that are aside."""
        if self._delayed.first <= now:
            return self._delayed.peek()
        return self._ready[0] if self._ready else None

    def fills(self, most: int) -> bool:
        """Whether deliveries that could begin now fill a batch; those behind a busy lane could not."""
        if self.buffered < most:
            return False
        count = 0
        for delivery in self._ready:
            count += 1 + (0 if delivery.lane is None else len(self._behind[delivery.lane]))
            if count >= most:
                return True
        return False

    def take_batch(self, now: float, most: int) -> list[Delivery]:
        """Return up to `most` deliveries to handle together, each lane in order; a suspect comes alone.

        Deliveries that come back are first, in their old order; new deliveries follow all of them.
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
        """Add the next deliveries of these lanes to the batch; with `back`, only those that come back."""
        for lane in lanes:
            behind = self._behind.get(lane)
            while behind and len(batch) < most and not is_suspect(behind[0]) and behind[0].due <= now:
                if back and not behind[0].due:
                    break
                batch.append(behind.popleft())
                batch[-1].due = 0.0
                self._waiting -= 1

    def delay(self, delivery: Delivery, due: float) -> None:
        """Let a taken delivery wait until `due`; its lane waits too."""
        self._delayed.add(delivery, due)
        self._timed()

    def set_aside(self, delivery: Delivery, due: float) -> None:
        """Let a copy wait until `due` without a lane; the caller makes it leave its lane."""
        self._aside.add(delivery, due)
        self._timed()

    def is_aside_due(self, now: float) -> bool:
        """Whether the state of a copy that is aside must be asked now."""
        return self._aside.first <= now

    def take_aside(self, until: float, most: int) -> list[Delivery]:
        """Return up to `most` copies that are aside and due by then."""
        due: list[Delivery] = []
        while len(due) < most and self._aside.first <= until:
            due.append(self._aside.pop())
        self._timed()
        return due

    def queue_up(self, deliveries: Sequence[Delivery]) -> None:
        """Let copies that were aside be handled in this order: at once, or next in their lane."""
        for delivery in reversed(deliveries):
            lane = delivery.lane
            if lane is not None and (behind := self._behind.get(lane)) is not None:
                behind.appendleft(delivery)
                self._waiting += 1
                continue
            if lane is not None:
                self._behind[lane] = deque()
            self._ready.appendleft(delivery)

    def forget(self, delivery: Delivery) -> None:
        """Remove a lost delivery that waits for its time; the next one of its lane is ready."""
        kept_its_lane = not self._aside.discard(delivery) and self._delayed.discard(delivery)
        self._timed()
        if kept_its_lane:
            self.leave(delivery)

    def leave(self, delivery: Delivery) -> None:
        """End a taken delivery; the next one of its lane is ready."""
        if delivery.lane is not None:
            self._start_next(delivery.lane)

    def end_batch(self, batch: Sequence[Delivery], again: Sequence[Delivery]) -> None:
        """End a taken batch, except for the deliveries to handle `again` at their `due` time."""
        for delivery in again:
            if delivery.lane is None:
                self._start(delivery)
        for delivery in reversed(again):
            if delivery.lane is not None:
                self._behind[delivery.lane].appendleft(delivery)
                self._waiting += 1
        for lane in dict.fromkeys(delivery.lane for delivery in batch if delivery.lane is not None):
            self._start_next(lane)

    def clear(self) -> list[Delivery]:
        """Remove and return all deliveries that have not begun, in any order. Running deliveries keep their lanes."""
        first = [*self._ready, *self._delayed.clear()]
        everything = [*first, *chain(*self._behind.values()), *self._aside.clear()]
        self._ready.clear()
        for behind in self._behind.values():
            behind.clear()
        for delivery in first:
            self._behind.pop(delivery.lane, None)
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
        if delivery.due and not delivery.lost:  # nobody waits for a lost one: it is dropped at its turn
            self.delay(delivery, delivery.due)
        else:
            self._ready.append(delivery)


def is_suspect(delivery: Delivery) -> bool:
    """Whether a delivery may harm others: it was delivered or failed before, is lost, or has an unwritten fate."""
    return delivery.deliveries > 1 or delivery.failures > 0 or delivery.fate is not None or delivery.lost
