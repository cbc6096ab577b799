"""The past of an entry, before this consumer got it: how often it was delivered, how often it failed, when its
retry is due.

Only entries that were pending have a history; new ones cost nothing.

**Deliveries are counted here**, when the entries have arrived, in a step whose answer is small; the claim that brings
them counts nothing. A big answer that is lost again and again must not use up the deliveries of events that no handler
has seen. So is each counted once: what a step left open is kept in `holdings.uncertain`.

**Clocks.** Times in a record are the server's, and a clock may be set back: a retry waits for no longer than the delay
that was decided, and has been failing for no less than no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...connection.replies import RawEntry
from ...connection.steps.consumer import NotOurs
from ...connection.steps.histories import History, recall
from ...connection.steps.records import FailureRecord
from ...events import replays
from ...events.delivery import Delivery
from ..holdings import Holdings


async def take_pending(holdings: Holdings, entries: Iterable[RawEntry], *, counts: bool) -> list[Delivery]:
    """Hold entries that were pending before, with their history.

    Entries that are held already learn theirs again, as they may have been another consumer's meanwhile. Left out are
    entries that are not ours any more: they were settled, by us or by another consumer, while the answer that brought
    them was on its way.

    `counts`: whether this is a delivery, where `holdings.uncertain` does not say. Raises `RedisUnavailableError`,
    `ServerError`, and then holds none of them: they stay pending and are found again.
    """
    entries = list(entries)
    held = [holdings.by_id[entry.id] for entry in entries if entry.id in holdings.by_id]
    taken = holdings.take(entries)
    counted = [holdings.uncertain.get(delivery.raw_id, counts) for delivery in taken]
    ours: list[Delivery] = []
    try:
        await _recall(holdings, [*taken, *held], counted + [False] * len(held))
        ours += [delivery for delivery in taken if delivery.deliveries]
    finally:
        _drop_others(holdings, taken, ours)
    return ours


def _drop_others(holdings: Holdings, taken: Sequence[Delivery], ours: Sequence[Delivery]) -> None:
    """Stop holding entries that are not ours, or of which nothing is known."""
    kept = set(ours)
    for delivery in taken:
        if delivery not in kept:
            holdings.drop(delivery)


async def _recall(holdings: Holdings, deliveries: Sequence[Delivery], counts: Sequence[bool]) -> None:
    """Count deliveries, and fill in `deliveries` (0: it is not ours), `failures`, `first_failure` and `due`."""
    if not deliveries:
        return
    asked = [(delivery.raw_id, count) for delivery, count in zip(deliveries, counts, strict=True)]
    for entry_id, _ in asked:
        holdings.uncertain[entry_id] = False  # from here on it may have been counted
    recalled = await recall(holdings.connection, holdings.who, asked)
    for delivery, history in zip(deliveries, recalled.histories, strict=True):
        holdings.uncertain.pop(delivery.raw_id, None)
        _apply(delivery, history, recalled.now_ms, holdings.clock.now())


def _apply(delivery: Delivery, history: History | NotOurs, now_ms: int, now: float) -> None:
    if isinstance(history, NotOurs):
        delivery.deliveries = 0
        return
    delivery.deliveries = history.deliveries
    if history.failures is not None:
        _apply_record(delivery, history.failures, now_ms, now)
    else:  # one that was held all along may have been given up by another consumer, and replayed
        delivery.failures, delivery.first_failure, delivery.failing_since = 0, 0.0, 0.0
    if history.replay is not None:
        delivery.history = replays.decode(history.replay)
        delivery.recorded = True


def _apply_record(delivery: Delivery, known: FailureRecord, now_ms: int, now: float) -> None:
    delivery.recorded = True
    delivery.failures = known.failures
    delivery.first_failure = known.first_ms / 1000
    if delivery.failures:
        delivery.failing_since = now - max(0, now_ms - known.first_ms) / 1000
    delay = min(known.due_ms - now_ms, known.delay_ms) / 1000
    if delay > 0:
        delivery.due = now + delay
