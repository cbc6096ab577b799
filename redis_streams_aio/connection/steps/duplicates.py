"""Duplicates: the key of an event says how far the event has come (`deduplicate=`)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...events import keys
from ..packing import Argument
from ..replies import Reply, reads, words
from .consumer import Consumer
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

BEGIN_EVENTS = Script(
    """
-- ARGV: group, ms after which a key that nobody looks after is dropped, then for each event the id of the entry that is
-- about to be handled. Returns for each event the entry that is being handled: that one, or another one that is
-- pending; or 'done'. Where Redis is full, events are handled without a key, so that the stream is drained.
local holders = {}
for i = 2, #KEYS do
  local entry, holder = ARGV[i + 1], redis.pcall('GET', KEYS[i])
  if type(holder) ~= 'string' then holder = entry end
  if holder ~= entry and holder ~= 'done' then
    local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], holder, holder, 1)
    if pending.err or #pending == 0 then holder = entry end  -- given up, or gone
  end
  if holder == entry then
    local written = redis.pcall('SET', KEYS[i], entry, 'PX', ARGV[2])
    if written.err and not string.find(written.err, 'OOM') then return written end
  end
  holders[i - 1] = holder
end
return holders
""",
    keys={"stream": "xpending", "done*": "get set"},
)


class Begun(enum.Enum):
    """Whether an event may be handled now."""

    OURS = enum.auto()
    """The entry may be handled: it is the only one of the event, or the first."""
    COPY_IS_PENDING = enum.auto()
    """Another entry of the same event is handled, or waits for its retry."""
    DONE = enum.auto()
    """Another entry of the same event was handled."""


async def begin_events(
    connection: Connection, who: Consumer, events: Sequence[tuple[bytes, bytes]], forgotten_after_ms: int
) -> list[Begun]:
    """Begin events: each has an event id, and the id of its entry, which is about to be handled.

    A key that was begun and never ended is dropped after `forgotten_after_ms`. Raises `RedisUnavailableError`,
    `ServerError`.
    """
    marks = [keys.done(who.stream, who.group, event_id) for event_id, _ in events]
    entry_ids = [entry_id for _, entry_id in events]
    touched: list[Argument] = [who.stream, *marks]
    arguments: list[Argument] = [who.group, forgotten_after_ms, *entry_ids]
    reply = await connection.run(BEGIN_EVENTS, *touched, *arguments, keys=len(touched), purpose="settle")
    return begun(entry_ids, reply)


@reads
def begun(entry_ids: Sequence[bytes], reply: Reply) -> list[Begun]:
    """The reply of `BEGIN_EVENTS` for these entries."""
    holders = words(len(entry_ids), reply)
    return [_begun(entry_id, holder) for entry_id, holder in zip(entry_ids, holders, strict=True)]


def _begun(entry_id: bytes, holder: bytes) -> Begun:
    if holder == entry_id:
        return Begun.OURS
    return Begun.DONE if holder == b"done" else Begun.COPY_IS_PENDING
