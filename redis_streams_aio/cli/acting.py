"""Acts: commands that change or delete something. `carry_out` is the one way in which all of them do it.

A command of that kind

* with `--dry-run` changes nothing: it prints how much it would touch, and the exact Redis commands;
* asks before it changes something, unless `--yes` is given. Without a terminal to ask and without `--yes` it is wrong
  usage (exit code 2), before Redis is asked anything. A refusal at the question is exit code 1, Ctrl-C there is 130;
* tells who did it (`--by`, the login name unless given): the fact `Acted`, one line in the log and on stderr.

A command is two coroutine functions: `plan` reads and changes nothing, `act` changes. The plan is made for a dry run
and for the question only, so `act` must not need one; where it got one, it touches no more than the plan counted.
When a signal ends `act`, part of it may be done, and the line says so.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec

from ..connection.packing import Command
from ..connection.steps.script import Step
from ..telemetry import Acted, write
from . import command_lines
from .session import STOPPED, run
from .show import visible

COMMANDS_SHOWN = 20
"""The most commands that a dry run prints for people; `--json` has all of them."""
NOBODY = "(unknown)"

CommandT = TypeVar("CommandT", bound=Callable[..., object])


class How(msgspec.Struct, frozen=True):
    """How a person wants an act carried out: the options that all acts have."""

    dry_run: bool
    yes: bool
    by: str
    as_json: bool


class Target(msgspec.Struct, frozen=True):
    """The name of an act, and the stream and group that it changes; no group where the whole stream is meant."""

    act: str
    stream: str
    group: str = ""

    def __str__(self) -> str:
        return f"{visible(self.stream)} / {visible(self.group)}" if self.group else visible(self.stream)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The extent of an act that has not happened."""

    count: int
    """The number of entries, or dead letters, that would be touched."""
    told: str
    """One sentence for a dry run: `3 would be purged`."""
    question: str = ""
    """Asked before the act; empty if there is nothing to ask, because nothing would be changed."""
    commands: Sequence[Command | Step[Any]] = ()
    """The commands that the act would send, in their order."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an act."""

    count: int
    told: str
    """The result in words, printed on stdout: `3 purged`."""
    changed: bool = True
    """Whether anything was changed; if not, nobody acted."""


PlanT = TypeVar("PlanT", bound=Plan)


def acting(command: CommandT) -> CommandT:
    """Add `--dry-run`, `--yes`, `--by` and `--json`, which the command gets as one argument, `how`."""

    @wraps(command)
    def with_how(*args: object, dry_run: bool, yes: bool, by: str | None, as_json: bool, **others: object) -> object:
        return command(*args, how=How(dry_run, yes, by or _login_name(), as_json), **others)

    options = (
        click.option("--dry-run", is_flag=True, help="Change nothing: print what would be done, and the commands."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--by", metavar="NAME", help="Who acts, for the log.  [default: the login name]"),
        click.option("--json", "as_json", is_flag=True, help="The result as one JSON object, for machines."),
    )
    added: Any = with_how
    for option in reversed(options):
        added = option(added)
    return added  # type: ignore[no-any-return]


def carry_out(
    target: Target,
    how: How,
    plan: Callable[[], Coroutine[Any, Any, PlanT]],
    act: Callable[[PlanT | None], Coroutine[Any, Any, Done]],
) -> None:
    """Plan, ask and act, as the options say, and print the result."""
    if how.dry_run:
        _print_plan(target, how, run(plan()))
        return
    planned = None
    if not how.yes:
        planned = _confirmed(plan)
    with _told_if_stopped(target, how):
        done = run(act(planned))
    if how.as_json:
        _print_json({**_named(target), "by": how.by, "count": done.count, "told": done.told})
    else:
        click.echo(done.told)
    if done.changed:
        _record(target, how, done.count, done.told)


def _confirmed(plan: Callable[[], Coroutine[Any, Any, PlanT]]) -> PlanT:
    """Make the plan and ask for a yes. Ends the command where the answer is no, or nobody is there to give it."""
    if not _at_a_terminal():
        raise click.UsageError("there is no terminal to ask for confirmation: add --yes to go on, or --dry-run to look")
    planned = run(plan())
    try:
        if planned.question and not click.confirm(planned.question, err=True):
            click.echo("nothing was changed", err=True)
            raise click.exceptions.Exit(1)
    except click.Abort:  # Ctrl-C, or the end of the input
        raise click.exceptions.Exit(STOPPED) from None
    return planned


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _print_plan(target: Target, how: How, planned: Plan) -> None:
    if how.as_json:
        sent = [command_lines.command_line(command) for command in planned.commands]
        _print_json({**_named(target), "dry_run": True, "count": planned.count, "told": planned.told, "commands": sent})
        return
    click.echo(planned.told)
    if planned.commands:
        click.echo("these commands would be sent:")
    for line in command_lines.explained(planned.commands[:COMMANDS_SHOWN]):
        click.echo(f"  {line}")
    if (more := len(planned.commands) - COMMANDS_SHOWN) > 0:
        click.echo(f"  ... and {more:,} more (--json prints all)")


def _named(target: Target) -> dict[str, object]:
    return {"act": target.act, "stream": target.stream, "group": target.group or None}


def _print_json(record: dict[str, object]) -> None:
    click.echo(msgspec.json.encode(record))


@contextmanager
def _told_if_stopped(target: Target, how: How) -> Iterator[None]:
    try:
        yield
    except click.exceptions.Exit:
        _record(target, how, 0, "stopped by a signal; part of it may be done")
        raise


def _record(target: Target, how: How, count: int, told: str) -> None:
    """Write the fact to the log, and show its line on stderr."""
    fact = Acted(act=target.act, stream=target.stream, group=target.group, by=how.by, count=count, told=told)
    write(fact)
    click.echo(visible(str(fact)), err=True)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in some containers
        return NOBODY
