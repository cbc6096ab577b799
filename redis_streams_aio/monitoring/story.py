"""Tell what became of one event in each group, as far as Redis still knows.

Redis keeps no history: who handled an event, and which events followed from it, is not stored. Known are the entry
itself; whether a group has not been given it yet, holds it, or has settled it; failures while it waits; dead letters;
and earlier lives of an event that was replayed. A group that was created after the event looks as if it had settled it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ..connection import Connection, replies
from ..connection.replies import RawEntry
from ..connection.steps.describing import describe_groups
from ..connection.steps.pending import pending
from ..events import entry_ids, keys, replays, wire_format
from ..exceptions import RedisStreamsError
from ..models import DeadLetterMessage, GroupInfo, History, PendingMessage
from .dead_letters import DeadLetters

LETTERS = 10_000
"""The most dead letters of a group that are searched for the event."""
_PAGE = 100


class InGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an event in one group."""

    group: str
    is_delivered: bool
    """Whether the group's position is beyond the event. It is also for events from before the group."""
    pending: PendingMessage | None = None
    letters: list[DeadLetterMessage] = []
    """The dead letters of the event: more than one, if it was replayed in the meantime by another program."""
    history: History | None = None
    """The history of an event that was replayed, while it is pending."""
    is_remembered: bool = False
    """Whether `deduplicate` remembers that it was handled."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and its state in all groups."""

    entry: RawEntry | None
    """`None`: no such entry is in the stream (any more)."""
    replay: replays.Replay | None
    """Set where the entry is a copy that was added for one group."""
    groups: list[InGroup]


async def story_of(connection: Connection, stream: str, entry_id: str) -> Story:
    """Return what is known of an event.

    Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
    """
    groups = await describe_groups(connection, stream)
    found = replies.entries(await connection.call("XRANGE", stream, entry_id, entry_id))
    entry = found[0] if found else None
    replay = replays.unwrap(entry.fields or []) if entry else None
    ids = {entry_id} if replay is None else {entry_id, replay.history.id}
    event_id = _event_id(entry, replay)
    states = [await _in_group(connection, stream, group, entry_id, ids) for group in groups]
    if event_id is not None:
        states = [await _remembered(connection, stream, state, event_id) for state in states]
    return Story(entry=entry, replay=replay, groups=states)


async def _in_group(connection: Connection, stream: str, group: GroupInfo, entry_id: str, ids: set[str]) -> InGroup:
    if entry_ids.parse(group.last_delivered_id) < entry_ids.parse(entry_id):
        return InGroup(group=group.name, is_delivered=False)
    held = [each for each in await pending(connection, stream, group.name, 1, start=entry_id) if each.id == entry_id]
    return InGroup(
        group=group.name,
        is_delivered=True,
        pending=held[0] if held else None,
        letters=await _letters(DeadLetters(connection, stream, group.name), entry_id, ids),
        history=await _history(connection, stream, group.name, entry_id) if held else None,
    )


async def _letters(letters: DeadLetters, entry_id: str, ids: set[str]) -> list[DeadLetterMessage]:
    """Return the event's dead letters; they are younger than the event, if its id is a time."""
    born = entry_ids.timestamp(entry_id)
    since = born if born <= datetime.now(UTC) else None
    found: list[DeadLetterMessage] = []
    after: str | None = None
    for _ in range(LETTERS // _PAGE):
        page = await letters.list(since=since, after=after, count=_PAGE)
        found += [letter for letter in page if letter.entry_id in ids]
        if len(page) < _PAGE:
            break
        after = page[-1].id
    return found


async def _history(connection: Connection, stream: str, group: str, entry_id: str) -> History | None:
    reply = await connection.call("HMGET", keys.failures(stream, group), f"{entry_id}:history")
    [text] = replies.rows(reply)
    return replays.decode(text) if isinstance(text, bytes) else None


def _event_id(entry: RawEntry | None, replay: replays.Replay | None) -> bytes | None:
    if entry is None or entry.fields is None:
        return None
    return wire_format.get(entry.fields if replay is None else replay.fields, wire_format.EVENT_ID)


async def _remembered(connection: Connection, stream: str, state: InGroup, event_id: bytes) -> InGroup:
    """Add whether `deduplicate` remembers the event; not where the user may not ask."""
    try:
        mark = await connection.call("GET", keys.done(stream, state.group, event_id))
    except RedisStreamsError:
        return state
    return msgspec.structs.replace(state, is_remembered=mark == b"done")
