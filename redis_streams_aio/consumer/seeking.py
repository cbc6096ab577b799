"""Seek: move a group back, so that events are delivered again, or forward, so that events are skipped.

The move is one atomic step (`connection.steps.seeking`). Around it, entries are counted: those between the old and the
new position that are still in the stream. Nothing changes between the old position and the end, so the count holds
although others publish meanwhile; entries that consumers read between the count and the step are counted after it.

How many entries the group has read at the new position follows from the count, so that its lag is known at once. More
than `COUNTED_AT_MOST` entries are not counted: then the report says so, and Redis does not know the lag either.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ..connection import Connection
from ..connection.steps import describing
from ..connection.steps.pending import after, pending_page
from ..connection.steps.script import Step
from ..connection.steps.seeking import Sought, count_between, seeking
from ..connection.steps.sending import run_step
from ..events import entry_ids
from ..exceptions import GroupNotFoundError
from ..models import GroupInfo, SeekReport, StreamInfo

COUNTED_AT_MOST = 1_000_000
"""The most entries that are counted: that takes Redis about a second, in steps of a millisecond."""
_PAGE = 1000


class Planned(NamedTuple):
    """A seek that has not happened."""

    report: SeekReport
    """The result that it would have now."""
    step: Step[Sought]


async def seek(connection: Connection, stream: str, group: str, to: str | datetime) -> SeekReport:
    """Move a group. Raises `ConfigError`, `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`."""
    expected, step = await plan(connection, stream, group, to)
    done = await run_step(connection, step)
    moved = expected.again + expected.skipped
    if (done.before, done.position) != (expected.before, expected.position):  # others read, or published, meanwhile
        moved = await _between(connection, stream, done.before, done.position)
    return _report(stream, group, done, moved)


async def plan(connection: Connection, stream: str, group: str, to: str | datetime) -> Planned:
    """Say what a move would do. Raises what `seek` raises."""
    target = entry_ids.start_position(to)
    info = await describing.describe_stream(connection, stream)
    here = await _group(connection, stream, group)
    there = _clamped(target, info)
    moved = await _between(connection, stream, here.last_delivered_id, there)
    would_be = Sought(here.last_delivered_id, there, await _pending_behind(connection, stream, group, there))
    return Planned(
        _report(stream, group, would_be, moved),
        seeking(stream, group, there if target != entry_ids.END else target, _entries_read(here, there, moved)),
    )


async def _between(connection: Connection, stream: str, one: str, other: str) -> int:
    first, last = sorted((one, other), key=entry_ids.parse)
    return await count_between(connection, stream, first, last, COUNTED_AT_MOST)


async def _group(connection: Connection, stream: str, group: str) -> GroupInfo:
    for info in await describing.describe_groups(connection, stream):
        if info.name == group:
            return info
    raise GroupNotFoundError(f"stream {stream!r} has no group {group!r}")


def _clamped(target: str, info: StreamInfo) -> str:
    """Return the position as an id; the end of the stream for `$`, and for an id beyond it."""
    end = info.last_generated_id
    if target == entry_ids.END or entry_ids.parse(target) >= entry_ids.parse(end):
        return end
    return "{}-{}".format(*entry_ids.parse(target))


def _entries_read(here: GroupInfo, there: str, moved: int) -> int | None:
    """Return how many entries the group has read at its new position; `None` if that is unknown."""
    if here.entries_read is None or moved >= COUNTED_AT_MOST:
        return None
    forward = entry_ids.parse(there) > entry_ids.parse(here.last_delivered_id)
    return max(0, here.entries_read + (moved if forward else -moved))


def _report(stream: str, group: str, sought: Sought, moved: int) -> SeekReport:
    forward = entry_ids.parse(sought.position) > entry_ids.parse(sought.before)
    return SeekReport(
        stream=stream,
        group=group,
        before=sought.before,
        position=sought.position,
        again=0 if forward else moved,
        skipped=moved if forward else 0,
        pending_again=sought.released,
        is_exact=moved < COUNTED_AT_MOST,
    )


async def _pending_behind(connection: Connection, stream: str, group: str, position: str) -> int:
    """Count the pending entries behind a position."""
    total = 0
    start: str | None = after(position)
    while start is not None:
        page = await pending_page(connection, stream, group, _PAGE, start=start, idle=0)
        total, start = total + len(page.found), page.next
    return total
