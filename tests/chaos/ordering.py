"""Order, as docs/ordering.md promises it, and no more. Pure.

* Lines of `solo`, one process with a stable name: across crashes, drains and lost groups, an entry is begun only when
  all before it (of its key, where the order is by key) have ended; those of one batch begin together.
* Lines in order or in order of keys, in each process: no two handlers (of one key) run at the same time.
* Any line: calls of one task are in the stream in their order.

Entries that were taken out of Redis, or whose failure went with a primary that was replaced, hold nobody up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from redis_streams_aio.events import entry_ids
from tests.chaos.books import Books, Entry, Run
from tests.chaos.workload import LINES


def violations(books: Books) -> list[str]:
    """Where order was promised and not kept."""
    found = []
    for lane, entries in _lanes(books).items():
        found += [f"{lane}: {problem}" for problem in _overtaken(books, entries)]
    return [*found, *_overlapping(books), *_published_out_of_order(books), *_batches_out_of_order(books)]


def _lanes(books: Books) -> dict[str, list[Run]]:
    """The first runs of entries that must come one after another, in stream order."""
    lanes: defaultdict[str, list[Run]] = defaultdict(list)
    for (line, _), runs in books.runs.items():
        about = LINES[line]
        if runs and about.order != "none" and about.by == "solo":
            lanes[_lane(runs[0])].append(runs[0])
    for runs in lanes.values():
        runs.sort(key=lambda run: position(run.entry))
    return lanes


def _lane(run: Run) -> str:
    """What comes one after another: a line, or a key of it."""
    line = run.entry[0]
    return f"{line} {run.detail}" if LINES[line].order == "key" else line


def _batch(run: Run) -> str:
    """What is handled by one call."""
    return run.detail if run.entry[0] == "loads" else f"{run.entry[1]} at {run.began}"


def position(entry: Entry) -> tuple[int, int]:
    """Its place in the stream."""
    return entry_ids.parse(entry[1])


def _overtaken(books: Books, firsts: Sequence[Run]) -> Iterator[str]:
    """Entries that were begun before one in front of them, of another batch, had ended."""
    latest: dict[str, tuple[float, Entry]] = {}  # the two batches with the latest ends
    for run in firsts:
        batch = _batch(run)
        for other, (ended, before) in latest.items():
            if other != batch and ended > run.began:
                yield f"{run.entry[1]} begun {ended - run.began:.3f} s before the end of {before[1]}"
        ended = _end_of(books, run)
        if ended > latest.get(batch, (0.0, run.entry))[0]:
            latest[batch] = (ended, run.entry)
            latest = dict(sorted(latest.items(), key=lambda item: item[1][0])[-2:])


def _end_of(books: Books, run: Run) -> float:
    """0 where nobody waits for it: it was taken away, or Redis may have lost what was written of it."""
    if books.may_have_lost_a_write(run.entry):
        return 0.0
    finished = books.finished(run.entry)
    if finished is None:
        return 0.0 if run.entry in books.taken else float("inf")
    return finished


def _overlapping(books: Books) -> Iterator[str]:
    """Calls of one lane that ran at the same time in one process."""
    calls: defaultdict[tuple[str, str], dict[str, list[Run]]] = defaultdict(dict)
    for run in sorted((run for runs in books.runs.values() for run in runs), key=lambda run: run.began):
        if LINES[run.entry[0]].order != "none":
            calls[run.process, _lane(run)].setdefault(_batch(run), []).append(run)
    for (process, lane), batches in calls.items():
        for before, after in pairwise(batches.values()):
            if any(not run.ended or run.ended > after[0].began for run in before):
                yield f"{lane}: {after[0].entry[1]} begun beside {before[0].entry[1]} in {process}"


def _published_out_of_order(books: Books) -> Iterator[str]:
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for record in books.acknowledged_by:
        task, place = (record.process, record.line), entry_ids.parse(record.id)
        if place <= last.get(task, (0, 0)):
            yield f"{record.line}: {record.process} was given {record.id} after a later one"
        last[task] = place


def _batches_out_of_order(books: Books) -> Iterator[str]:
    last: dict[str, tuple[int, int]] = {}
    for record in books.records:
        if record.what == "begun" and record.line == "loads":
            place = entry_ids.parse(record.id)
            if place <= last.get(record.detail, (0, 0)):
                yield f"loads: {record.id} stands behind a later one in batch {record.detail}"
            last[record.detail] = place
