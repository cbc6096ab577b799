"""The commands `dead-letters ...` with their names, options and output."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ...config import Settings
from ...models import DeadLetterKind, DeadLetterMessage
from .. import show
from ..acting import How, Target, acting, carry_out
from ..dead_letters import acts, capture
from ..dead_letters.access import Place, Selection, opened
from ..dead_letters.options import filtered, of_a_group, selected
from ..dead_letters.rows import KIND_COLUMNS, LetterRow, for_machines, for_people, kind_cells, letter_table, row_of
from ..parameters import json_option
from ..session import run


@click.group("dead-letters")
def command() -> None:
    """List, group, show, capture, replay and purge the events that a group has given up on."""


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
        found = await letters.list(**which.filters(), count=count)
        return list(map(row_of, found)), await letters.count()


@command.command("groups")
@json_option
@filtered
@of_a_group
def groups_command(*, place: Place, which: Selection, as_json: bool, settings: Settings) -> None:
    """Group dead letters by cause: error type and place. The most numerous come first.

    The fingerprint selects them in ls, replay and purge. With --json, one object per line.
    """

    async def found() -> list[DeadLetterKind]:
        async with opened(settings, place) as letters:
            kinds = await letters.kinds(reason=which.reason, since=which.since, until=which.until)
        return [kind for kind in kinds if which.fingerprint in (None, kind.fingerprint)]

    kinds = run(found())
    if as_json:
        for kind in kinds:
            click.echo(msgspec.json.encode(kind))
        return
    count = sum(kind.count for kind in kinds)
    title = f"{place}: {count:,} dead letters, of {len(kinds):,} causes"
    table = show.table(KIND_COLUMNS, map(kind_cells, kinds), title=title)
    for column in table.columns:
        column.no_wrap = column.header != "cause"  # the names and ids of others stay whole
    show.console().print(table)


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


@command.command("capture")
@of_a_group
@click.argument("letter_id", metavar="ID")
@click.option("--app", "broker", required=True, metavar="MODULE:BROKER", help="The broker that handles the event.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write, - for stdout.  [default: test_dead_letter_ID.py]",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def capture_command(
    *, place: Place, letter_id: str, broker: str, output: Path | None, force: bool, settings: Settings
) -> None:
    """Write a pytest file that handles one dead letter again, without a server.

    The test fails as the event did, and passes when the handler is repaired. The file contains the event's payload.
    """
    module, _, attribute = broker.partition(":")
    if not all(name.isidentifier() for name in [*module.split("."), *attribute.split(".")]):
        raise click.BadParameter(f"expected module:broker, e.g. shop.events:broker, not {broker!r}", param_hint="--app")

    async def found() -> DeadLetterMessage:
        async with opened(settings, place) as letters:
            return await letters.show(letter_id)

    letter = run(found())
    text = capture.test_file(letter, place, module, attribute)
    if output == Path("-"):
        click.echo(text, nl=False)
        return
    _write(output or Path(f"test_{capture.name_of(letter)}.py"), text, replace=force)


def _write(file: Path, text: str, *, replace: bool) -> None:
    if file.exists() and not replace:
        raise click.ClickException(f"{file} exists already: add --force to replace it, or name another file: --output")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    click.echo(str(file))


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
