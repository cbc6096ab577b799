"""Parking: entries that wait for long wait in Redis, held by nobody, until a consumer of the group takes them when due.

A parked entry stays pending, under the reserved consumer name `redis_streams_aio:parked`. A sorted set beside the
stream (`keys.parked`) has the time at which it is due, in milliseconds of the server's clock. Members of the set are
entry ids padded with zeros, so entries that are due at the same moment are in the order of their ids.

An entry belongs to that name as long as it is in the set: both change in one atomic step. When things fail:

* The answer to `park` was lost: parking again finds the entry parked, and changes nothing.
* The answer to `take_due` was lost: the entries belong to the consumer that asked, which finds them among its own.
* The set was deleted: `unlisted` tells which parked entries are in it no longer; they are taken as released ones are.
* The group was lost: its entries come again, and members that say nothing are dropped when due, or by `sweep_parked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ...events import entry_ids, keys
from ..packing import Argument, Command
from ..replies import RawEntry, Reply, count, ids, optional_bytes, reads, rows
from .claims import claimed
from .consumer import Consumer
from .records import FORGET
from .script import Script, Step
from .sweeping import FIRST_PAGE, Swept, swept

SWEPT = 100
"""About how many members of the set one step looks at: half a millisecond of the server's time."""

_PADDED = """
local function id_of(member)  -- nil for a member that is not ours
  local ms, seq = string.match(member, '^0*(%d+)%-0*(%d+)$')
  return ms and ms .. '-' .. seq
end
"""
_OWNER = """
local function owner_of(stream, group, id)  -- nil where it is pending for nobody; an error where there is no group
  local held = redis.pcall('XPENDING', stream, group, id, id, 1)
  if held.err and not string.find(held.err, 'Invalid stream ID') then return held end
  return held[1] and held[1][2]
end
"""

PARK = Script(
    _PADDED
    + """
-- ARGV: group, consumer, the name that they get, then for each entry its member in the set, the time when it is due,
-- and the delivery count to leave behind. Returns the ids of the entries that are parked now, also those whose earlier
-- answer was lost, and the ids of deleted entries. The set comes first: it may refuse.
local parked, gone = {}, {}
for i = 4, #ARGV, 3 do
  local id = id_of(ARGV[i])
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if held and held[2] == ARGV[3] then
    parked[#parked + 1] = id
  elseif held and held[2] == ARGV[2] then
    redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
    local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, id, 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    if #claimed == 1 then
      parked[#parked + 1] = id
    else
      redis.call('ZREM', KEYS[2], ARGV[i])
      gone[#gone + 1] = id
    end
  end
end
return {parked, gone}
""",
    keys={"stream": "xpending xclaim", "parked": "zadd zrem"},
)

TAKE_DUE = Script(
    FORGET
    + _PADDED
    + _OWNER
    + """
-- ARGV: group, consumer, the name of parked entries, most entries to take. Returns the server's time in ms, when the
-- next parked entry is due ('' where there is none), and of those that were due {id, fields}, or {id} for a deleted
-- one.
-- The delivery is not counted here, as this answer may be lost: the step HISTORIES counts what arrived.
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local taken = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[4])) do
  local id = id_of(member)
  local owner = id and owner_of(KEYS[1], ARGV[1], id)
  if type(owner) == 'table' then return owner end
  if owner == ARGV[3] then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if entry then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      forget(KEYS[3], id)
      entry = {id}
    end
    taken[#taken + 1] = entry
  end
  redis.call('ZREM', KEYS[2], member)
end
local first = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
local due = first and string.format('%.0f', math.min(math.max(tonumber(first) or 0, 0), 9007199254740992)) or ''
return {now, due, taken}
""",
    keys={
        "stream": "xpending xrange xclaim xack",
        "parked": "zrangebyscore zrem",
        "failures": "hdel",
    },
    also="time",
)

