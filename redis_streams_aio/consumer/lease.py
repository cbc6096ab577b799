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

The keeper has a connection of its own, whose deadline is the interval between renewals: a connection that has gone
silent is left in time for another try. It can also do its work in a thread with an event loop of its own
(`lease_thread`), so that a handler that blocks the event loop keeps its leases; only what it finds lost is then
handed back to the loop that handles.

When things fail: Redis away: the step raises and is tried again soon; leases that ran out meanwhile are found
lost, or still ours, at the next step that works. The process frozen or its event loop blocked for longer than a
lease: the same. The group lost: nothing is pending any more; what is held runs on, and when the group is made
again at its checkpoint, the same ids are held still and not handled twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..connection import Connection, replies
from ..connection.scripts import RENEW
from ..delivery import Delivery
from ..exceptions import GroupNotFoundError, RedisStreamsError
from .holdings import Holdings

if TYPE_CHECKING:
    from ..connection.link import Link  # imports redis-py

CHUNK = 100
"""Ids in one renewal: 0.7 ms of the server's time."""

SHORTEST_DEADLINE = 0.1
"""Seconds that a renewal may take however short the leases are."""

HandOver = Callable[[Callable[[], None]], object]
"""Has a function called in the event loop that handles the deliveries."""


class LeaseKeeper:
    """Renews the leases of all consumers of a process.

    Used in one event loop; `hand_over` says how it reaches that of the consumers, if that is another one.
    """

    def __init__(self, connection: Connection, holdings: Iterable[Holdings], hand_over: HandOver | None = None) -> None:
        self._connection = connection
        self._holdings = tuple(holdings)
        self._hand_over = hand_over or _at_once
        self._link: Link | None = None

    @property
    def interval(self) -> float:
        """Seconds between renewals: a third of the shortest lease."""
        return min((holdings.lease for holdings in self._holdings), default=30.0) / 3

    async def run_once(self) -> int:
        """Renew everything that is held, settled or not; how many were found lost.

        One group that cannot be renewed keeps no other from it. Raises `RedisUnavailableError`, `ServerError`: the
        first error there was.
        """
        lost = 0
        errors: list[RedisStreamsError] = []
        for holdings in self._holdings:
            try:
                lost += await self._renew(holdings)
            except GroupNotFoundError:
                continue  # the fetcher makes it again
            except RedisStreamsError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return lost

    async def close(self) -> None:
        """Close its connection; a later step opens a new one."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _renew(self, holdings: Holdings) -> int:
        lost = 0
        held = holdings.by_id.copy()  # in one step, as its own event loop may change it meanwhile
        for chunk in _chunks(list(held.values())):
            if self._link is None:
                self._link = self._connection.new_link(max(self.interval, SHORTEST_DEADLINE))
            ids = [delivery.raw_id for delivery in chunk]
            reply = await self._link.run(RENEW, holdings.stream, holdings.group, holdings.consumer, *ids)
            kept, gone = map(set, replies.two_lists_of_ids(reply))
            missing = [delivery for delivery in chunk if delivery.raw_id not in kept and not delivery.settled]
            vanished = [delivery for delivery in missing if delivery.raw_id in gone]
            if vanished:
                await self._link.call(*holdings.forget_command(delivery.raw_id for delivery in vanished))
            if missing:
                self._hand_over(partial(_let_go, holdings, missing, vanished))
            lost += len(missing)
        return lost


def _let_go(holdings: Holdings, missing: Sequence[Delivery], vanished: Sequence[Delivery]) -> None:
    holdings.vanish(delivery for delivery in vanished if not delivery.settled)
    for delivery in missing:
        if not delivery.lost and not delivery.settled:
            holdings.lose(delivery)


def _at_once(step: Callable[[], None]) -> None:
    step()


def _chunks(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(deliveries), CHUNK):
        yield deliveries[start : start + CHUNK]
