"""Own pending entries: what Redis thinks this consumer has, and it has not (P5).

A reply that was lost on its way, and a restart under a stable name, leave entries in the consumer's own pending
list that nobody holds. They are looked up with `XPENDING` rather than with a read of the history, which would
count a delivery for entries that are held and fine, and delivered again one by one, if still ours, in one atomic
step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..connection import replies
from ..connection.scripts import TAKE_OWN
from ..delivery import Delivery
from ..telemetry import Recovered
from .history import take_pending
from .holdings import Holdings

PAGE = 100


async def recover_own(holdings: Holdings, room: int) -> AsyncIterator[list[Delivery]]:
    """Take own pending entries, oldest first, until `room` is full or there are no more: part by part.

    Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
    """
    start = "-"
    while room > 0:
        page = await holdings.connection.call(
            "XPENDING", holdings.stream, holdings.group, start, "+", PAGE, holdings.consumer
        )
        ids = [message.id.encode() for message in replies.pending(page)]
        unheld = [entry_id for entry_id in ids if entry_id not in holdings.by_id]
        asked = unheld[:room]
        taken = await _take(holdings, asked)
        room -= len(taken)
        yield taken
        if len(asked) < len(unheld):  # those that were deleted take no room: there may be some for the next ones
            start = f"({replies.text(asked[-1])}"
        elif len(ids) == PAGE:
            start = f"({replies.text(ids[-1])}"
        else:
            return


async def _take(holdings: Holdings, ids: list[bytes]) -> list[Delivery]:
    if not ids:
        return []
    entries = replies.taken(
        await holdings.connection.run(TAKE_OWN, holdings.stream, holdings.group, holdings.consumer, *ids)
    )
    if gone := [entry.id for entry in entries if entry.fields is None]:
        holdings.report_vanished(gone)
        await holdings.connection.call(*holdings.forget_command(gone))
    taken = await take_pending(holdings, entries)
    if taken:
        holdings.telemetry.emit(Recovered(stream=holdings.stream, group=holdings.group, count=len(taken)))
    return taken
