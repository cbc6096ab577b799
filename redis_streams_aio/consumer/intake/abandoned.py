"""The reclaimer takes over entries of consumers that are gone, also on a stream where nothing new arrives.

**Theory.** A consumer renews the entries that it holds, and Redis then counts the consumer as not idle. So a consumer
with pending entries that was idle for a lease is gone. `XINFO CONSUMERS` tells that at little cost, however much is
pending, and only the entries of such consumers are searched. The lease is the owner's own, which is stored beside the
stream (`keys.leases`), so a deploy that changes the lease takes over no live event. For a consumer without a stored
lease, the longest lease in the group counts.

Entries of the reserved consumer name `keys.RELEASED` have no owner, and are taken over at once. Entries of the name
`keys.PARKED` wait until they are due (`steps.parking`), and are taken then, the longest due first. Before that they are
taken over only where the set that lists them has lost them.

A living consumer may abandon entries too: Redis refused their fate permanently, or a person made them claimable. So
once per lease all pending entries are searched, one page with each look.

Each look also finds out when the next consumer can be gone at the earliest: `next_look`. A consumer that joins with its
own lease makes all others look again (`keys.releases`).

Entries that this process holds are skipped, even if a late renewal has made them claimable.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...connection.steps.claims import Claim
from ...connection.steps.describing import describe_consumers
from ...connection.steps.leases import known_leases, note_lease
from ...connection.steps.parking import due_times, take_due, unlisted
from ...connection.steps.pending import BEGINNING, after, left_by, pending_page
from ...connection.steps.sending import send_one
from ...events import entry_ids, keys
from ...exceptions import PermissionDeniedError, StreamTypeError
from ...models import ConsumerInfo, PendingMessage
from ...telemetry import Reclaimed
from ..entry import Entry
from ..holdings import Holdings
from .claims import AT_ONCE, claim
from .records import take_pending

PAGE = 2_500
"""The number of pending entries that a look searches: about a millisecond of the server's time."""
OWNERS_AT_ONCE = 20
"""The most dead consumers whose entries are requested in one round trip."""


_NOBODY = ""
"""The owner of entries that another program has negatively acknowledged (`XNACK`)."""


class Leases(NamedTuple):
    """The leases of the consumers of a group, in seconds."""

    known: Mapping[str, float]
    otherwise: float
    """The lease of consumers without a stored lease."""

    def of(self, consumer: str) -> float:
        """Return the consumer's lease: minus infinity for released entries, infinity for those parked until due."""
        if consumer == keys.PARKED:
            return math.inf
        return -math.inf if consumer in (keys.RELEASED, _NOBODY) else self.known.get(consumer, self.otherwise)

    def idle_ms(self, consumer: str) -> int:
        """Return how long an entry of the consumer must be idle, in milliseconds. A parked one need not be."""
        return 0 if consumer == keys.PARKED else round(max(0.0, self.of(consumer)) * 1000)

    def claim(self, message: PendingMessage) -> Claim:
        """Return the claim of an entry that its owner has abandoned."""
        return Claim(message.consumer, self.idle_ms(message.consumer), message.id.encode())


