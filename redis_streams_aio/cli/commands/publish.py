"""`publish`: adds one event to a stream, or one for each line of standard input."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import BinaryIO

import click
import msgspec

from ...config import Settings
from ...exceptions import InvalidEventError, NotDurableError, PartialPublishError
from ...producer import StreamProducer
from ..parameters import connection_options, headers_of, redis_name
from ..session import connect, errors_told, run, stream_named

_CHUNK = 256 * 1024
"""The most bytes that are read at once; the lines in them are published together."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the event, or of each event of many."""

    stream: str
    event_type: str
    key: str | None = None
    event_id: str | None = None
    headers: Mapping[str, str] = {}


@click.command("publish")
@click.argument("stream", callback=redis_name)
@click.argument("payload", metavar="[JSON]", required=False)
@click.option("--type", "event_type", required=True, help="The event type, e.g. OrderPlaced.")
@click.option("--key", help="The ordering key.")
@click.option("--event-id", help="Your own id of the event.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header; may be repeated.")
@click.option("--lines", is_flag=True, help="Publish each line of standard input as one event.")
@connection_options
def command(
    *,
    stream: str,
    payload: str | None,
    event_type: str,
    key: str | None,
    event_id: str | None,
    headers: tuple[str, ...],
    lines: bool,
    settings: Settings,
) -> None:
    """Publish JSON (an argument, or `-` for standard input), and print the entry id."""
    if (payload is not None) == lines:
        raise click.UsageError("give either JSON (or -, to read it from standard input) or --lines")
    if lines and (key is not None or event_id is not None):
        raise click.UsageError("--key and --event-id belong to one event and cannot be combined with --lines")
    event = Event(stream=stream, event_type=event_type, key=key, event_id=event_id, headers=headers_of(headers))
    if payload is None:
        run(publish_lines(settings, event))
    else:
        run(publish_one(settings, event, _standard_input() if payload == "-" else os.fsencode(payload)))


def _standard_input() -> bytes:
    with errors_told():
        return sys.stdin.buffer.read()


async def publish_one(settings: Settings, event: Event, text: bytes) -> None:
    """Publish one JSON text, and print its entry id. Raises the errors of `StreamProducer.publish`."""
    payload = _json(text, "the payload")
    with stream_named(event.stream):
        async with connect(settings) as connection:
            entry_id = await StreamProducer(connection, settings=settings).publish(
                event.stream,
                payload,
                event_type=event.event_type,
                key=event.key,
                event_id=event.event_id,
                headers=event.headers,
            )
    click.echo(entry_id)


async def publish_lines(settings: Settings, event: Event) -> None:
    """Publish each line of standard input as it comes, in order, and print the entry ids.

    Raises the errors of `StreamProducer.publish_many`, and `InvalidEventError` for the first line that is not valid
    JSON, after the lines before it are published.
    """
    read = 0
    with stream_named(event.stream):
        async with connect(settings) as connection:
            producer = StreamProducer(connection, settings=settings)
            async for lines in _lines(sys.stdin.buffer):
                payloads, problem = _payloads(lines, read)
                read += len(lines)
                await _publish_many(producer, event, payloads)
                if problem is not None:
                    raise problem


async def _publish_many(producer: StreamProducer, event: Event, payloads: Sequence[msgspec.Raw]) -> None:
    try:
        _print(await producer.publish_many(event.stream, payloads, event_type=event.event_type, headers=event.headers))
    except (PartialPublishError, NotDurableError) as error:
        _print(entry_id for entry_id in error.ids if entry_id is not None)
        raise


def _print(ids: Iterable[str]) -> None:
    for entry_id in ids:
        click.echo(entry_id)


def _payloads(lines: list[bytes], before: int) -> tuple[list[msgspec.Raw], InvalidEventError | None]:
    """Return the lines before the first that is not valid JSON, and the error of that line. Skips empty lines."""
    payloads: list[msgspec.Raw] = []
    for number, line in enumerate(lines, before + 1):
        if line.strip():
            try:
                payloads.append(_json(line, f"line {number}"))
            except InvalidEventError as error:
                return payloads, error
    return payloads, None


def _json(text: bytes, what: str) -> msgspec.Raw:
    """Return the text unchanged after a check, so that no digits are lost in a float."""
    try:
        msgspec.json.decode(text)
        return msgspec.Raw(msgspec.json.format(text.strip(), indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEventError(f"{what} is not valid JSON: {error}") from error


async def _lines(source: BinaryIO) -> AsyncIterator[list[bytes]]:
    """Yield lines as soon as they arrive; the last one may have no line break."""
    rest = b""
    while True:
        await _readable(source)
        chunk = source.read1(_CHUNK)  # type: ignore[attr-defined]  # standard input is buffered
        *lines, rest = (rest + chunk).split(b"\n")
        if not chunk:
            lines, rest = [rest] if rest else [], b""
        if lines:
            yield lines
        if not chunk:
            return


async def _readable(source: BinaryIO) -> None:
    """Wait until there is something to read, so that a signal can end the wait. A file is always readable."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(source, readable.set)
    except (OSError, ValueError):  # a file, or nothing of the system's: reading does not wait
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(source)
