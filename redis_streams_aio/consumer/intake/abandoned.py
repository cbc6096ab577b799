"""The reclaimer: takes over entries of consumers that are gone (P2), also on a stream where nothing new arrives.

**Theory.** A consumer that holds anything renews it, and Redis then counts it as not idle. So who has entries pending
and was idle for a lease is gone, and `XINFO CONSUMERS` tells at little cost, however much is pending. Only what those
left is looked through. The lease is the owner's own, which stands beside the stream (`keys.leases`): a deploy that
changes it takes no live event. Where it is not known, it is taken for the longest that a consumer of the group has.

What is parked under the reserved name `keys.RELEASED` is nobody's, and taken at once.

A consumer that lives may leave entries too: Redis refused for good what was to be written of them, or somebody made
them claimable by hand. So once a lease everything that is pending is looked through, a page with each look.

From what a look finds follows until when nobody else can be gone: `next_look`. A consumer that joins, with a lease of
its own, has all others look again (`keys.releases`).

Entries that this process holds are left as they are, though a late renewal may have let them be claimed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...connection import replies
from ...connection.steps.claims import Claim
from ...connection.steps.leases import known_leases
from ...events import entry_ids, keys
from ...events.delivery import Delivery
from ...exceptions import PermissionDeniedError, StreamTypeError
from ...models import ConsumerInfo, PendingMessage
from ...telemetry import Reclaimed
from ..holdings import Holdings
from .claims import AT_ONCE, claim
from .records import take_pending

PAGE = 2_500
"""Entries that one look goes through, of all that are pending: about a millisecond of the server's time."""
OWNERS_AT_ONCE = 20
"""Consumers that are gone whose entries are asked for in one round trip."""


_NOBODY = ""
"""The owner of what another program has negatively acknowledged (`XNACK`)."""


class Leases(NamedTuple):
    """How long the consumers of a group may be idle, in seconds."""

    known: Mapping[str, float]
    otherwise: float
    """For whom it is not known."""

    def of(self, consumer: str) -> float:
        """The consumer's lease; none for what is parked, whatever the clocks say."""
        return -math.inf if consumer in (keys.RELEASED, _NOBODY) else self.known.get(consumer, self.otherwise)

    def idle_ms(self, consumer: str) -> int:
        """The same, as Redis takes it."""
        return round(max(0.0, self.of(consumer)) * 1000)

    def claim(self, message: PendingMessage) -> Claim:
        """The claim of an entry whose owner has let it go."""
        return Claim(message.consumer, self.idle_ms(message.consumer), message.id.encode())


class Reclaimer:
    """Looks for what others have left, for one consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._page_from = "-"
        self._page_due = 0.0
        self._next_gone = 0.0

    @property
    def next_look(self) -> float:
        """Until when, on the event loop's clock, a look finds nothing, but for what is given back meanwhile."""
        return min(self._next_gone, self._page_due)

    def look_at_everything(self) -> None:
        """Have the next looks go through all that is pending."""
        self._page_from, self._page_due = "-", 0.0

    async def run(self, room: int) -> AsyncIterator[list[Delivery]]:
        """Take over up to `room` entries whose lease ran out, oldest first: part by part.

        Raises `RedisUnavailableError`, `ServerError` (`StreamNotFoundError` when the group is lost).
        """
        now = asyncio.get_running_loop().time()
        consumers, leases = await self._look()
        others = [each for each in consumers if each.name != self._holdings.consumer]
        self._next_gone = now + min([leases.otherwise, *leases.known.values(), *_left(others, leases)])
        async for taken in self._take_from(_gone(others, leases), leases, room):
            room -= len(taken)
            yield taken
        if now >= self._page_due and room > 0:
            async for taken in self._take_page(leases, room):
                yield taken

    async def _look(self) -> tuple[list[ConsumerInfo], Leases]:
        """Who is in the group, and their leases."""
        holdings = self._holdings
        listed, known = await asyncio.gather(
            holdings.connection.call("XINFO", "CONSUMERS", holdings.stream, holdings.group), self._known_leases()
        )
        consumers = replies.consumer_infos(listed)
        living = [known[each.name] for each in consumers if each.idle < known.get(each.name, 0.0)]
        return consumers, Leases(known, max(holdings.lease, *living, 0.0))

    async def _known_leases(self) -> dict[str, float]:
        try:
            return await known_leases(self._holdings.connection, self._holdings.who)
        except (PermissionDeniedError, StreamTypeError):
            return {}

    async def _take_from(self, gone: Sequence[str], leases: Leases, room: int) -> AsyncIterator[list[Delivery]]:
        """Take what consumers that are gone have left."""
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
        """The oldest entries of some consumers."""
        holdings = self._holdings
        pages = await asyncio.gather(
            *(
                holdings.connection.call(
                    *("XPENDING", holdings.stream, holdings.group, "IDLE", leases.idle_ms(owner)),
                    *("-", "+", count, owner),
                )
                for owner in owners
            )
        )
        found = [message for page in pages for message in replies.pending(page)]
        return [leases.claim(message) for message in sorted(found, key=lambda one: entry_ids.parse(one.id))[:count]]

    async def _take_page(self, leases: Leases, room: int) -> AsyncIterator[list[Delivery]]:
        """Take what its owners have let go, of the next page of all that is pending."""
        holdings = self._holdings
        reply = await holdings.connection.call("XPENDING", holdings.stream, holdings.group, self._page_from, "+", PAGE)
        listed = replies.pending(reply, idle=min([*leases.known.values(), leases.otherwise]))
        left = [leases.claim(one) for one in listed if one.idle >= leases.of(one.consumer) and not self._holds(one)]
        rows = replies.rows(reply)
        last = replies.last_id(reply) if len(rows) == PAGE else None
        if len(left) > room:
            left = left[:room]
            last = left[-1].id
        for at in range(0, len(left), AT_ONCE):
            yield await self._take(left[at : at + AT_ONCE])
        self._turn_page(last)

    def _turn_page(self, last: bytes | None) -> None:
        """Go on behind this entry with the next look; where it was the last page, begin anew after a lease."""
        if last is None:
            self._page_from, self._page_due = "-", asyncio.get_running_loop().time() + self._holdings.lease
        else:
            self._page_from = f"({replies.text(last)}"

    def _holds(self, message: PendingMessage) -> bool:
        return message.consumer == self._holdings.consumer and message.id.encode() in self._holdings.by_id

    async def _take(self, claims: Sequence[Claim]) -> list[Delivery]:
        """Claim entries and hold them."""
        holdings = self._holdings
        uncertain = dict.fromkeys((one.id for one in claims), True)  # until the answer is here
        holdings.uncertain |= uncertain
        found = await claim(holdings, claims)
        for entry_id in uncertain:
            holdings.uncertain.pop(entry_id, None)
        taken = await take_pending(holdings, found, counts=True)
        if taken:
            holdings.telemetry.emit(Reclaimed(stream=holdings.stream, group=holdings.group, count=len(taken)))
        return taken


def _gone(others: Iterable[ConsumerInfo], leases: Leases) -> list[str]:
    """Who is gone and has left something: first what is parked, then who has been gone for longest."""
    gone = [each for each in others if each.pending and each.idle >= leases.of(each.name)]
    return [each.name for each in sorted(gone, key=lambda each: (each.name != keys.RELEASED, -each.idle))]


def _left(others: Iterable[ConsumerInfo], leases: Leases) -> Iterator[float]:
    """The seconds for which each of those that have something pending is not gone yet."""
    for each in others:
        if each.pending and each.name != keys.RELEASED:
            yield leases.of(each.name) - each.idle
