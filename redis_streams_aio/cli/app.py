"""The commands by name; each is a module of its own in `commands/`.

A new command is a file `commands/<name>.py` with a click command named `command`, and a line in `COMMANDS`. Modules are
imported when their command is used, so that `--help` and short commands start fast.
"""

from __future__ import annotations

from importlib import import_module

import click

from ..config.hints import suggestion
from ..version import __version__

COMMANDS = {
    "Run and publish": {
        "demo": "Handle a week of flights, and check that none is lost.",
        "run": "Run a broker until a signal stops it, then drain it.",
        "publish": "Add an event, or each line of standard input.",
        "config": "Check a configuration file: what is wrong, or in force.",
    },
    "Look": {
        "streams": "All streams: length, memory, groups, last event.",
        "groups": "How far each consumer group has come.",
        "lag": "How far groups are behind, and how fast; --watch.",
        "top": "All groups live: rates, lag, pending, dead letters.",
        "consumers": "Who is in a group, what they hold, who is gone.",
        "pending": "What was delivered and not settled, and its failures.",
        "show": "One event: its fields, and its state in each group.",
        "find": "Events by event id, type, key, header or text.",
        "check": "Thresholds for monitors: text, nagios, json, prometheus.",
        "doctor": "What loses, delays or blocks events, and what to do.",
        "tail": "Events as they are added, without a group.",
    },
    "Steer": {
        "pause": "Stop the handlers of a group, in all its processes.",
        "resume": "Let a paused group go on.",
    },
    "Repair": {
        "seek": "Move a group back or forward in its stream.",
        "group": "Create, copy and delete consumer groups.",
        "trim": "Delete what every group of a stream has settled.",
        "dead-letters": "Group, show, capture, replay and purge dead letters.",
    },
}
"""The commands by heading, each with its line in `--help`: at most 58 characters, so that none is cut at 80 columns."""
NAMES = [name for section in COMMANDS.values() for name in section]


class Commands(click.Group):
    """The group that imports a command when it is asked for; click offers this by inheritance only."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click gives it
        """Return all names, in the order of `--help`."""
        return [*NAMES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; `None` if there is none of this name."""
        if cmd_name not in NAMES:
            return None
        module = import_module(f".commands.{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed, or suggest the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in NAMES:
            ctx.fail(f"there is no command {args[0]!r}{suggestion(args[0], NAMES)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands under their headings."""
        width = max(map(len, NAMES))
        for heading, section in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", line) for name, line in section.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="redis-streams-aio")
def app() -> None:
    """Events on Redis Streams: run a broker, publish events, inspect streams and groups, and manage dead letters."""
