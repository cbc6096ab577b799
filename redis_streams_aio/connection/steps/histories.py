"""Histories: how often an entry was delivered before, how often it failed, and what became of it before a replay.

Deliveries are counted here, when entries have arrived: the answer is small, and the claim that brings them counts none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..packing import Argument
from ..replies import Reply, count, integer, optional_bytes, reads, rows
from .consumer import NOT_OURS, Consumer, NotOurs
from .records import FailureRecord, parse
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

HISTORIES = Script(
    """
-- ARGV: group, consumer, then for each entry its id and '1' where its delivery is to be counted. Counts the deliveries
-- of entries that have arrived. Returns the server's time in ms, then for each id {deliveries (0: it is not ours),
-- failure record or false, history of a replayed event or false}. An entry released with no delivery has one now.
local now = redis.call('TIME')
local found = {string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))}
local most = 1000000000  -- XNACK may have set the highest number there is, which Lua cannot hold
for i = 3, #ARGV, 2 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  local deliveries = pending and math.min(pending[4], most) or 0
  if pending and deliveries < most and (ARGV[i + 1] == '1' or deliveries == 0) then
    deliveries = deliveries + 1
    redis.call(
      'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'RETRYCOUNT', string.format('%.0f', deliveries), 'JUSTID')
  end
  local record = redis.pcall('HGET', KEYS[2], ARGV[i])
  if type(record) ~= 'string' then record = false end
  local history = redis.pcall('HGET', KEYS[2], ARGV[i] .. ':history')
  if type(history) ~= 'string' then history = false end
  found[#found + 1] = {deliveries, record, history}
end
return found
""",
    keys={"stream": "xpending xclaim", "failures": "hget"},
    also="time",
)


class History(msgspec.Struct, frozen=True):
    """The history of an entry that this consumer owns."""

    deliveries: int
    """How often it was delivered, this time included."""
    failures: FailureRecord | None
    """Its failures; `None` where none is written down."""
    replay: bytes | None
    """The history of a replayed event, as `events.replays` reads it; `None` for an event that was never replayed."""


class Recalled(msgspec.Struct, frozen=True):
    """The histories of some entries, in their order."""

    now_ms: int
    """The server's time in milliseconds."""
    histories: list[History | NotOurs]


async def recall(connection: Connection, who: Consumer, entries: Sequence[tuple[bytes, bool]]) -> Recalled:
    """Return the histories of entries; for each id it is said whether a delivery is to be counted.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    arguments: list[Argument] = []
    for entry_id, counts in entries:
        arguments += (entry_id, "1" if counts else "")
    touched = (who.stream, keys.failures(who.stream, who.group))
    return recalled(len(entries), await connection.run(HISTORIES, *touched, who.group, who.name, *arguments))


@reads
def recalled(expected: int, reply: Reply) -> Recalled:
    """The reply of `HISTORIES` for `expected` entries."""
    now_ms, *found = rows(reply)
    if len(found) != expected:
        raise ValueError
    return Recalled(integer(now_ms), [_history(*rows(row)) for row in found])


def _history(deliveries: Reply, failures: Reply, replay: Reply) -> History | NotOurs:
    record, known = optional_bytes(failures), optional_bytes(replay)
    if not (times := count(deliveries)):
        return NOT_OURS
    return History(times, None if record is None else parse(record), known)
