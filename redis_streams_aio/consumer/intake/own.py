"""Take up own pending entries: those that Redis assigns to this consumer, and that it does not hold.

A lost reply, and a restart with a stable name, leave such entries in the consumer's own pending list. They are looked
up with `XPENDING`, because a read of the history would count a delivery for held entries too. Then they are claimed, if
they still belong to this consumer, in one atomic step.

After a restart this counts as a delivery, because handling the entries may have ended the last process. Later it does
not count, because the reply was lost and no handler has seen the entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ...connection.steps.claims import Claim
from ...connection.steps.pending import BEGINNING, after, pending
from ...telemetry import Recovered
from ..entry import Entry
from ..holdings import Holdings
from .claims import claim
from .records import take_pending

PAGE = 100


async def recover_own(holdings: Holdings, room: int, *, counts: bool) -> AsyncIterator[list[Entry]]:
    """Take up own pending entries, oldest first, until `room` is full or none is left, and yield them part by part.

    `counts` says whether this counts as a delivery. Raises `RedisUnavailableError`, `ServerError`
    (`GroupNotFoundError` if the group is lost).
    """
    start = BEGINNING
    while room > 0:
        stream, group, consumer = holdings.who
        page = await pending(holdings.connection, stream, group, PAGE, start=start, consumer=consumer)
        ids = [message.id.encode() for message in page]
        unheld = [entry_id for entry_id in ids if entry_id not in holdings.by_id]
        asked = unheld[:room]
        taken = await _take(holdings, asked, counts=counts)
        room -= len(taken)
        yield taken
        if len(asked) < len(unheld):  # deleted entries take no room, so there may be room for the next ones
            start = after(asked[-1].decode())
        elif len(ids) == PAGE:
            start = after(page[-1].id)
        else:
            holdings.uncertain.clear()  # all own pending entries were seen
            return


async def _take(holdings: Holdings, ids: list[bytes], *, counts: bool) -> list[Entry]:
    if not ids:
        return []
    found = await claim(holdings, [Claim(holdings.consumer, 0, entry_id) for entry_id in ids])
    taken = await take_pending(holdings, found, counts=counts)
    if taken:
        holdings.telemetry.emit(Recovered(**holdings.here, count=len(taken)))
    return taken
