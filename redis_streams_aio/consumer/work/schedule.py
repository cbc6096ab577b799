"""The schedule decides which entry is handled next. Pure: no tasks, no clock.

Every entry has a *lane*; entries of one lane are handled one after another, in the order in which they came. The three
orders differ only in the lanes: `"stream"` has one lane for all, `"key"` one for each key, `"none"` has no lanes:

* An entry is *ready* when no earlier entry of its lane is left.
* A failed entry is *delayed* until its retry is due. It keeps its lane, so later ones wait.
* A copy of an event that another process is handling is *aside* until its state is asked again. It has left its lane,
  because the original may come here and need the lane, and no other entry should wait. When the copy may be handled,
  it *queues up* first in its lane again.
* When its fate is settled, an entry *leaves*, and the next one of its lane is ready.

Entries of one lane in a batch hold it together until the batch has ended. Entries to be retried then go back to its
front, in order: due ones go first. Rows of pages come last; an entry that comes later makes entries of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from ..entry import Entry
from ..page import Page, Row
from .row_batch import RowBatch
from .timetable import Timetable


class Schedule:
    """Decides which entry, or row of a page, is handled next."""

    def __init__(self) -> None:
        self._ready: deque[Entry] = deque()
        self.busy: dict[object, deque[Entry] | tuple[()]] = {}
        """Lanes that have an entry, or a row, which is ready, running or delayed; each with the entries behind it."""
        self._delayed, self._aside = Timetable(), Timetable()
        self.last_due: Callable[[int, str], list[Entry]] = self._delayed.last  # `forget` removes them
        self._first_due = math.inf  # of both timetables; read for each event
        self._waiting = 0
        self._pages: deque[Page] = deque()

    @property
    def buffered(self) -> int:
        """The number of entries that are ready, or wait for another one of their lane."""
        return self.ready + self._waiting

    @property
    def ready(self) -> int:
        """The number of entries that a worker could begin."""
        return len(self._ready) + (sum(map(len, self._pages)) if self._pages else 0)

    @property
    def runnable(self) -> int:
        """The number of entries that a worker could begin now: without rows that wait behind an entry of their lane."""
        return self.ready if self._first_page() is not None else len(self._ready)

    @property
    def delayed(self) -> int:
        """The number of entries that wait for a time."""
        return len(self._delayed) + len(self._aside)

    @property
    def next_due(self) -> float | None:
        """When the next of them is due, on the clock of `Entry.until`."""
        return self._first_due if self.delayed else None

    def startable(self, now: float) -> int:
        """Return how many entries could be begun; of those that are due, no more than one is counted."""
        return self.ready + (self._first_due <= now)

    def add(self, entry: Entry) -> None:
        """Take an entry in; one that waits for a time is not handled before it."""
        if self._pages and entry.lane is not None:
            self.dissolve()
        lane = entry.lane
        if lane is None:
            self._start(entry)
        elif lane in self.busy:
            self._queue(lane).append(entry)
        else:
            self.busy[lane] = ()
            self._start(entry)

    def add_page(self, page: Page) -> None:
        """Take a page in: its rows come after everything that is here."""
        self._pages.append(page)

    def take(self, now: float) -> Entry | Page | None:
        """Return the next entry to handle, or the page whose rows are next; `None` if there is nothing now.

        Due entries go before newer ones. A copy that was aside has no lane, and its state must be asked.
        """
        if self._first_due <= now:
            return self._take_due(now)
        while self._ready:
            entry = self._ready.popleft()
            if entry.until <= now or entry.lost:
                return entry
            self.delay(entry)  # another consumer failed on it meanwhile, and it came back
        return self._take_page() if self._pages else None

    def _take_page(self) -> Page | None:
        page = self._first_page()
        if page is not None and page.lane is not None:
            self.busy[page.lane] = ()
        return page

    def _first_page(self) -> Page | None:
        """Return the first page with rows that can begin now. All rows of a page with a lane wait for each other."""
        while self._pages and not len(self._pages[0]):
            self._pages.popleft()
        if not self._pages or self._pages[0].lane in self.busy:
            return None
        return self._pages[0]

    def take_rows(self, most: int) -> RowBatch:
        """Return up to `most` rows of one handler to handle together. There must be rows that can begin now."""
        parts: list[tuple[Page, list[Row]]] = []
        page = first = self._take_page()
        while most > 0 and page is not None and first is not None and page.route is first.route:
            parts.append((page, page.take(most)))
            most -= len(parts[-1][1])
            page = self._pages[1] if len(self._pages) > 1 else None
            if most:
                self._pages.popleft()
        return RowBatch(parts)

    def startable_rows(self, page: Page) -> Iterator[Row]:
        """Take the rows of a page that can be handled now, one by one; a row whose lane is busy waits as an entry."""
        busy = self.busy
        for row in page.rows:
            lane = row[2]
            if lane in busy:
                self._queue(lane).append(page.entry_of(row[0]))
                continue
            if lane is not None:
                busy[lane] = ()
            yield row

    def dissolve(self) -> None:
        """Make entries of all rows that nobody has begun."""
        pages, self._pages = self._pages, deque()
        for page in pages:
            for entry in page.dissolve():
                self.add(entry)

    def _take_due(self, now: float) -> Entry:
        entry = self._aside.pop() if self._aside.first <= now else self._delayed.pop()
        self._timed()
        return entry

    def _timed(self) -> None:
        """Update the time of the first entry that waits for a time."""
        self._first_due = min(self._delayed.first, self._aside.first)

    def peek(self, now: float) -> Entry | Page | None:
        """Return what `take` would return, apart from copies that are aside."""
        if self._delayed.first <= now:
            return self._delayed.peek()
        return self._ready[0] if self._ready else self._first_page()

    def fills(self, most: int) -> bool:
        """Whether entries that could begin now fill a batch; those behind a busy lane could not."""
        count = 0
        for entry in self._ready:
            count += 1 + (0 if entry.lane is None else len(self.busy[entry.lane]))
            if count >= most:
                return True
        return self._first_page() is not None and count + sum(map(len, self._pages)) >= most

    def take_batch(self, now: float, most: int) -> list[Entry]:
        """Return up to `most` entries to handle together, each lane in order; a suspect comes alone.

        Entries that come back are first, in their old order; new entries follow all of them.
        """
        batch: list[Entry] = []
        lanes: dict[object, None] = {}
        while len(batch) < most and isinstance(following := self.peek(now), Entry):
            comes_back = self._delayed.first <= now
            if lanes and not comes_back:
                self._take_behind(lanes, batch, most, now)
                lanes.clear()
                continue
            if following.may_harm_others:
                if not batch:
                    batch.append(self._take_first(now))
                break
            batch.append(self._take_first(now))
            if comes_back:
                lanes[following.lane] = None
            self._take_behind((following.lane,), batch, most, now, back=comes_back)
        self._take_behind(lanes, batch, most, now)
        return batch

    def _take_first(self, now: float) -> Entry:
        if self._delayed.first > now:
            return self._ready.popleft()
        entry = self._delayed.pop()
        self._timed()
        return entry

    def _take_behind(
        self, lanes: Iterable[object], batch: list[Entry], most: int, now: float, *, back: bool = False
    ) -> None:
        """Add the next entries of these lanes to the batch; with `back`, only those that come back."""
        for lane in lanes:
            behind = self.busy.get(lane)
            while behind and len(batch) < most and not behind[0].may_harm_others and behind[0].until <= now:
                if back and not behind[0].until:
                    break
                batch.append(behind.popleft())
                self._waiting -= 1

    def delay(self, entry: Entry) -> None:
        """Let a taken entry wait for its time; its lane waits too."""
        self._delayed.add(entry)
        self._timed()

    def set_aside(self, entry: Entry) -> None:
        """Let a copy wait for its time without a lane; the caller makes it leave its lane."""
        self._aside.add(entry)
        self._timed()

    def is_aside_due(self, now: float) -> bool:
        """Whether the state of a copy that is aside must be asked now."""
        return self._aside.first <= now

    def take_aside(self, until: float, most: int) -> list[Entry]:
        """Return up to `most` copies that are aside and due by then."""
        due: list[Entry] = []
        while len(due) < most and self._aside.first <= until:
            due.append(self._aside.pop())
        self._timed()
        return due

    def queue_up(self, entries: Sequence[Entry]) -> None:
        """Let copies that were aside be handled in this order: at once, or next in their lane."""
        for entry in reversed(entries):
            if (lane := entry.lane) in self.busy:
                self._queue(lane).appendleft(entry)
                continue
            if lane is not None:
                self.busy[lane] = ()
            self._ready.appendleft(entry)

    def forget(self, entry: Entry) -> None:
        """Remove an entry that waits for its time; the next one of its lane is ready."""
        kept_its_lane = not self._aside.discard(entry) and self._delayed.discard(entry)
        self._timed()
        if kept_its_lane:
            self.leave(entry)

    def leave(self, entry: Entry) -> None:
        """End a taken entry; the next one of its lane is ready."""
        self.leave_lane(entry.lane)

    def leave_lane(self, lane: object) -> None:
        """End rows that had this lane; the next one of the lane is ready."""
        if lane is not None and (behind := self.busy.pop(lane, None)):
            self.busy[lane] = behind
            self._waiting -= 1
            self._start(behind.popleft())

    def end_batch(self, batch: Sequence[Entry], again: Sequence[Entry]) -> None:
        """End a taken batch, except for the entries to handle `again` when they are due."""
        for entry in again:
            if entry.lane is None:
                self._start(entry)
        for entry in reversed(again):
            if entry.lane is not None:
                self._queue(entry.lane).appendleft(entry)
        for lane in dict.fromkeys(entry.lane for entry in batch if entry.lane is not None):
            self.leave_lane(lane)

    def clear(self) -> list[Entry]:
        """Remove and return all entries that have not begun, in any order. Running entries keep their lanes."""
        rows = [entry for page in self._pages for entry in page.dissolve()]
        first = [*self._ready, *self._delayed.clear()]
        everything = [*first, *chain(*self.busy.values()), *rows, *self._aside.clear()]
        self._pages.clear()
        self._ready.clear()
        for entry in first:
            self.busy.pop(entry.lane, None)
        self.busy.update(dict.fromkeys(self.busy, ()))
        self._waiting = 0
        self._timed()
        return everything

    def _queue(self, lane: object) -> deque[Entry]:
        """Return the entries behind a busy lane, for the caller to add one."""
        self._waiting += 1
        behind = self.busy[lane] = self.busy[lane] or deque()
        return behind

    def _start(self, entry: Entry) -> None:
        if entry.until and not entry.lost:  # nobody waits for a lost one: it is dropped at its turn
            self.delay(entry)
        else:
            self._ready.append(entry)
