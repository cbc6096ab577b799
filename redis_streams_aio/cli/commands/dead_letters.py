"""The commands `dead-letters ...` with their names, options and output."""

from __future__ import annotations

import sys
from datetime import datetime

import click
import msgspec

from ...config import Settings
from ...models import ReplayReport
from .. import dead_letters as letters
from .. import show
from ..dead_letters import Place, Selection
from ..parameters import CommandT, connection_options, json_option, moment, redis_name
from ..session import STOPPED, run


def _of_group(command: CommandT) -> CommandT:
    """Add STREAM and GROUP."""
    command = click.argument("group", callback=redis_name)(command)
    return click.argument("stream", callback=redis_name)(command)


def _where(command: CommandT) -> CommandT:
    """Add `--dead-letter`, `--url` and `--config`."""
    return click.option(
        "--dead-letter",
        callback=redis_name,
        metavar="STREAM",
        help="The stream that the handler names as dead_letter, if it does.  [default: {STREAM}:GROUP:dead]",
    )(connection_options(command))


def _filters(command: CommandT) -> CommandT:
    """Add the options `--reason`, `--since` and `--until`."""
    when = "2026-01-31T12:00 (local time if it has no zone), or an age: 90s, 30min, 2h, 7d."
    until = click.option("--until", callback=moment, metavar="TIME", help="Only dead letters from this time or before.")
    since = click.option(
        "--since", callback=moment, metavar="TIME", help=f"Only dead letters from this time or later. TIME: {when}"
    )
    reason = click.option("--reason", type=click.Choice(letters.REASONS), help="Only dead letters with this reason.")
    return reason(since(until(command)))


def _which(command: CommandT) -> CommandT:
    """Add IDs, `--all`, the filters, and `--dry-run`."""
    command = click.option("--dry-run", is_flag=True, help="Change nothing, and print what would be done.")(command)
    command = _filters(command)
    command = click.option("--all", "everything", is_flag=True, help="All dead letters.")(command)
    return click.argument("ids", nargs=-1, metavar="[ID]...")(command)


@click.group("dead-letters")
def command() -> None:
    """List, show, replay and purge the events that a group has given up on."""


@command.command("ls")
@_of_group
@_filters
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show at most N, the oldest first.",
)
@json_option
@_where
def list_command(
    *,
    stream: str,
    group: str,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    count: int,
    as_json: bool,
    dead_letter: str | None,
    settings: Settings,
) -> None:
    """List dead letters, the oldest first, with time and reason. With --json, one object per line."""
    place = Place(stream, group, dead_letter)
    which = _filter(reason, since, until)
    found = run(letters.letters_of(settings, place, which, count=count))
    if as_json:
        for row in found.rows:
            click.echo(msgspec.json.encode(row))
        return
    console = show.console()
    console.print(letters.letter_table(found, place, console))


@command.command("show")
@_of_group
@click.argument("letter_id", metavar="ID")
@json_option
@_where
def show_command(
    *,
    stream: str,
    group: str,
    letter_id: str,
    as_json: bool,
    dead_letter: str | None,
    settings: Settings,
) -> None:
    """Show everything about one dead letter: its history, the event itself, the traceback."""
    letter = run(letters.letter_of(settings, Place(stream, group, dead_letter), letter_id))
    if as_json:
        click.echo(letters.for_machines(letter))
        return
    for line in letters.for_people(letter):
        click.echo(line)


@command.command("replay")
@_of_group
@_which
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Replay at most N per second.")
@_where
def replay_command(
    *,
    stream: str,
    group: str,
    ids: tuple[str, ...],
    everything: bool,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    rate: float | None,
    dry_run: bool,
    dead_letter: str | None,
    settings: Settings,
) -> None:
    """Return events to the group that gave up on them, and to no other group.

    If the entry is still in its stream, it is handled again under its own id. Else a copy is added at the end.
    """
    which = _selection(ids, everything=everything, reason=reason, since=since, until=until)
    place = Place(stream, group, dead_letter)
    report = run(letters.replay(settings, place, which, rate=rate, dry_run=dry_run))
    click.echo(_told(report, dry_run=dry_run))


@command.command("purge")
@_of_group
@_which
@click.option("--yes", is_flag=True, help="Do not ask.")
@_where
def purge_command(
    *,
    stream: str,
    group: str,
    ids: tuple[str, ...],
    everything: bool,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    yes: bool,
    dead_letter: str | None,
    settings: Settings,
) -> None:
    """Delete dead letters permanently."""
    which = _selection(ids, everything=everything, reason=reason, since=since, until=until)
    place = Place(stream, group, dead_letter)
    if not yes and not dry_run:
        which = _confirmed(settings, place, which)
    count = run(letters.purge(settings, place, which, dry_run=dry_run))
    click.echo(f"{count:,} would be purged" if dry_run else f"{count:,} purged")


def _confirmed(settings: Settings, place: Place, which: Selection) -> Selection:
    """Ask for confirmation, and limit the selection to the dead letters that the question counted."""
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for confirmation: add --yes to delete")
    extent = run(letters.extent_of(settings, place, which))
    if not extent.count:
        return Selection(ids=())
    what = "1 dead letter" if extent.count == 1 else f"{extent.count:,} dead letters"
    try:
        if not click.confirm(f"Delete {what} of {place} for good?", err=True):
            click.echo("nothing was deleted", err=True)
            raise click.exceptions.Exit(1)
    except click.Abort:  # Ctrl-C, or the end of the input
        raise click.exceptions.Exit(STOPPED) from None
    return which if extent.last is None else msgspec.structs.replace(which, until=extent.last)


def _selection(
    ids: tuple[str, ...], *, everything: bool, reason: str | None, since: datetime | None, until: datetime | None
) -> Selection:
    filtered = reason is not None or since is not None or until is not None
    ways = [way for way, given in (("IDs", ids), ("--all", everything), ("a filter", filtered)) if given]
    if not ways:
        raise click.UsageError("say which dead letters: IDs, --all, or a filter (--reason, --since, --until)")
    if len(ways) > 1:
        raise click.UsageError(f"{' and '.join(ways)} cannot be combined: give either IDs, or --all, or a filter")
    return Selection(ids=ids) if ids else _filter(reason, since, until)


def _filter(reason: str | None, since: datetime | None, until: datetime | None) -> Selection:
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until")
    return Selection(reason=reason, since=since, until=until)


def _told(report: ReplayReport, *, dry_run: bool) -> str:
    """Return the result in words: `3 replayed (2 in place, 1 as a copy)`."""
    copies = "1 as a copy" if report.copied == 1 else f"{report.copied:,} as copies"
    parts = [f"{report.in_place:,} in place"] if report.in_place else []
    parts += [copies] if report.copied else []
    told = f"{report.replayed:,} {'would be replayed' if dry_run else 'replayed'}"
    if parts:
        told += f" ({', '.join(parts)})"
    return told if not report.gone else f"{told}; {report.gone:,} gone before: replayed or purged by somebody else"
