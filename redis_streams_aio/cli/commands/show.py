"""`show`: tells everything that Redis knows of one event: its entry, and its state in each group."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click
import msgspec

from ...config import Settings
from ...connection import Connection
from ...connection.replies import RawEntry
from ...events import entry_ids
from ...monitoring.story import InGroup, Story, story_of
from .. import events
from ..parameters import connection_options, json_option, meanings, redis_name
from ..session import connect, run, stream_named
from ..show import NONE, age, local_time, print_json, visible
from .pending import STATES as PENDING_STATES
from .pending import PendingRow, rows_of

STATES = {
    "waits": "The group has not been given it yet.",
    **PENDING_STATES,
    "dead letter": "The group gave up on it.",
    "settled": "The group has settled it, or was created after it.",
}


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the event in a group, as `--json` prints it."""

    group: str
    state: str
    consumer: str | None = None
    idle: float | None = None
    deliveries: int | None = None
    failures: int = 0
    first_failure: datetime | None = None
    due: datetime | None = None
    error: str | None = None
    reason: str | None = None
    dead_letters: list[str] = []
    replays: int = 0
    remembered: bool = False


class EventStory(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as `--json` prints it."""

    stream: str
    id: str
    exists: bool
    event: msgspec.Raw | None
    replayed_for: str | None
    replay_of: str | None
    groups: list[GroupState]


def entry_id_of(_: click.Context, parameter: click.Parameter, given: str) -> str:
    """Check that it is an entry id. A click callback."""
    if not entry_ids.is_id(given):
        raise click.BadParameter(
            f"{given!r} is not an entry id, e.g. 1700000000000-0; `find` looks for other ids", param=parameter
        )
    return given if "-" in given else f"{given}-0"


@click.command("show", epilog=meanings(STATES))
@click.argument("stream", callback=redis_name)
@click.argument("entry_id", metavar="ID", callback=entry_id_of)
@json_option
@connection_options
def command(*, stream: str, entry_id: str, as_json: bool, settings: Settings) -> None:
    """Show one event: its fields, and in each group who has it, failures, dead letters, replays.

    Exit code 1 if Redis knows nothing of the event: no entry, and no group has it or gave up on it.
    """
    story = run(told_of(settings, stream, entry_id))
    if as_json:
        print_json([story])
    else:
        for line in _lines(story):
            click.echo(line)
    if not (story.exists or any(group.state not in {"settled", "waits"} for group in story.groups)):
        raise click.exceptions.Exit(1)


async def told_of(settings: Settings, stream: str, entry_id: str) -> EventStory:
    """Return what is known of an event. Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`."""
    async with connect(settings) as connection:
        with stream_named(stream):
            story = await story_of(connection, stream, entry_id)
        groups = [await _state(connection, stream, group) for group in story.groups]
    replay = story.replay
    return EventStory(
        stream=stream,
        id=entry_id,
        exists=story.entry is not None,
        event=_event(story),
        replayed_for=replay.group if replay else None,
        replay_of=replay.history.id if replay else None,
        groups=groups,
    )


def _event(story: Story) -> msgspec.Raw | None:
    """Return the event's own fields, as `tail --json` shows them."""
    if story.entry is None:
        return None
    fields = story.entry.fields if story.replay is None else story.replay.fields
    return msgspec.Raw(events.for_machines(RawEntry(story.entry.id, fields)).encode())


async def _state(connection: Connection, stream: str, found: InGroup) -> GroupState:
    if found.pending is not None:
        [row] = await rows_of(connection, stream, found.group, [found.pending])
        return _pending(found, row)
    ids = [letter.id for letter in found.letters]
    if not found.is_delivered:
        return GroupState(group=found.group, state="waits", dead_letters=ids)
    if not found.letters:
        return GroupState(group=found.group, state="settled", remembered=found.is_remembered)
    last = found.letters[-1]
    return GroupState(
        group=found.group,
        state="dead letter",
        consumer=last.consumer or None,
        deliveries=last.deliveries,
        failures=last.failures,
        first_failure=last.first_failure,
        error=last.error,
        reason=last.reason,
        dead_letters=ids,
        replays=last.replays,
    )


def _pending(found: InGroup, row: PendingRow) -> GroupState:
    history = found.history
    return GroupState(
        group=found.group,
        state=row.state,
        consumer=row.consumer,
        idle=row.idle,
        deliveries=row.deliveries,
        failures=row.failures,
        first_failure=row.first_failure,
        due=row.due,
        error=row.error,
        dead_letters=[letter.id for letter in found.letters],
        replays=history.replays if history else 0,
    )


# -- for people -------------------------------------------------------------------------------------------------


def _lines(story: EventStory) -> Iterator[str]:
    yield f"{visible(story.stream)} {story.id}"
    if story.event is None:
        yield "  no such entry is in the stream: it was trimmed or deleted, or never was there"
    else:
        yield from _event_lines(msgspec.json.decode(bytes(story.event), type=dict[str, msgspec.Raw]))
    if story.replayed_for is not None:
        yield f"  a copy of {story.replay_of}, replayed for group {visible(story.replayed_for)} alone"
    yield ""
    if not story.groups:
        yield "the stream has no groups"
    yield from _group_lines(story)


def _group_lines(story: EventStory) -> Iterator[str]:
    """Yield the state in each group."""
    width = max((len(visible(group.group)) for group in story.groups), default=0)
    for group in story.groups:
        is_nowhere = group.state == "settled" and not story.exists
        told = "neither holds it nor gave up on it" if is_nowhere else _told(group)
        yield f"{visible(group.group):{width}}  {told}"
        yield from (f"{'':{width}}  {line}" for line in _more(story, group))


def _event_lines(event: dict[str, msgspec.Raw]) -> Iterator[str]:
    """Yield the fields of the event, the payload last."""
    decoded = {name: msgspec.json.decode(bytes(raw)) for name, raw in event.items() if name not in {"id", "payload"}}
    headers, fields = decoded.pop("headers", {}), decoded.pop("fields", {})
    for name, value in decoded.items():
        yield f"  {name.replace('_', ' ')}  {visible(str(value))}"
    for kind, pairs in (("header", headers), ("field", fields)):
        for name, value in pairs.items():
            yield f"  {kind} {visible(name)}  {visible(value)}"
    if "payload" in event:
        text = msgspec.json.format(bytes(event["payload"]), indent=2).decode()
        yield from (f"  {visible(line)}" for line in ("payload", *text.split("\n")))


def _told(group: GroupState) -> str:
    """Return the state in words."""
    match group.state:
        case "waits":
            return "not delivered yet"
        case "settled":
            return "settled (deduplicate remembers it)" if group.remembered else "settled, or older than the group"
        case "dead letter":
            return f"dead letter {group.dead_letters[-1]} ({group.reason or NONE})"
        case _:
            return f"{group.state} by {visible(group.consumer or NONE)} since {age(group.idle)}"


def _more(story: EventStory, group: GroupState) -> Iterator[str]:
    """Yield what else is known, and the command that shows more."""
    if group.deliveries is not None:
        first = f", first at {local_time(group.first_failure)}" if group.first_failure else ""
        yield f"deliveries {group.deliveries:,}, failures {group.failures:,}{first}, replays {group.replays:,}"
    if group.error:
        yield visible(group.error)
    if group.due is not None:
        yield f"due at {local_time(group.due)}"
    if group.state == "dead letter":
        yield f"redis-streams-aio dead-letters show {story.stream} {group.group} {group.dead_letters[-1]}"
