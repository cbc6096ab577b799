"""No retry before it is due (P11): in no process, after whatever crash, and whatever its wall clock says. Pure.

A handler that fails has its retry written down, and tells for how long it is put off. From the end of that run, nobody
may begin the entry earlier; but for a process that has lost it and does not know that yet (it was frozen, say): it goes
by the retry that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.books import Books, Run
from tests.chaos.history import Record

TOLERANCE = 0.01
"""Seconds: Redis keeps milliseconds, and timers are not exact."""


def early(books: Books) -> Iterator[str]:
    """Retries that began too early."""
    for record in books.records:
        if record.what == "retrying":
            runs = books.runs[record.line, record.id]
            failed = _failed_by(record, runs)
            again = _next_after(failed, [run for run in runs if not _was_lost(books, run)])
            if failed and again and again.began < failed.ended + float(record.detail) - TOLERANCE:
                ahead = failed.ended + float(record.detail) - again.began
                yield f"{record.line} {record.id} {failed.name}: {again.process} began it {ahead:.3f} s too early"


def _failed_by(record: Record, runs: list[Run]) -> Run | None:
    """The run that the retry is of."""
    done = [run for run in runs if run.process == record.process and run.end == "failed" and 0 < run.ended <= record.at]
    return max(done, key=lambda run: run.ended, default=None)


def _was_lost(books: Books, run: Run) -> bool:
    """Whether its process noted afterwards that it had lost the entry before."""
    return any(at >= run.began for at in books.lost.get((run.process, run.entry), ()))


def _next_after(failed: Run | None, runs: list[Run]) -> Run | None:
    after = [run for run in runs if failed and run.began >= failed.ended]
    return min(after, key=lambda run: run.began, default=None)
