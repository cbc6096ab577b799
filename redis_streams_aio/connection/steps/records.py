"""Failure records: the one place that knows their form. They stand in a hash beside the stream (`keys.failures`).

One field by entry id has the text `failures first_ms due_ms delay_ms error`; times are the server's. A second one,
`<entry id>:history`, has the history of an event that was replayed from the dead letters. `<entry id>:finished` marks
an entry that vanished while it was handled, and whose follow-ups were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...checks.times import LONGEST_DELAY
from ...events import keys
from ..packing import Command
from ..replies import Reply, optional_bytes, reads, rows
from .consumer import Consumer

if TYPE_CHECKING:
    from ..connection import Connection

COMPOSE = """
local function composed(failures, first, due, delay, error)
  return string.format('%.0f %.0f %.0f %.0f ', failures, first, due, delay) .. error
end
"""
"""Lua that writes a record."""
PARSE = """
local function parsed(record)  -- failures, first, due, delay, error; nil for another text
  return string.match(record, '^(%d+) (%d+) (%d+) (%d+) (.*)$')
end
"""
"""Lua that reads a record."""
FORGET = """
local function forget(failures, id) redis.pcall('HDEL', failures, id, id .. ':history') end
"""
"""Lua that forgets what is known of an entry. A user who may not do so leaves it there."""

_RECORD = re.compile(rb"(\d{1,10}) (\d{1,14}) (\d{1,14}) (\d{1,12}) (.*)", re.DOTALL)


class FailureRecord(NamedTuple):
    """An entry's failures as Redis knows them; times are its clock's, in epoch milliseconds."""

    failures: int
    first_ms: int
    due_ms: int
    delay_ms: int
    """The delay that was decided, which ends at `due_ms`."""
    error: str


def parse(record: bytes) -> FailureRecord | None:
    """Read a failure record; `None` for a text that was not written by us."""
    match = _RECORD.fullmatch(record)
    if match is None:
        return None
    *numbers, error = match.groups()
    failures, first_ms, due_ms, delay_ms = map(int, numbers)
    if delay_ms > LONGEST_DELAY * 1000:
        return None  # longer than any retry waits
    return FailureRecord(failures, first_ms, due_ms, delay_ms, error.decode("utf-8", "replace"))


async def failure_records(
    connection: Connection, stream: str, group: str, ids: Sequence[str]
) -> list[FailureRecord | None]:
    """Return the failure record of each entry, `None` where there is none.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    if not ids:
        return []
    return records_read(len(ids), await connection.call("HMGET", keys.failures(stream, group), *ids))


@reads
def records_read(expected: int, reply: Reply) -> list[FailureRecord | None]:
    """The reply of `HMGET` for `expected` entries."""
    found = [optional_bytes(record) for record in rows(reply)]
    if len(found) != expected:
        raise ValueError
    return [None if record is None else parse(record) for record in found]


def forget(who: Consumer, ids: Iterable[bytes]) -> Command:
    """The command that forgets what Redis knows of the failures and replays of entries that are settled or gone."""
    known = tuple(ids)
    return ("HDEL", keys.failures(who.stream, who.group), *known, *(entry_id + b":history" for entry_id in known))