SWEEP_PARKED = Script(
    _PADDED
    + _OWNER
    + """
-- ARGV: group, the name of parked entries, cursor of the page, about how many members are on it. Drops members whose
-- entries are not parked: they are settled, or were delivered again after the group was lost. Returns the cursor of the
-- next page and how many members were dropped.
local page = redis.pcall('ZSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
if page.err then return {'0', 0} end  -- not permitted, or no sorted set
local dropped = 0
for i = 1, #page[2], 2 do
  local id = id_of(page[2][i])
  local owner = id and owner_of(KEYS[1], ARGV[1], id)
  if type(owner) == 'table' then return owner end
  if owner ~= ARGV[2] then
    redis.call('ZREM', KEYS[2], page[2][i])
    dropped = dropped + 1
  end
end
return {page[1], dropped}
""",
    keys={"stream": "xpending", "parked": "zscan zrem"},
)


class Parking(NamedTuple):
    """An entry that is to be parked."""

    id: bytes
    due_ms: int
    """When it is due, by the server's clock."""
    deliveries: int
    """The number of deliveries that it is to have: its own is not counted where no handler has seen it."""


class Parked(msgspec.Struct, frozen=True):
    """The result of parking. Entries in neither list were not ours any more."""

    ids: list[bytes]
    gone: list[bytes]
    """Ids of entries that were deleted."""


class Due(msgspec.Struct, frozen=True):
    """Parked entries that were due, in the order of due time and id: they belong to the consumer that took them."""

    now_ms: int
    """The server's time."""
    next_ms: int | None
    """When the next entry is due, which may be now; `None` where none is parked."""
    entries: list[RawEntry]
    gone: list[bytes]
    """Ids of entries that were deleted: they are acknowledged and forgotten."""


def park(who: Consumer, entries: Sequence[Parking]) -> Step[Parked]:
    """Park a consumer's entries."""
    touched = (who.stream, keys.parked(who.stream, who.group))
    arguments = [argument for one in entries for argument in (_member(one.id), one.due_ms, one.deliveries)]
    return Step(PARK, touched, (who.group, who.name, keys.PARKED, *arguments), parked)


def take_due(who: Consumer, room: int) -> Step[Due]:
    """Take up to `room` parked entries that are due for a consumer, those first that are due first."""
    touched = (who.stream, keys.parked(who.stream, who.group), keys.failures(who.stream, who.group))
    return Step(TAKE_DUE, touched, (who.group, who.name, keys.PARKED, room), due)


def sweep_parked(who: Consumer, page: int = FIRST_PAGE) -> Step[Swept]:
    """Drop members of the set whose entries are not parked, on a page."""
    touched = (who.stream, keys.parked(who.stream, who.group))
    return Step(SWEEP_PARKED, touched, (who.group, keys.PARKED, page, SWEPT), swept)


def due_times(who: Consumer, parked_ids: Sequence[bytes]) -> Command:
    """Return the command that asks for the due times of some entries; `unlisted` reads its reply."""
    members: list[Argument] = list(map(_member, parked_ids))
    return ("ZMSCORE", keys.parked(who.stream, who.group), *members)


@reads
def unlisted(parked_ids: Sequence[bytes], reply: Reply) -> list[bytes]:
    """The reply of `due_times`: those of the entries that are in the set no longer."""
    scores = map(optional_bytes, rows(reply))
    return [entry_id for entry_id, score in zip(parked_ids, scores, strict=True) if score is None]


def _member(entry_id: bytes) -> bytes:
    ms, seq = entry_ids.parse(entry_id.decode())
    return b"%020d-%020d" % (ms, seq)


@reads
def parked(reply: Reply) -> Parked:
    """The reply of `PARK`."""
    listed, gone = rows(reply)
    return Parked(ids(listed), ids(gone))


@reads
def due(reply: Reply) -> Due:
    """The reply of `TAKE_DUE`."""
    now_ms, next_ms, taken = rows(reply)
    found = claimed(taken)
    return Due(count(now_ms), None if next_ms == b"" else count(next_ms), found.entries, found.gone)
