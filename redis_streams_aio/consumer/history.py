"""What happened to an entry before this consumer got it: how often it was delivered, how often it failed, when its
retry is due (P10, P11).

Only entries that were pending have a history; new ones cost nothing. The failure record is one hash field by entry
id, written by the script `RETRY`, as text: `failures first_ms due_ms error`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .. import replays
from ..connection import replies
from ..connection.replies import RawEntry
from ..connection.scripts import HISTORIES
from ..delivery import Delivery
from ..exceptions import LONGEST_DELAY
from .holdings import Holdings


class FailureRecord(NamedTuple):
    """What Redis knows of an entry's failures; times are its clock's, in epoch milliseconds."""

    failures: int
    first_ms: int
    due_ms: int
    error: str


_RECORD = re.compile(rb"(\d{1,10}) (\d{1,14}) (\d{1,14}) (.*)", re.DOTALL)


def parse(record: bytes) -> FailureRecord | None:
    """A failure record; `None` for what was not written by us."""
    match = _RECORD.fullmatch(record)
    if match is None:
        return None
    failures, first_ms, due_ms, error = match.groups()
    return FailureRecord(int(failures), int(first_ms), int(due_ms), error.decode("utf-8", "replace"))


async def take_pending(holdings: Holdings, entries: Iterable[RawEntry]) -> list[Delivery]:
    """Hold entries that were pending before, with their history; those held already learn theirs anew, as they may
    have been another consumer's meanwhile. Left out are those that are pending no more: they were settled, by us or by
    another consumer, while the answer that brought them was on its way.

    Raises `RedisUnavailableError`, `ServerError`, and then holds none of them: they stay pending and are found again.
    """
    entries = list(entries)
    held = [holdings.by_id[entry.id] for entry in entries if entry.id in holdings.by_id]
    taken = holdings.take(entries)
    try:
        await _recall(holdings, [*taken, *held])
    except BaseException:
        for delivery in taken:
            holdings.drop(delivery)
        raise
    for delivery in taken:
        if not delivery.deliveries:
            holdings.drop(delivery)
    return [delivery for delivery in taken if delivery.deliveries]


async def _recall(holdings: Holdings, deliveries: Sequence[Delivery]) -> None:
    """Fill in `deliveries` (0: it is not pending), `failures`, `first_failure` and `due`."""
    if not deliveries:
        return
    ids = [delivery.raw_id for delivery in deliveries]
    now_ms, histories = replies.histories(
        len(ids), await holdings.connection.run(HISTORIES, holdings.stream, holdings.failures_key, holdings.group, *ids)
    )
    for delivery, history in zip(deliveries, histories, strict=True):
        delivery.deliveries = history.deliveries
        _apply(delivery, history.failures, now_ms)
        if history.replay is not None:
            delivery.history = replays.decode(history.replay)
            delivery.recorded = True


def _apply(delivery: Delivery, record: bytes | None, now_ms: int) -> None:
    if record is None or (known := parse(record)) is None:
        return  # none there, or not written by us: a new start
    delay = (known.due_ms - now_ms) / 1000
    if delay > LONGEST_DELAY:
        return  # longer than any retry of ours waits
    now = asyncio.get_running_loop().time()
    delivery.recorded = True
    delivery.failures = known.failures
    delivery.first_failure = known.first_ms / 1000
    if delivery.failures:
        delivery.failing_since = now - (now_ms - known.first_ms) / 1000
    if delay > 0:
        delivery.due = now + delay
