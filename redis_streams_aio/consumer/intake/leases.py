"""The lease keeper tells Redis that this process is alive and still holds its entries.

**Theory.** The lease limits an entry's idle time in Redis. The idle time starts when the entry is delivered, not when
its handler starts, so buffered and waiting entries age too, and are renewed too. Renewing sets the idle time to zero.
Others take over an entry only when it was idle for a whole lease.

Invariants:

* All held entries are renewed at a third of the lease, until their fates are written, also during a drain. So two
  renewals may fail without an effect.
* Renewing never takes an entry back. The owner is checked and the entry renewed in one atomic step: a plain
  `XCLAIM` would steal it.
* An entry that was not renewed is lost: another consumer has it, or it is gone. `delivery.lost` becomes true. A running
  handler may continue, and its success may still acknowledge (which is harmless), but its failure writes nothing,
  because every failure path checks the owner.
* A lost lease may be noticed earlier, where a fate is written (`settle`): the script checks the owner, and
  `Holdings.lose` drops the delivery, as it does here. Plain acknowledgements do not check.

All groups with the same lease are renewed in one round trip, so neither their number nor the distance to Redis costs a
lease; each other lease has its own keeper. Which groups there are is asked at each step: a subscription that starts is
renewed from then on, and one that stops until its last fate is written. A keeper has its own connection, whose deadline
is the interval between renewals, so a silent connection is replaced in time for another try. Keepers can also work in a
thread with its own event loop (`lease_thread`), so that a handler that blocks the event loop keeps its leases; only
lost deliveries are passed to the loop of the handlers.

When things fail: if Redis is away, the step raises and is tried again soon; at the next successful step, leases that
expired meanwhile are found lost, or still held. The same happens if the process is frozen, or its event loop blocked,
for longer than a lease. If the group is lost, nothing is pending any longer; held deliveries continue, and when the
group is recreated at its checkpoint, the same ids are still held and not handled twice.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ...connection import Connection
from ...connection.steps.leases import Renewed, renewal
from ...connection.steps.script import Step
from ...connection.steps.sending import send
from ...exceptions import GroupNotFoundError, RedisStreamsError, RedisUnavailableError
from ..entry import Entry
from ..holdings import Holdings

if TYPE_CHECKING:
    from ...connection.link import Link
    from ...connection.links import Links

CHUNK = 100
"""The most ids in one renewal: 0.7 ms of the server's time."""

SHORTEST_DEADLINE = 0.1
"""The least time in seconds that a renewal may take, however short the leases are."""

HandOver = Callable[[Callable[[], None]], object]
"""Lets a function be called in the event loop of the handlers."""


Held = Callable[[], Iterable[Holdings]]
"""Returns the holdings of all consumers that run now. It is asked at each step, from the keeper's thread."""


class LeaseKeeper:
    """Renews the leases of a process's consumers with one lease, all in one round trip.

    It is used in one event loop; `hand_over` calls a function in the loop of the consumers, if that is another one.
    """

    def __init__(self, connection: Connection, lease: float, held: Held, hand_over: HandOver | None = None) -> None:
        self._connection = connection
        self._lease = lease
        self._held = held
        self._hand_over = hand_over or _at_once
        self._links: Links | None = None

    @property
    def interval(self) -> float:
        """Seconds between renewals: a third of the lease."""
        return self._lease / 3

    async def run_once(self) -> int:
        """Renew all held entries, settled or not, and return how many were found lost.

        An error of one group does not stop the others. Raises the first error: `RedisUnavailableError`, `ServerError`.
        """
        held = self._parts()
        outcomes = await self._renew(held)
        errors: list[RedisStreamsError] = []
        lost: list[_Lost] = []
        for part, outcome in zip(held, outcomes, strict=True):
            if isinstance(outcome, Renewed):
                lost += part.lost(outcome)
            elif not isinstance(outcome, GroupNotFoundError):  # the fetcher recreates the group
                errors.append(outcome)
        count = await self._let_go(lost)
        if errors:
            raise errors[0]
        return count

    def _parts(self) -> list[_Part]:
        return [part for each in self._held() if each.lease == self._lease for part in _parts(each)]

    async def close(self) -> None:
        """Close the keeper's connections; a later step opens others."""
        links, self._links = self._links, None
        for link in links or ():
            await link.close()

    async def _renew(self, held: Sequence[_Part]) -> list[Renewed | RedisStreamsError]:
        """Send all renewals to one node together. A node that does not answer delays those of no other node."""
        by_link: dict[Link, list[int]] = {}
        for at, part in enumerate(held):
            by_link.setdefault(self._link_of(part.holdings.stream), []).append(at)
        parts = [_outcomes(link, [held[at].renewal for at in places]) for link, places in by_link.items()]
        found = chain.from_iterable(await gather(*parts))
        outcomes = dict(zip(chain.from_iterable(by_link.values()), found, strict=True))
        return [outcomes[at] for at in range(len(held))]

    def _link_of(self, stream: str) -> Link:
        """Return the keeper's own link to the node of a stream."""
        if self._links is None:
            self._links = self._connection.new_links(max(self.interval, SHORTEST_DEADLINE))
        return self._links.of("control", self._connection.node_of(stream))

    async def _let_go(self, lost: Sequence[_Lost]) -> int:
        """Stop holding lost deliveries, and have Redis forget its records of deleted entries; return how many."""
        for each in lost:
            self._hand_over(each.let_go)
        for each in lost:
            if each.vanished:
                await self._link_of(each.holdings.stream).call_many([each.holdings.forget_command(each.vanished)])
        return sum(len(each.missing) for each in lost)


