"""Handling: everything that a subscription does with its entries, without Redis: lanes, schedule, work and workers.

A subscription gives entries to it, and takes back those that have not begun. `of_handlers` puts together the handling
by decorated handlers; an iterator's is `iterating`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any, NamedTuple, Protocol

from ...handlers.routes import Plan, RouteTable
from ..entry import Entry
from ..holdings import Holdings
from ..settle.settlement import Settlement
from .batches import Batches
from .lanes import Lanes
from .pool import Pool
from .schedule import Schedule
from .single import OneByOne
from .turns import Worker


class Workers(Protocol):
    """The workers of a subscription: a `Pool`, or the task that iterates."""

    @property
    def busy(self) -> int:
        """The number of workers that are handling a unit or writing its fate."""
        ...

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by delivery."""
        ...

    def wake(self) -> None:
        """Wake a worker, because there is work."""
        ...

    def pause(self) -> None:
        """Begin no unit until `resume`; units that have begun are handled to their end."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...

    def stop(self) -> None:
        """Let workers end after their current unit; nothing new begins, ever."""
        ...

    def lost(self, entry: Entry) -> None:
        """Note that another consumer has an entry now."""
        ...

    async def run_worker(self) -> bool:
        """Work until `stop`; return whether a new worker must replace this one."""
        ...


class InHandlers(Protocol):
    """Tells what is in handlers."""

    @property
    def running(self) -> int:
        """The number of entries in their handler."""
        ...

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its entries. Can be called from any thread."""
        ...

    def unfold(self, raw_id: bytes) -> Entry | None:
        """Make an entry of a row of a page; `None` if the row is handled, and its acknowledgement on the way."""
        ...


class Handling(NamedTuple):
    """The parts that handle the entries of one subscription."""

    schedule: Schedule
    lanes: Lanes
    work: InHandlers
    workers: Workers
    tasks: int
    """The number of tasks that the subscription starts for `workers`."""
    routes: RouteTable
    context: Context
    """Each of the tasks begins in a copy of it."""
    freed: asyncio.Event
    """Set whenever a unit has ended."""


def of_handlers(plan: Plan, holdings: Holdings, settlement: Settlement, context: Context) -> Handling:
    """Return the handling of a subscription by its handlers."""
    options, routes, schedule, freed = plan.options, plan.routes, Schedule(), asyncio.Event()
    work: Any
    if options.batch is None:
        work = OneByOne(holdings, schedule, settlement, routes, options.unknown)
    else:
        work = Batches(holdings, schedule, settlement, routes, options)
    pool: Pool[Any] = Pool(work, freed, holdings.clock)
    return Handling(schedule, Lanes(plan, context), work, pool, options.concurrency, routes, context, freed)
