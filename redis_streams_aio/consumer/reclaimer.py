"""The reclaimer: takes over entries of consumers that are gone (P2), also on a stream where nothing new arrives.

An entry whose lease ran out is one that was idle for longer than `lease`. Each look goes through all that is pending,
oldest first, in one script, and claims no more than there is room for. Entries that this process holds are left as they
are, though a late renewal may have let them be claimed.

Where nothing is pending there is nothing to look for, and for a whole lease there will not be: but for what is given
back, which `naming.releases` tells.
"""

from __future__ import annotations

from ..connection import replies
from ..connection.scripts import RECLAIM
from ..delivery import Delivery
from ..telemetry import Reclaimed
from .history import take_pending
from .holdings import Holdings


async def nothing_pending(holdings: Holdings) -> bool:
    """Whether nothing is pending in the group, for any consumer. Raises as `reclaim` does."""
    if holdings.by_id:
        return False
    return not replies.rows(await holdings.connection.call("XPENDING", holdings.stream, holdings.group, "-", "+", 1))


async def reclaim(holdings: Holdings, room: int) -> list[Delivery]:
    """One look; what is taken over, up to `room` entries.

    Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
    """
    if room <= 0:
        return []
    idle_ms = round(holdings.lease * 1000)
    reply = await holdings.connection.run(RECLAIM, holdings.stream, holdings.group, holdings.consumer, idle_ms, room)
    claimed, gone = replies.claimed(reply)
    holdings.report_vanished(gone)
    if gone:
        await holdings.connection.call(*holdings.forget_command(gone))
    taken = await take_pending(holdings, claimed)
    if taken:
        holdings.telemetry.emit(Reclaimed(stream=holdings.stream, group=holdings.group, count=len(taken)))
    return taken
