"""Own pending entries: what Redis thinks this consumer has, and it has not (P5).

A reply that was lost on its way, and a restart under a stable name, leave entries in the consumer's own pending
list that nobody holds. They are looked up with `XPENDING` rather than with a read of the history, which would
count a delivery for entries that are held and fine, and claimed, if still ours, in one atomic step.

After a restart that is a delivery, and counted: the life before may have ended by handling them. Later in a life it is
none: the reply was lost, and no handler has seen them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ...connection import replies
from ...connection.steps.claims import Claim
from ...events.delivery import Delivery
from ...telemetry import Recovered
from ..holdings import Holdings
from .claims import claim
from .records import take_pending

PAGE = 100


async def recover_own(holdings: Holdings, room: int, *, counts: bool) -> AsyncIterator[list[Delivery]]:
    """Take own pending entries, oldest first, until `room` is full or there are no more: part by part.

    `counts`: whether that is a delivery. Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the
    group is lost).
    """
    start = "-"
    while room > 0:
        page = await holdings.connection.call(
            "XPENDING", holdings.stream, holdings.group, start, "+", PAGE, holdings.consumer
        )
        ids = [message.id.encode() for message in replies.pending(page)]
        unheld = [entry_id for entry_id in ids if entry_id not in holdings.by_id]
        asked = unheld[:room]
        taken = await _take(holdings, asked, counts=counts)
        room -= len(taken)
        yield taken
        if len(asked) < len(unheld):  # those that were deleted take no room: there may be some for the next ones
            start = f"({replies.text(asked[-1])}"
        elif len(ids) == PAGE:
            start = f"({replies.text(ids[-1])}"
        else:
            holdings.uncertain.clear()  # all that is ours was looked at
            return


async def _take(holdings: Holdings, ids: list[bytes], *, counts: bool) -> list[Delivery]:
    if not ids:
        return []
    found = await claim(holdings, [Claim(holdings.consumer, 0, entry_id) for entry_id in ids])
    taken = await take_pending(holdings, found, counts=counts)
    if taken:
        holdings.telemetry.emit(Recovered(stream=holdings.stream, group=holdings.group, count=len(taken)))
    return taken
