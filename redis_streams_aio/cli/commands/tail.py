"""`tail`: shows a stream's events as they are added. It uses no consumer group, so no group loses an event.

The connection's link is shared and must not be blocked, so the stream is read every 100 ms, which is fast enough for a
person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import click

from ...config import Settings
from ...connection import Connection, replies
from ...connection.replies import RawEntry
from .. import events
from ..parameters import connection_options, json_option, redis_name
from ..session import connect, run, stream_named

POLL = 0.1
"""Seconds between two reads."""
AT_ONCE = 500
"""The most entries in one reply."""


@click.command("tail")
@click.argument("stream", callback=redis_name)
@click.option(
    "--last", type=click.IntRange(0, 10_000), default=10, show_default=True, metavar="N", help="Begin with the last N."
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Continue with new events.")
@json_option
@connection_options
def command(
    *,
    stream: str,
    last: int,
    follow: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show events as they are added: time, id, type, key and payload. No group loses anything by it."""
    line = events.for_machines if as_json else events.for_people
    run(tail(settings, stream, last=last, follow=follow, line=line))


async def tail(settings: Settings, stream: str, *, last: int, follow: bool, line: Callable[[RawEntry], str]) -> None:
    """Print the last `last` entries, and with `follow` new ones until cancelled."""
    with stream_named(stream):
        async with connect(settings) as connection:
            position = await _print_last(connection, stream, last, line)
            if follow:
                await _follow(connection, stream, position, line)


async def _print_last(connection: Connection, stream: str, last: int, line: Callable[[RawEntry], str]) -> str:
    """Print the last entries, and return the id of the last one."""
    newest_first = replies.entries(await connection.call("XREVRANGE", stream, "+", "-", "COUNT", max(last, 1)))
    if not newest_first:
        click.echo(f"stream {stream!r} is empty or does not exist yet", err=True)
        return "0-0"
    if last:
        for entry in reversed(newest_first):
            click.echo(line(entry))
    return newest_first[0].id.decode()


async def _follow(connection: Connection, stream: str, position: str, line: Callable[[RawEntry], str]) -> NoReturn:
    while True:
        entries = replies.entries(await connection.call("XRANGE", stream, f"({position}", "+", "COUNT", AT_ONCE))
        for entry in entries:
            click.echo(line(entry))
            position = entry.id.decode()
        if len(entries) < AT_ONCE:
            await asyncio.sleep(POLL)
