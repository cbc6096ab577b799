"""The commands with their names and options; other modules carry them out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from ..version import __version__
from . import demo as demonstration
from . import events, show
from .dead_letter_commands import dead_letters
from .groups import COLUMNS as GROUP_COLUMNS
from .groups import groups_of
from .pending import COLUMNS as PENDING_COLUMNS
from .pending import pending_of
from .publish import Event, publish_lines, publish_one
from .running import run_broker
from .session import connection_options, errors_told, redis_name, run, settings_from
from .tail import tail as follow_stream

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for machines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="redis-streams-aio")
def app() -> None:
    """Events on Redis Streams: run a broker, publish events, inspect streams and groups, and manage dead letters."""


app.add_command(dead_letters)


@app.command()
@click.option("--url", help="The Redis to use; the demo deletes what it creates there.  [default: an embedded Valkey]")
@click.option(
    "--events",
    "count",
    type=click.IntRange(1, demonstration.FLIGHTS),
    default=demonstration.FLIGHTS,
    show_default=True,
    metavar="N",
    help="Only the first N flights.",
)
def demo(url: str | None, count: int) -> None:
    """Publish a week of flights, handle them in four groups, and check that none was lost.

    The demo shows order per aircraft, retries and dead letters, a slow group beside fast ones, and a worker that dies.
    It takes about ten seconds. Exit code 1 if anything is not as expected.
    """
    if not run(demonstration.perform(url or "embedded://", count, show.console())):
        raise click.exceptions.Exit(1)


@app.command("run")
@click.argument("place", metavar="MODULE:BROKER")
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error", "critical"), case_sensitive=False),
    default="info",
    show_default=True,
    help="The lowest level that is logged to stderr, unless the module sets up logging itself.",
)
def run_command(place: str, log_level: str) -> None:
    """Run a broker until SIGINT or SIGTERM, then drain it; a second signal stops at once.

    `redis-streams-aio run shop.events:broker` imports shop/events.py of the current directory, or an installed module.
    """
    run_broker(place, log_level)


@app.command()
@click.argument("stream", callback=redis_name)
@click.argument("payload", metavar="[JSON]", required=False)
@click.option("--type", "event_type", required=True, help="The event type, e.g. OrderPlaced.")
@click.option("--key", help="The ordering key.")
@click.option("--event-id", help="Your own id of the event.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header; may be repeated.")
@click.option("--lines", is_flag=True, help="Publish each line of standard input as one event.")
@connection_options
def publish(
    *,
    stream: str,
    payload: str | None,
    event_type: str,
    key: str | None,
    event_id: str | None,
    headers: tuple[str, ...],
    lines: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Publish JSON (an argument, or `-` for standard input), and print the entry id."""
    if (payload is not None) == lines:
        raise click.UsageError("give either JSON (or -, to read it from standard input) or --lines")
    if lines and (key is not None or event_id is not None):
        raise click.UsageError("--key and --event-id belong to one event and cannot be combined with --lines")
    event = Event(stream=stream, event_type=event_type, key=key, event_id=event_id, headers=_headers(headers))
    settings = settings_from(url, config_file)
    if payload is None:
        run(publish_lines(settings, event))
    else:
        run(publish_one(settings, event, _standard_input() if payload == "-" else os.fsencode(payload)))


def _standard_input() -> bytes:
    with errors_told():
        return sys.stdin.buffer.read()


def _headers(given: Iterable[str]) -> dict[str, str]:
    headers = {}
    for header in given:
        name, separator, value = header.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"expected NAME=VALUE, not {header!r}", param_hint="--header")
        headers[name] = value
    return headers


@app.command()
@click.argument("stream", callback=redis_name)
@click.option(
    "--last", type=click.IntRange(0, 10_000), default=10, show_default=True, metavar="N", help="Begin with the last N."
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Continue with new events.")
@_json_option
@connection_options
def tail(
    *,
    stream: str,
    last: int,
    follow: bool,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Show events as they are added: time, id, type, key and payload. No group loses anything by it."""
    line = events.for_machines if as_json else events.for_people
    run(follow_stream(settings_from(url, config_file), stream, last=last, follow=follow, line=line))


@app.command()
@click.argument("streams", nargs=-1, required=True, metavar="STREAM...", callback=redis_name)
@_json_option
@connection_options
def groups(
    *,
    streams: tuple[str, ...],
    as_json: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Show the consumer groups of streams: consumers, pending, lag (`?` if unknown), age of the oldest entry."""
    rows = run(groups_of(settings_from(url, config_file), streams))
    if as_json:
        _print_json(rows)
    elif rows:
        show.console().print(show.table(GROUP_COLUMNS, (row.cells() for row in rows)))
    for stream in streams:
        if all(row.stream != stream for row in rows):
            click.echo(f"stream {stream!r} has no groups", err=True)


@app.command()
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show at most N, the oldest first.",
)
@click.option("--consumer", callback=redis_name, help="Only entries of this consumer.")
@_json_option
@connection_options
def pending(
    *,
    stream: str,
    group: str,
    count: int,
    consumer: str | None,
    as_json: bool,
    url: str | None,
    config_file: Path | None,
) -> None:
    """Show entries that were delivered and not settled, with their failures."""
    found = run(pending_of(settings_from(url, config_file), stream, group, count=count, consumer=consumer))
    if as_json:
        _print_json(found.rows)
        return
    title = f"{show.visible(stream)} / {show.visible(group)}: {len(found.rows):,} shown of {found.total:,} pending"
    show.console().print(show.table(PENDING_COLUMNS, (row.cells() for row in found.rows), title=title))


def _print_json(rows: Iterable[msgspec.Struct]) -> None:
    for row in rows:
        click.echo(msgspec.json.encode(row))