class Reclaimer:
    """Searches abandoned entries for one consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._page_from = BEGINNING
        self._page_due = 0.0
        self._next_gone = 0.0
        self._next_parked = math.inf

    @property
    def next_look(self) -> float:
        """The time on the event loop's clock before which a look finds nothing, except released entries."""
        return min(self._next_gone, self._page_due, self._next_parked)

    async def run(self, room: int) -> AsyncIterator[list[Entry]]:
        """Take over up to `room` entries with expired leases, oldest first, and yield them part by part.

        Raises `RedisUnavailableError`, `ServerError` (`StreamNotFoundError` if the group is lost).
        """
        now = asyncio.get_running_loop().time()
        consumers, leases = await self._look()
        others = [each for each in consumers if each.name != self._holdings.consumer]
        self._next_gone = now + min([leases.otherwise, *leases.known.values(), *_left(others, leases)])
        async for taken in self._take_from(_gone(others, leases), leases, room):
            room -= len(taken)
            yield taken
        self._next_parked = now if _are_parked(others) else math.inf
        async for taken in self._take_parked(room):
            room -= len(taken)
            yield taken
        async for taken in self._take_page(leases, room):
            yield taken

    async def _look(self) -> tuple[list[ConsumerInfo], Leases]:
        """Return the consumers of the group, and their leases."""
        holdings = self._holdings
        consumers, known = await asyncio.gather(
            describe_consumers(holdings.connection, holdings.stream, holdings.group), self._known_leases()
        )
        living = [known[each.name] for each in consumers if each.idle < known.get(each.name, 0.0)]
        return consumers, Leases(known, max(holdings.lease, *living, 0.0))

    async def _known_leases(self) -> dict[str, float]:
        holdings = self._holdings
        try:
            known = await known_leases(holdings.connection, holdings.who)
            if holdings.consumer not in known:  # the leases went with a lost group, which another consumer recreated
                await note_lease(holdings.connection, holdings.who, holdings.lease_ms)
        except (PermissionDeniedError, StreamTypeError):
            return {}
        return known

    async def _take_from(self, gone: Sequence[str], leases: Leases, room: int) -> AsyncIterator[list[Entry]]:
        """Take over entries of consumers that are gone."""
        for at in range(0, len(gone), OWNERS_AT_ONCE):
            owners, before = gone[at : at + OWNERS_AT_ONCE], None
            while (count := min(room, AT_ONCE)) > 0:
                left = await self._left_by(owners, leases, count)
                if not left or left == before:
                    break
                before = left
                taken = await self._take(left)
                room -= len(taken)
                yield taken
                if len(left) < count:
                    break

    async def _left_by(self, owners: Sequence[str], leases: Leases, count: int) -> list[Claim]:
        """Return claims for the oldest entries of some consumers."""
        holdings = self._holdings
        pages = await asyncio.gather(
            *(
                left_by(
                    *(holdings.connection, holdings.stream, holdings.group, count),
                    consumer=owner,
                    idle_ms=leases.idle_ms(owner),
                )
                for owner in owners
            )
        )
        found = [message for page in pages for message in page]
        return [leases.claim(message) for message in sorted(found, key=lambda one: entry_ids.parse(one.id))[:count]]

    async def _take_parked(self, room: int) -> AsyncIterator[list[Entry]]:
        """Take parked entries that are due, and learn when the next one is."""
        holdings, loop = self._holdings, asyncio.get_running_loop()
        link = holdings.connection.link("control", holdings.stream)
        while self._next_parked <= loop.time() and room > 0:
            try:
                due = await send_one(link, take_due(holdings.who, min(room, AT_ONCE)))
            except (PermissionDeniedError, StreamTypeError):
                self._next_parked = math.inf  # `_take_page` takes them
                return
            holdings.report_vanished(due.gone)
            yield (taken := await take_pending(holdings, due.entries, counts=True))  # nobody has left these
            room -= len(taken)
            self._next_parked = math.inf if due.next_ms is None else loop.time() + (due.next_ms - due.now_ms) / 1000

    async def _take_page(self, leases: Leases, room: int) -> AsyncIterator[list[Entry]]:
        """Take over abandoned entries from the next page of all pending entries, if it is time for it."""
        holdings = self._holdings
        if asyncio.get_running_loop().time() < self._page_due or room <= 0:
            return
        page = await pending_page(
            *(holdings.connection, holdings.stream, holdings.group, PAGE),
            start=self._page_from,
            idle=min([*leases.known.values(), leases.otherwise]),
        )
        left, start = await self._abandoned(page.found, leases), page.next
        if len(left) > room:
            left = left[:room]
            start = after(left[-1].id.decode())
        for at in range(0, len(left), AT_ONCE):
            yield await self._take(left[at : at + AT_ONCE])
        self._turn_page(start)

    async def _abandoned(self, listed: Sequence[PendingMessage], leases: Leases) -> list[Claim]:
        """Return claims for those of some pending entries that were abandoned."""
        unlisted = await self._unlisted(listed)
        abandoned = [one for one in listed if one.idle >= leases.of(one.consumer) or one.id in unlisted]
        return [leases.claim(one) for one in abandoned if not self._holds(one)]

    async def _unlisted(self, listed: Iterable[PendingMessage]) -> set[str]:
        """Return the parked entries that no set lists any longer, because it was deleted: nobody else takes them."""
        parked = [one.id for one in listed if one.consumer == keys.PARKED]
        if not parked:
            return set()
        ids = [entry_id.encode() for entry_id in parked]
        try:
            reply = await self._holdings.connection.call(*due_times(self._holdings.who, ids))
        except (PermissionDeniedError, StreamTypeError):
            return set(parked)
        return {entry_id.decode() for entry_id in unlisted(ids, reply)}

    def _turn_page(self, start: str | None) -> None:
        """Continue there with the next look; after the last page, begin again after a lease."""
        self._page_from = start or BEGINNING
        if start is None:
            self._page_due = asyncio.get_running_loop().time() + self._holdings.lease

    def _holds(self, message: PendingMessage) -> bool:
        return message.consumer == self._holdings.consumer and message.id.encode() in self._holdings.by_id

    async def _take(self, claims: Sequence[Claim]) -> list[Entry]:
        """Claim entries, and hold them."""
        holdings = self._holdings
        uncertain = dict.fromkeys((one.id for one in claims), True)  # until the answer is here
        holdings.uncertain |= uncertain
        found = await claim(holdings, claims)
        for entry_id in uncertain:
            holdings.uncertain.pop(entry_id, None)
        taken = await take_pending(holdings, found, counts=True)
        if taken:
            holdings.telemetry.emit(Reclaimed(**holdings.here, count=len(taken)))
        return taken


def _gone(others: Iterable[ConsumerInfo], leases: Leases) -> list[str]:
    """Return the dead consumers with entries: first the released entries, then the longest dead."""
    gone = [each for each in others if each.pending and each.idle >= leases.of(each.name)]
    return [each.name for each in sorted(gone, key=lambda each: (each.name != keys.RELEASED, -each.idle))]


def _are_parked(others: Iterable[ConsumerInfo]) -> bool:
    return any(each.name == keys.PARKED and each.pending for each in others)


def _left(others: Iterable[ConsumerInfo], leases: Leases) -> Iterator[float]:
    """Yield the seconds until each consumer with pending entries can count as gone."""
    for each in others:
        if each.pending and each.name not in (keys.RELEASED, keys.PARKED):
            yield leases.of(each.name) - each.idle
