"""Starvation: a subscription has no room to read, because all that it holds waits.

It *begins* when nothing runs or could run, and there is no room, because the head of a stream in order waits for its
retry, because as many entries wait as may, or because Redis does not accept acknowledgements. It *ends* when there is
room again. Handlers that run in between, and fail again, end nothing.

It is told (`Starved`), and the subscription is not `ready`, only when it has lasted for longer than a lease. So one
short retry, which holds its stream as it should, neither alarms anybody nor makes `ready` flap. A read ends it, and
that is told too (`ReadingAgain`).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from ..telemetry import ReadingAgain, Starved
from .holdings import Holdings
from .periodic import wait_for


class Figures(Protocol):
    """A room's counts of its entries."""

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs, and nothing could run."""
        ...

    @property
    def waiting(self) -> int:
        """The number of entries that are held, and could not run now."""
        ...

    @property
    def unwritten(self) -> int:
        """The number of acknowledgements that Redis has not confirmed yet."""
        ...

    @property
    def due(self) -> float | None:
        """When the next waiting entry is due, on the broker's clock."""
        ...


class Starvation:
    """Watches the waits of one subscription for room."""

    def __init__(self, holdings: Holdings, room: Figures) -> None:
        self._holdings = holdings
        self._room = room
        self._since: float | None = None
        self.is_told: bool = False
        """Whether it has lasted for longer than a lease."""

    async def wait(self, freed: asyncio.Event) -> None:
        """Wait until an entry has ended, or was halted; tell a starvation that lasts meanwhile."""
        freed.clear()
        if self._since is None and self._room.is_at_rest:
            self._since = monotonic()
        if self._since is not None and not self.is_told:
            left = self._since + self._holdings.lease - monotonic()
            if await wait_for(freed, max(0.0, left)):
                return
            self._tell()
        await freed.wait()

    @property
    def trouble(self) -> str:
        """Since when it starves, once that is told; empty: it does not. Any thread may ask."""
        since = self._since
        if not self.is_told or since is None:
            return ""
        return f"has read nothing for {monotonic() - since:.0f} s: it starves, because all that it holds waits"

    def end(self, *, reads: bool) -> None:
        """Note that there is room, so that it `reads`, or that it is halted."""
        since, self._since = self._since, None
        if self.is_told and reads and since is not None:
            holdings = self._holdings
            seconds = round(monotonic() - since, 3)
            holdings.telemetry.emit(ReadingAgain(**holdings.here, seconds=seconds))
        self.is_told = False

    def _tell(self) -> None:
        self.is_told = True
        holdings, room = self._holdings, self._room
        due = room.due
        seconds = None if due is None else round(max(0.0, due - holdings.clock.now()), 3)
        holdings.telemetry.emit(
            Starved(
                **holdings.here,
                waiting=room.waiting,
                unwritten=room.unwritten,
                seconds=seconds,
            )
        )
