"""`find`: searches a stream for events, within a bound, and says where to go on."""

from __future__ import annotations

from collections.abc import Callable

import click
import msgspec

from ...config import Settings
from ...connection.replies import RawEntry
from ...events import entry_ids
from ...monitoring.searching import Search, Wanted
from .. import events
from ..parameters import connection_options, headers_of, json_option, redis_name
from ..session import connect, run, stream_named

ENDS = ("-", "+")


def place(_: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Check where to begin: an entry id, `(` and an entry id, or an end of the stream. A click callback."""
    if given is not None and given not in ENDS and not entry_ids.is_id(given.removeprefix("(")):
        raise click.BadParameter(f"{given!r} is not an entry id, e.g. 1700000000000-0", param=parameter)
    return given


@click.command("find")
@click.argument("stream", callback=redis_name)
@click.option("--event-id", metavar="ID", help="The publisher's own id of the event.")
@click.option("--type", "event_type", metavar="TYPE", help="The event type.")
@click.option("--key", help="The ordering key.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header; may be repeated.")
@click.option("--text", help="A part of any field, upper or lower case.")
@click.option("--from", "start", callback=place, metavar="ID", help="Begin here.  [default: the newest event]")
@click.option("--oldest-first", is_flag=True, help="Search from the oldest event on.")
@click.option(
    "--count", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Stop after N that match."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    metavar="N",
    help="Stop when N events were looked at.",
)
@json_option
@connection_options
def command(
    *,
    stream: str,
    event_id: str | None,
    event_type: str | None,
    key: str | None,
    headers: tuple[str, ...],
    text: str | None,
    start: str | None,
    oldest_first: bool,
    count: int,
    limit: int,
    as_json: bool,
    settings: Settings,
) -> None:
    """Find events by event id, type, key, header or text, the newest first. All that are given must match.

    The search is bounded: it tells where it stopped, and goes on there with --from. For an entry id, use `show`.
    """
    wanted = Wanted(event_id=event_id, event_type=event_type, key=key, headers=headers_of(headers), text=text)
    if wanted == Wanted():
        raise click.UsageError("say what to find: --event-id, --type, --key, --header or --text")
    line = events.for_machines if as_json else events.for_people
    begin = start or ("-" if oldest_first else "+")
    bounds = _Bounds(start=begin, count=count, limit=limit, backwards=not oldest_first)
    click.echo(run(find(settings, stream, wanted, bounds, line)), err=True)


class _Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Where a search begins, in which direction it goes, and where it stops."""

    start: str
    count: int
    limit: int
    backwards: bool


async def find(
    settings: Settings, stream: str, wanted: Wanted, bounds: _Bounds, line: Callable[[RawEntry], str]
) -> str:
    """Print the events that match, and return how far the search went.

    Raises `StreamTypeError`, `RedisUnavailableError`.
    """
    found = 0
    async with connect(settings) as connection:
        search = Search(connection, stream, wanted)
        with stream_named(stream):
            async for entry in search.run(bounds.start, backwards=bounds.backwards, limit=bounds.limit):
                click.echo(line(entry))
                found += 1
                if found == bounds.count:
                    break
    if not search.looked_at and bounds.start in ENDS:
        return f"stream {stream!r} is empty or does not exist"
    told = f"{found:,} found in {search.looked_at:,} events"
    if search.next is None:
        return f"{told}: all there are"
    return f"{told}; to go on: --from '{search.next}'" + ("" if bounds.backwards else " --oldest-first")
