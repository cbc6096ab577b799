"""What happened to an entry before this consumer got it: how often it was delivered, how often it failed, when its
retry is due (P10, P11).

Only entries that were pending have a history; new ones cost nothing. The failure record is one hash field by entry
id, written by the script `RETRY`, as text: `failures first_ms due_ms delay_ms error`.

**Deliveries are counted here**, when the entries have arrived, in a step whose answer is small; the claim that brings
them counts nothing. A big answer that is lost again and again must not use up the deliveries of events that no handler
has seen. So is each counted once: what a step left open is kept in `holdings.uncertain`.

**Clocks.** Times in a record are the server's, and a clock may be set back: a retry waits for no longer than the delay
that was decided, and has been failing for no less than no time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...checks.times import LONGEST_DELAY
from ...connection import replies
from ...connection.group_scripts import HISTORIES
from ...connection.packing import Argument
from ...connection.replies import PendingHistory, RawEntry
from ...events import replays
from ...events.delivery import Delivery
from ..holdings import Holdings


class FailureRecord(NamedTuple):
    """What Redis knows of an entry's failures; times are its clock's, in epoch milliseconds."""

    failures: int
    first_ms: int
    due_ms: int
    delay_ms: int
    """The delay that was decided, which ends at `due_ms`."""
    error: str


_RECORD = re.compile(rb"(\d{1,10}) (\d{1,14}) (\d{1,14}) (\d{1,12}) (.*)", re.DOTALL)


def parse(record: bytes) -> FailureRecord | None:
    """A failure record; `None` for what was not written by us."""
    match = _RECORD.fullmatch(record)
    if match is None:
        return None
    *numbers, error = match.groups()
    failures, first_ms, due_ms, delay_ms = map(int, numbers)
    if delay_ms > LONGEST_DELAY * 1000:
        return None  # longer than any retry of ours waits
    return FailureRecord(failures, first_ms, due_ms, delay_ms, error.decode("utf-8", "replace"))


async def take_pending(holdings: Holdings, entries: Iterable[RawEntry], *, counts: bool) -> list[Delivery]:
    """Hold entries that were pending before, with their history; those held already learn theirs anew, as they may
    have been another consumer's meanwhile. Left out are those that are not ours any more: they were settled, by us or
    by another consumer, while the answer that brought them was on its way.

    `counts`: whether this is a delivery, where `holdings.uncertain` does not say. Raises `RedisUnavailableError`,
    `ServerError`, and then holds none of them: they stay pending and are found again.
    """
    entries = list(entries)
    held = [holdings.by_id[entry.id] for entry in entries if entry.id in holdings.by_id]
    taken = holdings.take(entries)
    counted = [holdings.uncertain.get(delivery.raw_id, counts) for delivery in taken]
    try:
        await _recall(holdings, [*taken, *held], [*counted, *(False for _ in held)])
    except BaseException:
        for delivery in taken:
            holdings.drop(delivery)
        raise
    for delivery in taken:
        if not delivery.deliveries:
            holdings.drop(delivery)
    return [delivery for delivery in taken if delivery.deliveries]


async def _recall(holdings: Holdings, deliveries: Sequence[Delivery], counts: Sequence[bool]) -> None:
    """Count deliveries, and fill in `deliveries` (0: it is not ours), `failures`, `first_failure` and `due`."""
    if not deliveries:
        return
    ids = [delivery.raw_id for delivery in deliveries]
    asked: list[Argument] = []
    for entry_id, count in zip(ids, counts, strict=True):
        asked += (entry_id, "1" if count else "")
        holdings.uncertain[entry_id] = False  # from here on it may have been counted
    reply = await holdings.connection.run(
        HISTORIES, holdings.stream, holdings.failures_key, holdings.group, holdings.consumer, *asked
    )
    now_ms, histories = replies.histories(len(ids), reply)
    for delivery, history in zip(deliveries, histories, strict=True):
        holdings.uncertain.pop(delivery.raw_id, None)
        _apply(delivery, history, now_ms)


def _apply(delivery: Delivery, history: PendingHistory, now_ms: int) -> None:
    delivery.deliveries = history.deliveries
    known = None if history.failures is None else parse(history.failures)
    if known is not None:
        _apply_record(delivery, known, now_ms)
    else:  # one that was held all along may have been given up by another consumer, and replayed
        delivery.failures, delivery.first_failure, delivery.failing_since = 0, 0.0, 0.0
    if history.replay is not None:
        delivery.history = replays.decode(history.replay)
        delivery.recorded = True


def _apply_record(delivery: Delivery, known: FailureRecord, now_ms: int) -> None:
    now = asyncio.get_running_loop().time()
    delivery.recorded = True
    delivery.failures = known.failures
    delivery.first_failure = known.first_ms / 1000
    if delivery.failures:
        delivery.failing_since = now - max(0, now_ms - known.first_ms) / 1000
    delay = min(known.due_ms - now_ms, known.delay_ms) / 1000
    if delay > 0:
        delivery.due = now + delay
