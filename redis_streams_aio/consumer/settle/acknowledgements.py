"""Gather acknowledgements, and write them together.

Gathered acknowledgements are sent with the next read, in the same write on its connection. If no read comes for a
moment, they are sent alone. While one group is under way the next one gathers, so one round trip serves many. Until
Redis has answered, an entry stays held here and is renewed. Acknowledging twice, or after the lease was lost, is
harmless, so an `XACK` without an answer is sent again.

The states of an acknowledgement: *gathered* -> *under way*, with its group (`depart`) -> *written* (`Group.arrive`); or
gathered again if no answer came (`Group.stay`) or Redis refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from ...connection.packing import pack, pack_ids
from ...connection.replies import Answer
from ...exceptions import RedisStreamsError
from ...telemetry.logs import log
from ..holdings import Holdings

IDS_AT_ONCE = 1000
"""The most ids in one `XACK`; more would block the server (10,000 block it for 3 to 8 ms)."""
LONGEST_WAIT = 0.001
"""Seconds that acknowledgements wait for a read that takes them along, before they are sent alone."""


class Acknowledgements:
    """Collects acknowledgements of one consumer and writes them in groups."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gathered: list[bytes] = []
        self.gather: Callable[[bytes], None] = self._gather_first
        """Acknowledges an entry that has no failure record, as `add` does. All but the first of a group only append."""
        self._recorded: set[bytes] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._overdue = asyncio.Event()
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()

    def __len__(self) -> int:
        """Return the number of acknowledgements that Redis has not confirmed yet."""
        return len(self._gathered)

    def add(self, raw_id: bytes, *, recorded: bool = False) -> None:
        """Acknowledge an entry with the next group. Does not wait and cannot fail.

        `recorded`: Redis may have a failure record of the entry, which is deleted then.
        """
        if recorded:
            self._recorded.add(raw_id)
        self.gather(raw_id)

    def extend(self, ids: Sequence[bytes]) -> None:
        """Acknowledge entries that have no failure records with the next group."""
        self._gathered += ids
        if self._alarm is None:
            self._set_alarm()

    async def overdue(self) -> None:
        """Wait until acknowledgements are overdue, because no read has taken them along."""
        await self._overdue.wait()

    async def flush(self) -> None:
        """Write the gathered acknowledgements.

        Raises `RedisUnavailableError`, `ServerError`; acknowledgements that were not written are kept.
        """
        while self._gathered:
            if (group := self.depart()) is None:
                await self._none_under_way.wait()
                continue
            try:
                link = self._holdings.connection.link("settle", self._holdings.stream)
                commands = group.commands()
                answers = await link.send(b"".join(commands), len(commands))
            except BaseException:
                group.stay()
                raise
            if (refusal := group.arrive(answers)) is not None:
                raise refusal

    async def flush_if_possible(self) -> None:
        """Write acknowledgements before an event is begun that may kill the process: handled events stay handled."""
        if self._gathered:
            with suppress(RedisStreamsError):
                await self.flush()

    def depart(self) -> Group | None:
        """Return a group for the caller to send; `None` if nothing has gathered, or a group is under way."""
        if not self._gathered or not self._none_under_way.is_set():
            return None
        self._stop_alarm()
        self._none_under_way.clear()
        ids = self._gathered[:IDS_AT_ONCE]
        recorded = self._recorded.intersection(ids) if self._recorded else ()
        return Group(self._holdings, ids, recorded, self._returned)

    def _returned(self, written: int) -> None:
        if self._recorded:
            self._recorded.difference_update(self._gathered[:written])
        del self._gathered[:written]
        self._none_under_way.set()
        if self._gathered and self._alarm is None:
            self._set_alarm()

    def _gather_first(self, raw_id: bytes) -> None:
        self._gathered.append(raw_id)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Start a timer; a sleeping task would wake up for nothing whenever a read takes the acknowledgements along."""
        self.gather = self._gathered.append
        self._alarm = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._overdue.set)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        self.gather = self._gather_first
        self._overdue.clear()


class Group:
    """Acknowledgements that are sent together.

    Ends with the first call of `arrive` or `stay`; later calls do nothing.
    """

    def __init__(
        self, holdings: Holdings, ids: Sequence[bytes], recorded: Collection[bytes], returned: Callable[[int], None]
    ) -> None:
        self._holdings = holdings
        self._ids = ids
        self._recorded = recorded
        self._returned: Callable[[int], None] | None = returned

    def commands(self) -> list[bytes]:
        """Return the packed commands that write the acknowledgements."""
        holdings = self._holdings
        commands = [pack_ids(("XACK", holdings.stream, holdings.group), self._ids)]
        if self._recorded:
            commands.append(pack(holdings.forget_command(self._recorded)))
        return commands

    def arrive(self, answers: Sequence[Answer]) -> RedisStreamsError | None:
        """Take the answers to the commands; return the refusal, or `None` if the acknowledgements are written."""
        acknowledged, *others = answers
        if isinstance(acknowledged, RedisStreamsError):
            self.stay()
            return acknowledged
        if self._end(written=len(self._ids)):
            self._holdings.settled(self._ids)
            self._holdings.outcomes.tell(self._ids, "acknowledged")
        for answer in others:
            if isinstance(answer, RedisStreamsError):
                log.error(
                    "cannot delete failure records of %s/%s: %s", self._holdings.stream, self._holdings.group, answer
                )
        return None

    def stay(self) -> None:
        """Keep the acknowledgements, to be sent again."""
        self._end(written=0)

    def _end(self, *, written: int) -> bool:
        """End the group, and return whether it had not ended before."""
        returned, self._returned = self._returned, None
        if returned is not None:
            returned(written)
        return returned is not None
