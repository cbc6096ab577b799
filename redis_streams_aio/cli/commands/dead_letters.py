"""The commands `dead-letters ...` with their names, options and output."""

from __future__ import annotations

import click
import msgspec

from ...config import Settings
from .. import show
from ..acting import How, Target, acting, carry_out
from ..dead_letters import acts
from ..dead_letters.access import Place, Selection, opened
from ..dead_letters.options import filtered, of_a_group, selected
from ..dead_letters.rows import LetterRow, for_machines, for_people, letter_table, row_of
from ..parameters import json_option
from ..session import run


@click.group("dead-letters")
def command() -> None:
    """List, show, replay and purge the events that a group has given up on."""


@command.command("ls")
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show at most N, the oldest first.",
)
@json_option
@filtered
@of_a_group
def list_command(*, place: Place, which: Selection, count: int, as_json: bool, settings: Settings) -> None:
    """List dead letters, the oldest first, with time and reason. With --json, one object per line."""
    rows, total = run(_rows(settings, place, which, count))
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
        return
    console = show.console()
    console.print(letter_table(rows, total, place, console))


async def _rows(settings: Settings, place: Place, which: Selection, count: int) -> tuple[list[LetterRow], int]:
    async with opened(settings, place) as letters:
        found = await letters.list(reason=which.reason, since=which.since, until=which.until, count=count)
        return list(map(row_of, found)), await letters.count()


@command.command("show")
@of_a_group
@click.argument("letter_id", metavar="ID")
@json_option
def show_command(*, place: Place, letter_id: str, as_json: bool, settings: Settings) -> None:
    """Show everything about one dead letter: its history, the event itself, the traceback."""

    async def found() -> None:
        async with opened(settings, place) as letters:
            letter = await letters.show(letter_id)
        for line in [for_machines(letter)] if as_json else for_people(letter):
            click.echo(line)

    run(found())


@command.command("replay")
@of_a_group
@selected
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Replay at most N per second.")
@acting
def replay_command(*, place: Place, which: Selection, rate: float | None, how: How, settings: Settings) -> None:
    """Return events to the group that gave up on them, and to no other group.

    If the entry is still in its stream, it is handled again under its own id. Else a copy is added at the end.
    """
    carry_out(
        Target("dead-letters replay", place.stream, place.group),
        how,
        lambda: (
            acts.would_replay(settings, place, which) if how.dry_run else acts.counted(settings, place, which, "Replay")
        ),
        lambda planned: acts.replay(settings, place, planned.which if planned else which, rate),
    )


@command.command("purge")
@of_a_group
@selected
@acting
def purge_command(*, place: Place, which: Selection, how: How, settings: Settings) -> None:
    """Delete dead letters permanently."""
    carry_out(
        Target("dead-letters purge", place.stream, place.group),
        how,
        lambda: (
            acts.would_purge(settings, place, which)
            if how.dry_run
            else acts.counted(settings, place, which, "Permanently delete")
        ),
        lambda planned: acts.purge(settings, place, planned.which if planned else which),
    )
