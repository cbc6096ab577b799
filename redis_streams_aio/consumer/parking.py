"""Parking: entries that wait beyond the cap wait in Redis, held by nobody, until any consumer of the group takes them.

The entries that are due last are parked, in parts, so that those due soon are here. Only entries whose retry or wish is
written are parked. A parked entry costs no memory and no renewal; the reclaimer takes it when it is due
(`intake.abandoned`). Its delivery is not counted, because taking it counts one.

**Copies** of an event that wait for each other (`deduplicate`) may be parted: the mark of the event names the parked
entry, which is still pending, so a copy that is begun meanwhile, here or elsewhere, waits for it.

**Order** forbids parking an entry that others wait behind. Redis gives each new event to any consumer, and it must not
overtake the parked ones of its key. So every consumer would have to know all parked keys before it begins any event:
one more question for each read, or all these keys in the memory of every process, after a restart too. Keys may be any
hashable objects, which have no text that two processes could compare. Each further failure of the first entry would
move the times of all entries behind it. So they wait here, and beyond the cap the subscription starves, and says
so (`starvation`): nothing is overtaken, and nothing is lost.

When things fail: an entry whose parking was not answered waits on here; if it was parked, its lease is found lost.
Where Redis refuses, nothing is parked for a while, and the subscription may starve. A halt releases what is not parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..connection.replies import clock
from ..connection.steps import parking as steps
from ..connection.steps.parking import Parked
from ..connection.steps.sending import send
from ..exceptions import RedisStreamsError, RedisUnavailableError
from ..telemetry.logs import log
from .entry import Entry
from .holdings import Holdings
from .work.schedule import Schedule

AT_ONCE = 250
"""Entries in one script: three commands each, about a millisecond of the server's time."""
REFUSED_FOR = 60.0
"""Seconds without another try after Redis has refused."""


class Parking:
    """Parks waiting entries of one subscription."""

    def __init__(self, holdings: Holdings, schedule: Schedule, order: str) -> None:
        self._holdings = holdings
        self._schedule = schedule
        self._order = order
        self._not_before = 0.0

    async def park(self, most: int) -> bool:
        """Park up to `most` waiting entries; return whether any was there. Raises `RedisUnavailableError`."""
        if asyncio.get_running_loop().time() < self._not_before:
            return False
        if not (entries := self._schedule.last_due(most, self._order)):
            return False
        for entry in entries:
            self._schedule.forget(entry)
            entry.write()  # so that the lease keeper does not find it lost
        try:
            await self._send(entries)
        except RedisUnavailableError:
            raise
        except RedisStreamsError as refused:
            self._not_before = asyncio.get_running_loop().time() + REFUSED_FOR
            log.error("cannot park entries of %s/%s: %s", self._holdings.stream, self._holdings.group, refused)
            return False
        return True

    async def _send(self, entries: Sequence[Entry]) -> None:
        """Park entries; those that are not parked wait on."""
        holdings = self._holdings
        parts = [entries[start : start + AT_ONCE] for start in range(0, len(entries), AT_ONCE)]
        try:
            now = holdings.clock.now()  # before the server's, so that no entry is due early
            link = holdings.connection.link("settle", holdings.stream)
            offset = (clock(await link.call("TIME")) - now) * 1000
            requests = [steps.park(holdings.who, [_parking(entry, offset) for entry in part]) for part in parts]
            results = await send(link, requests)
            for part, result in zip(parts, results, strict=True):
                if isinstance(result, Parked):
                    self._let_go(part, result)
            for result in results:
                if isinstance(result, RedisStreamsError):
                    raise result
        finally:
            self._keep(entries)

    def _let_go(self, part: Sequence[Entry], result: Parked) -> None:
        """Drop entries that are parked, gone, or no longer ours."""
        holdings, parked, gone = self._holdings, set(result.ids), set(result.gone)
        for entry in part:
            if entry.raw_id in parked:
                holdings.drop(entry)
                entry.queue()  # it is not settled: it waits for a worker of any consumer
            elif entry.raw_id not in gone and not entry.lost:
                holdings.lose(entry)
        holdings.vanish(entry for entry in part if entry.raw_id in gone)

    def _keep(self, entries: Sequence[Entry]) -> None:
        """Have entries that are still held wait on; a copy may have their lane now."""
        for entry in entries:
            if self._holdings.by_id.get(entry.raw_id) is entry and not entry.lost:
                entry.wait(entry.until)
                self._schedule.add(entry)


def _parking(entry: Entry, offset: float) -> steps.Parking:
    return steps.Parking(entry.raw_id, round(entry.until * 1000 + offset) + 1, max(0, entry.deliveries - 1))
