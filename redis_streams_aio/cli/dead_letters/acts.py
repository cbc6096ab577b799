"""`dead-letters replay` and `dead-letters purge`: what they would do, and doing it.

A selection that was asked about is limited to the dead letters that the question counted; later ones stay.
"""

from __future__ import annotations

import msgspec

from ...config import Settings
from ...connection.steps.replaying import Letter, replaying
from ...models import ReplayReport
from ...monitoring.dead_letters import purging
from ..acting import Done, Plan
from .access import Place, Selection, chosen, opened


class Counted(Plan, frozen=True, kw_only=True):
    """A plan, and the selection that it counted."""

    which: Selection


async def counted(settings: Settings, place: Place, which: Selection, verb: str) -> Counted:
    """Count the selection for a question such as `Replay 3 dead letters of orders / billing?`.

    Raises `DeadLetterNotFoundError`, `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    count, last = 0, None
    async with opened(settings, place) as letters:
        async for letter in chosen(letters, which):
            count, last = count + 1, letter
    if last is None:
        return Counted(count=0, told="", which=Selection(ids=()))
    asked = f"{verb} {'1 dead letter' if count == 1 else f'{count:,} dead letters'} of {place}?"
    limited = which if which.ids else msgspec.structs.replace(which, until=last.timestamp)
    return Counted(count=count, told="", question=asked, which=limited)


async def would_replay(settings: Settings, place: Place, which: Selection) -> Counted:
    """Return the extent of a replay, with its commands. Raises the errors of `DeadLetters.replay`."""
    async with opened(settings, place) as letters:
        report = await letters.replay(which.ids, **which.filters(), dry_run=True)
        steps = [
            replaying(place.stream, place.group, Letter.of(letters.key, letter))
            async for letter in chosen(letters, which)
        ]
    return Counted(count=report.replayed, told=told(report, "would be replayed"), commands=steps, which=which)


async def replay(settings: Settings, place: Place, which: Selection, rate: float | None) -> Done:
    """Return events to their group. Raises the errors of `DeadLetters.replay`."""
    async with opened(settings, place) as letters:
        report = await letters.replay(which.ids, **which.filters(), rate=rate)
    return Done(count=report.replayed, told=told(report, "replayed"), changed=report.replayed > 0)


async def would_purge(settings: Settings, place: Place, which: Selection) -> Counted:
    """Return the extent of a purge, with its commands. Raises the errors of `DeadLetters.purge`."""
    async with opened(settings, place) as letters:
        found = [letter.id async for letter in chosen(letters, which)]
    commands = list(purging(letters.key, found))
    return Counted(count=len(found), told=f"{len(found):,} would be purged", commands=commands, which=which)


async def purge(settings: Settings, place: Place, which: Selection) -> Done:
    """Delete dead letters. Raises the errors of `DeadLetters.purge`."""
    async with opened(settings, place) as letters:
        count = await letters.purge(which.ids, **which.filters())
    return Done(count=count, told=f"{count:,} purged", changed=count > 0)


def told(report: ReplayReport, what: str) -> str:
    """Return the result in words: `3 replayed (2 in place, 1 as a copy)`."""
    copies = "1 as a copy" if report.copied == 1 else f"{report.copied:,} as copies"
    parts = [f"{report.in_place:,} in place"] if report.in_place else []
    parts += [copies] if report.copied else []
    words = f"{report.replayed:,} {what}"
    if parts:
        words += f" ({', '.join(parts)})"
    return words if not report.gone else f"{words}; {report.gone:,} gone before: replayed or purged by somebody else"
