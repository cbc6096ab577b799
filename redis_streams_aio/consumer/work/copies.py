"""Copies: entries that wait for another entry of their event to be done (`deduplicate=`), and ask together.

A copy that must wait is set aside in the schedule: it holds no lane and no room. When it is due, the worker that takes
it asks for all copies that are nearly due, in one step (`settle.duplicates`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...handlers.fates import AwaitCopy, Fate, Postpone
from ...handlers.routes import Route
from ..entry import Entry
from ..holdings import Holdings
from ..settle import duplicates
from ..settle.settlement import Settlement
from .attempt import to_its_end
from .schedule import Schedule

TOGETHER = 0.3
"""The part of its pause by which a copy may ask earlier, so that many copies ask together."""


async def begin(holdings: Holdings, entries: Sequence[Entry], route: Route) -> list[Fate | None]:
    """Return for each entry `None` to call its handler, or the fate of a copy."""
    if route.deduplicate is None:
        return [None] * len(entries)
    return await duplicates.begin(holdings, entries)


def set_aside(schedule: Schedule, entry: Entry, fate: AwaitCopy) -> None:
    """Let a copy wait until its state is asked again. The caller makes it leave its lane."""
    if not entry.lost:
        entry.wait(fate.until, fate)
        schedule.set_aside(entry)


def to_ask_after(holdings: Holdings, schedule: Schedule, now: float) -> list[Entry]:
    """Return copies that were set aside and are due, or nearly due: as many as one step takes."""
    return schedule.take_aside(now + TOGETHER * duplicates.pause(holdings), duplicates.ASKED_AT_ONCE)


async def ask_again(holdings: Holdings, schedule: Schedule, settlement: Settlement, copies: Sequence[Entry]) -> None:
    """Ask the state of copies that were set aside. They are handled next, wait again, or are acknowledged as done."""
    fates = await to_its_end(lambda: duplicates.begin(holdings, copies))
    next_ones: list[Entry] = []
    for entry, fate in zip(copies, fates, strict=True):
        if entry.lost:
            continue
        if isinstance(fate, AwaitCopy | Postpone):
            entry.wait(fate.until, entry.fate)
            schedule.set_aside(entry)
            continue
        entry.fate = None
        if fate is None:
            entry.queue()
            next_ones.append(entry)
        else:
            settlement.ack(entry)
    schedule.queue_up(next_ones)