async def _outcomes(link: Link, renewals: Sequence[Step[Renewed]]) -> list[Renewed | RedisStreamsError]:
    try:
        return await send(link, renewals)
    except RedisUnavailableError as error:
        return [error] * len(renewals)


class _Lost(NamedTuple):
    """Entries that were not renewed: their leases are lost, unless their fates were on the way to Redis."""

    holdings: Holdings
    missing: Sequence[bytes]
    vanished: Sequence[bytes]
    """The missing ones that were deleted."""

    def let_go(self) -> None:
        """Drop the lost entries that are still held; those settled or released meanwhile are not lost."""
        self.holdings.vanish(self._held(self.vanished))
        for entry in self._held(self.missing):
            self.holdings.lose(entry)

    def _held(self, ids: Sequence[bytes]) -> list[Entry]:
        entries = [self.holdings.entry_of(raw_id) for raw_id in ids]
        return [entry for entry in entries if entry is not None and not entry.settled]


class _Part(NamedTuple):
    """Entries of one consumer that are renewed in one step."""

    holdings: Holdings
    ids: Sequence[bytes]

    @property
    def renewal(self) -> Step[Renewed]:
        holdings = self.holdings
        return renewal(holdings.who, holdings.lease_ms, self.ids)

    def lost(self, renewed: Renewed) -> list[_Lost]:
        """Return the entries that are lost: not renewed, and not settled."""
        kept, gone = set(renewed.kept), set(renewed.gone)
        missing = [raw_id for raw_id in self.ids if raw_id not in kept and not self._is_settled(raw_id)]
        vanished = [raw_id for raw_id in missing if raw_id in gone]
        return [_Lost(self.holdings, missing, vanished)] if missing else []

    def _is_settled(self, raw_id: bytes) -> bool:
        entry = self.holdings.by_id.get(raw_id)
        return entry is None or (isinstance(entry, Entry) and entry.settled)


class LeaseKeepers:
    """The keepers of a process: one for each lease, so that a short lease neither speeds up nor delays the others."""

    def __init__(self, connection: Connection, held: Held, hand_over: HandOver | None = None) -> None:
        self._connection = connection
        self._held = held
        self._hand_over = hand_over
        self._kept: set[float] = set()

    def missing(self) -> list[LeaseKeeper]:
        """Return keepers for the leases that have had none so far."""
        new = dict.fromkeys(each.lease for each in self._held() if each.lease not in self._kept)
        self._kept |= new.keys()
        return [LeaseKeeper(self._connection, lease, self._held, self._hand_over) for lease in new]


def _at_once(step: Callable[[], None]) -> None:
    step()


def _parts(holdings: Holdings) -> list[_Part]:
    ids = list(holdings.by_id.copy())  # its event loop may change it meanwhile
    return [_Part(holdings, ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
