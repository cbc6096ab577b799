"""Handling: everything that a subscription does with its entries, without Redis: lanes, schedule, work and workers.

A subscription gives entries to it, and takes back those that have not begun. `of_handlers` puts together the handling
by decorated handlers; an iterator's is `iterating`.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any, NamedTuple

from ...handlers.routes import Plan, RouteTable
from ..holdings import Holdings
from ..settle.settlement import Settlement
from .batches import Batches
from .lanes import Lanes
from .pool import Pool
from .schedule import Schedule
from .single import OneByOne
from .workers import InHandlers, Workers


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
