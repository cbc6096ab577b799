"""Read the history of entries that were pending before: their deliveries, their failures, and when a retry is due.

New entries have no history, and cost nothing.

**Deliveries are counted here**, when the entries have arrived, in a step with a small answer. The claim that brings the
entries does not count. So a big answer that is lost again and again does not use up the deliveries of events that no
handler has seen. Each delivery is counted once: `holdings.uncertain` records which counts are open.

**Clocks.** Times in a record come from the server's clock, which may be set back. So a retry waits for at most its
decided delay, and the time since the first failure is never negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...connection.replies import RawEntry
from ...connection.steps.consumer import NotOurs
from ...connection.steps.histories import History, recall
from ...connection.steps.records import FailureRecord
from ...events import replays
from ..entry import BUFFERED, Entry
from ..holdings import Holdings


async def take_pending(holdings: Holdings, entries: Iterable[RawEntry], *, counts: bool) -> list[Entry]:
    """Hold entries that were pending before, with their history.

    Entries that are already held get their history again, because another consumer may have had them meanwhile. Entries
    that no longer belong to this consumer are left out: they were settled while their answer was on its way.

    `counts` says whether this counts as a delivery, if `holdings.uncertain` does not say it. Raises
    `RedisUnavailableError`, `ServerError`, and then holds none of the entries: they stay pending and are found again.
    """
    entries = list(entries)
    taken = holdings.take(entries)
    new = set(taken)
    held = [held for entry in entries if isinstance(held := holdings.by_id.get(entry.id), Entry) and held not in new]
    counted = [holdings.uncertain.get(entry.raw_id, counts) for entry in taken]
    ours: list[Entry] = []
    try:
        await _recall(holdings, [*taken, *held], counted + [False] * len(held))
        ours += [entry for entry in taken if entry.deliveries]
    finally:
        _drop_others(holdings, taken, ours)
    return ours


def _drop_others(holdings: Holdings, taken: Sequence[Entry], ours: Sequence[Entry]) -> None:
    """Stop holding entries that are not ours, or of which nothing is known."""
    kept = set(ours)
    for entry in taken:
        if entry not in kept:
            holdings.drop(entry)


async def _recall(holdings: Holdings, entries: Sequence[Entry], counts: Sequence[bool]) -> None:
    """Count deliveries, and set `deliveries` (0: another consumer has it), failures, and when a retry is due."""
    if not entries:
        return
    asked = [(entry.raw_id, count) for entry, count in zip(entries, counts, strict=True)]
    for entry_id, _ in asked:
        holdings.uncertain[entry_id] = False  # from here on it may have been counted
    recalled = await recall(holdings.connection, holdings.who, asked)
    for entry, history in zip(entries, recalled.histories, strict=True):
        holdings.uncertain.pop(entry.raw_id, None)
        _apply(entry, history, recalled.now_ms, holdings.clock.now())


def _apply(entry: Entry, history: History | NotOurs, now_ms: int, now: float) -> None:
    if isinstance(history, NotOurs):
        entry.deliveries = 0
        return
    entry.deliveries = history.deliveries
    if history.failures is not None:
        _apply_record(entry, history.failures, now_ms, now)
    else:  # another consumer may have given up a held entry, and a person may have replayed it
        entry.failures, entry.first_failure, entry.failing_since = 0, 0.0, 0.0
    if history.replay is not None:
        entry.history = replays.decode(history.replay)
        entry.recorded = True


def _apply_record(entry: Entry, known: FailureRecord, now_ms: int, now: float) -> None:
    entry.recorded = True
    entry.failures = known.failures
    entry.first_failure = known.first_ms / 1000
    if entry.failures:
        entry.failing_since = now - max(0, now_ms - known.first_ms) / 1000
    delay = min(known.due_ms - now_ms, known.delay_ms) / 1000
    if delay > 0 and entry.state is BUFFERED:
        entry.wait(now + delay)
