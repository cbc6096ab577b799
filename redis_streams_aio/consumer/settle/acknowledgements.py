"""Acknowledgements: gathered, and written together.

Those that have gathered leave with the next read, in the same write on its connection, as long as reads follow one
another; where none comes for a moment, they leave on their own. While one group is under way the next gathers: one
round trip for many. Until Redis has answered, an entry stays held here and is renewed. Acknowledging twice, or after
the lease was lost, is harmless: an XACK whose answer did not come is sent again.

An acknowledgement is *gathered* -> *under way*, with its group (`depart`) -> *written* (`Group.arrive`); or gathered
again, where no answer came (`Group.stay`) or Redis refused it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from ...connection.packing import Command
from ...connection.replies import Answer
from ...events.delivery import Delivery
from ...exceptions import RedisStreamsError
from ...telemetry.logs import log
from ..holdings import Holdings

IDS_AT_ONCE = 1000
"""Ids in one XACK; more would hold up the server (10,000 block it for 3 to 8 ms)."""
LONGEST_WAIT = 0.001
"""Seconds for a read to come and take acknowledgements along, before they leave on their own."""


class Acknowledgements:
    """Of one consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gathered: list[Delivery] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._overdue = asyncio.Event()
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()

    def __len__(self) -> int:
        """Those that Redis has not confirmed yet."""
        return len(self._gathered)

    def add(self, delivery: Delivery) -> None:
        """Acknowledge with the next group. Does not wait and cannot fail."""
        delivery.settled = True
        self._gathered.append(delivery)
        if self._alarm is None:
            self._set_alarm()

    async def overdue(self) -> None:
        """Until there is something to flush that no read has taken along in time."""
        await self._overdue.wait()

    async def flush(self) -> None:
        """Write those that have gathered.

        Raises `RedisUnavailableError`, `ServerError`; what was not written is kept.
        """
        while self._gathered:
            if (group := self.depart()) is None:
                await self._none_under_way.wait()
                continue
            try:
                answers = await self._holdings.connection.link("settle").call_many(group.commands())
            except BaseException:
                group.stay()
                raise
            if (refusal := group.arrive(answers)) is not None:
                raise refusal

    async def flush_if_possible(self) -> None:
        """Write what is done before something is begun that may kill the process: it must not count as undone then."""
        if self._gathered:
            with suppress(RedisStreamsError):
                await self.flush()

    def depart(self) -> Group | None:
        """Those that are to be sent now, by whoever asks; `None` when there are none, or others are under way."""
        if not self._gathered or not self._none_under_way.is_set():
            return None
        self._stop_alarm()
        self._none_under_way.clear()
        return Group(self._holdings, self._gathered[:IDS_AT_ONCE], self._returned)

    def _returned(self, written: int) -> None:
        del self._gathered[:written]
        self._none_under_way.set()
        if self._gathered and self._alarm is None:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """A timer, and no task that sleeps: where the next read takes them along, nobody is woken for nothing."""
        self._alarm = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._overdue.set)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        self._overdue.clear()


class Group:
    """Acknowledgements that are under way together.

    Ends with `arrive` or `stay`, whichever is called first; the other does nothing then.
    """

    def __init__(self, holdings: Holdings, deliveries: Sequence[Delivery], returned: Callable[[int], None]) -> None:
        self._holdings = holdings
        self._deliveries = deliveries
        self._returned: Callable[[int], None] | None = returned

    def commands(self) -> list[Command]:
        """What writes them."""
        holdings, ids = self._holdings, [delivery.raw_id for delivery in self._deliveries]
        commands: list[Command] = [("XACK", holdings.stream, holdings.group, *ids)]
        if recorded := [delivery.raw_id for delivery in self._deliveries if delivery.recorded or delivery.lost]:
            commands.append(holdings.forget_command(recorded))
        return commands

    def arrive(self, answers: Sequence[Answer]) -> RedisStreamsError | None:
        """What Redis said to the commands; what it refused them with, and `None` when they are written."""
        acknowledged, *others = answers
        if isinstance(acknowledged, RedisStreamsError):
            self.stay()
            return acknowledged
        if self._end(written=len(self._deliveries)):
            self._holdings.settled(self._deliveries)
        for answer in others:
            if isinstance(answer, RedisStreamsError):
                log.error("failure records of %s/%s stay: %s", self._holdings.stream, self._holdings.group, answer)
        return None

    def stay(self) -> None:
        """They are to be sent again."""
        self._end(written=0)

    def _end(self, *, written: int) -> bool:
        """Whether this is the end, and not one after it."""
        returned, self._returned = self._returned, None
        if returned is not None:
            returned(written)
        return returned is not None
