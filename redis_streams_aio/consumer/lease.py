"""The lease keeper: tells Redis that this process is alive and still has what it holds (P3).

**Theory.** An entry's idle time in Redis is its lease: it starts to run when the entry is handed out, not when its
handler starts, so what is buffered or waits for a retry ages too, and is renewed too. Renewing sets the idle time
back to zero. Others take an entry over only when it was idle for a whole lease.

Invariants:

* Everything held is renewed at a third of the lease, until its fate is written, also during drain: two renewals
  may fail before it matters.
* Renewing never takes an entry back (P4). The owner is checked and the entry renewed in one atomic step: a plain
  `XCLAIM` would steal it.
* What does not come back is lost: another consumer has it, or it is gone. `delivery.lost` becomes true; a handler
  that is running may go on, and its success may still acknowledge (that is harmless), but its failure writes
  nothing, since every failure path checks the owner.

When things fail: Redis away: the step raises and is tried again soon; leases that ran out meanwhile are found
lost, or still ours, at the next step that works. The process frozen or its event loop blocked for longer than a
lease: the same. The group lost: nothing is pending any more; what is held runs on, and when the group is made
again at its checkpoint, the same ids are held still and not handled twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..connection import replies
from ..connection.scripts import RENEW
from ..delivery import Delivery
from ..exceptions import GroupNotFoundError, RedisStreamsError
from .holdings import Holdings

CHUNK = 100
"""Ids in one renewal: 0.7 ms of the server's time."""


class LeaseKeeper:
    """Renews the leases of all consumers of a process."""

    def __init__(self, holdings: Iterable[Holdings]) -> None:
        self._holdings = tuple(holdings)

    @property
    def interval(self) -> float:
        """Seconds between renewals: a third of the shortest lease."""
        return min((holdings.lease for holdings in self._holdings), default=30.0) / 3

    async def run_once(self) -> int:
        """Renew everything that is held; how many were lost.

        One group that cannot be renewed keeps no other from it. Raises `RedisUnavailableError`, `ServerError`: the
        first error there was.
        """
        lost = 0
        errors: list[RedisStreamsError] = []
        for holdings in self._holdings:
            try:
                lost += await renew(holdings)
            except RedisStreamsError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return lost


async def renew(holdings: Holdings) -> int:
    """Renew what one consumer holds, settled or not, as long as Redis has it pending; how many were lost."""
    lost = 0
    for chunk in _chunks(list(holdings.by_id.values())):
        ids = [delivery.raw_id for delivery in chunk]
        try:
            reply = await holdings.connection.run(
                RENEW, holdings.stream, holdings.group, holdings.consumer, *ids, purpose="lease"
            )
        except GroupNotFoundError:
            return lost  # the fetcher makes it again
        kept, gone = (set(replies.rows(part)) for part in replies.rows(reply))
        unsettled = [delivery for delivery in chunk if delivery.raw_id not in kept and not delivery.settled]
        vanished = [delivery for delivery in unsettled if delivery.raw_id in gone]
        holdings.vanish(vanished)
        for delivery in unsettled:
            if not delivery.lost:
                holdings.lose(delivery)
        if vanished:
            await holdings.connection.call("HDEL", holdings.failures_key, *(delivery.raw_id for delivery in vanished))
        lost += len(unsettled)
    return lost


def _chunks(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(deliveries), CHUNK):
        yield deliveries[start : start + CHUNK]
