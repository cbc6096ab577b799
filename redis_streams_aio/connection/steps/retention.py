"""Retention: one step looks at every group of a stream, and deletes the oldest entries that may go.

Looking and deleting are one atomic step, so a group that is created, moved back, or given an entry to handle is seen.
The *place* of a group is the oldest entry that it has not settled: the lowest id that is pending, or the first that it
has not read if that is lower. Entries before the places of all groups are settled by all.

A step deletes at most about `MOST` entries, so it takes Redis less than a millisecond; `more` says that another one is
due. It counts what it takes from each group by the replies of `XTRIM` alone, without reading payloads: it deletes up to
one group's place after the other.

Beside the stream, a hash (`keys.retention`) remembers who sweeps and until when, how the stream was after the last
step, and for each group its place and the last id that it read, with the times since when. When things fail:

* The answer was lost: entries are gone and no fact counts them; the next step goes on.
* The process is gone: another one sweeps when the turn is over, and goes on with what the hash says.
* The group was lost: it counts for `GONE_FOR_MS` more, as its consumers recreate it at its checkpoint.
* Nobody swept for a while: that time does not count for a group that reads nothing.
* The hash was deleted: all times begin again, so no group counts as abandoned too early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..packing import Argument
from ..replies import Reply, array, checked_id, count, integer, reads, row, text
from .places import PLACES
from .positions import BEYOND
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection

MOST = 1_000
"""Entries that one step deletes at most, apart from the rest of a node (about 100 entries)."""
MOST_BYTES = 4_000_000
"""About as many bytes one step deletes at most, where that is more than 8 entries; the oldest tells their size."""
GONE_FOR_MS = 600_000
"""Milliseconds for which a group that is lost, or was deleted, still counts."""
REMEMBERED_MS = 864_000_000
"""Milliseconds after the last step for which the hash stays: ten days."""

_DELETE = """
-- what others took since the last step: publishers do, by `MAXLEN`
local missing = (stream['entries-added'] - (noted['added'] or 0)) + (noted['length'] or 0) - length
if noted['first'] and missing > 0 and beyond(first, noted['first']) then
  for _, group in ipairs(groups) do
    if group.read ~= '-' and beyond(first, group.next) then
      group.before = missing
      if beyond(group.next, noted['first']) and group.entries_read ~= '' then
        group.before = math.min(missing, math.max(0, stream['entries-added'] - group.entries_read - length))
      end
    end
    group.before = group.before + pending_between(group, noted['first'], first)
  end
end

local function take(target, counter, left)
  local from, stops, taken = first, {target}, 0
  for _, group in ipairs(groups) do
    if beyond(target, group.next) then stops[#stops + 1] = group.next end
  end
  table.sort(stops, function(one, other) return beyond(other, one) end)
  for _, stop in ipairs(stops) do
    if more == 1 or left < 1 then break end
    local gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', stop, 'LIMIT', math.min(left, most))
    if gone == 0 and most < 100 and left == math.huge then  -- large entries, of which a node has many all the same
      gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', stop, 'LIMIT', 100)
    end
    if gone > 0 then
      more = 1
    elseif left == math.huge then  -- the rest of one node
      gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', stop)
    end
    for _, group in ipairs(groups) do
      if group.read ~= '-' and beyond(stop, group.next) then group[counter] = group[counter] + gone end
    end
    taken, left = taken + gone, left - gone
  end
  if taken == 0 then return end
  trimmed, length = trimmed + taken, length - taken
  first = first_of(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1])
  for _, group in ipairs(groups) do group[counter] = group[counter] + pending_between(group, from, first) end
end
local function ago(ms) return whole(math.max(0, now - ms)) .. '-0' end
if ARGV[4] ~= '' and floor then
  local left = ARGV[5] ~= '' and length - ARGV[5] or math.huge
  take(earlier(floor, tonumber(ARGV[4]) > 0 and ago(ARGV[4]) or floor), 'abandoned', left)
end
if ARGV[6] ~= '' and more == 0 then take(ago(ARGV[6]), 'by_age', math.huge) end

if ARGV[1] ~= '' then
  local state = {'by', ARGV[1], 'until', whole(now + ARGV[2]), 'first', first, 'length', length,
    'added', stream['entries-added']}
  for _, group in ipairs(groups) do
    if group.read ~= '-' or group.counts then
      state[#state + 1] = 'group:' .. group.name
      state[#state + 1] = table.concat({group.place, whole(group.placed), group.read, whole(group.stood)}, ' ')
    end
  end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], unpack(state))
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
  if ARGV[7] ~= '' then redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[7], 'LIMIT', most) end
end
local told = {}
for i, group in ipairs(groups) do
  told[i] = {group.name, group.read, group.place, whole(group.placed), whole(group.stood), group.counts and 1 or 0,
    group.pending, group.entries_read, group.before, group.by_age, group.abandoned}
end
return {whole(now), ARGV[1], more, trimmed, length, stream['entries-added'], first, newest, told}
"""
"""Lua that deletes, remembers, and tells: the second half."""

SWEEP = Script(
    BEYOND
    + """
-- ARGV: who sweeps ('': by hand, has no turn and remembers nothing), ms that the turn lasts, most entries to delete, ms
-- that settled entries stay (or ''), entries that deleting settled ones leaves (or ''), ms that other entries stay (or
-- ''), most entries of the stream (or ''), ms after which a group that reads nothing does not count (or ''), ms for
-- which a group that is gone counts, ms for which all is remembered, most bytes to delete, then names of groups that
-- count also where they do not exist. Returns the time and whose turn it is; and if it is ours, whether there is more
-- to do, how many entries were deleted, how the stream is now, and the groups.
"""
    + PLACES
    + _DELETE,
    keys={
        "stream": "xinfo|stream xinfo|groups xpending xtrim xrange",
        "retention": "hgetall del hset pexpire",
    },
    also="time",
)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules by which a step deletes entries. Times are seconds."""

    keep_settled: float | None = None
    """The age from which entries that all groups have settled go; `None`: they stay."""
    leave: int | None = None
    """The number of entries that deleting settled ones leaves in the stream, at least."""
    max_age: float | None = None
    max_length: int | None = None
    abandoned_after: float | None = None
    groups: Sequence[str] = ()
    """Groups that count also where they do not exist."""


class GroupState(msgspec.Struct, frozen=True):
    """A group, as a step found it. Times are milliseconds of the server's clock."""

    name: str
    read: str
    """The last delivered id; `-` where the group does not exist."""
    place: str
    """The oldest id that the group has not settled; where all are settled, the next id that could come."""
    placed_ms: int
    """Since when the place is the same."""
    stood_ms: int
    """Since when the group has entries to read and reads none."""
    counts: bool
    pending: int
    entries_read: int | None
    taken_before: int
    """Entries that it had not settled, and that publishers and others trimmed since the step before."""
    taken_by_age: int
    """Entries that it had not settled, and that this step deleted by their age."""
    taken_abandoned: int
    """The same, because the group no longer counts."""


class Swept(msgspec.Struct, frozen=True):
    """The result of a step."""

    now_ms: int
    more: bool
    trimmed: int
    length: int
    added: int
    """How many entries were ever added."""
    first: str
    """The oldest id that is left; where none is, the next one after all that were."""
    last: str
    groups: list[GroupState]


def sweeping(stream: str, rules: Rules, who: str = "", turn: float = 0.0) -> Step[Swept | None]:
    """Delete what may go; the result is `None` where the stream does not exist, or another process has its turn.

    Without `who` turns do not matter, and nothing is remembered.
    """
    arguments: tuple[Argument, ...] = (
        who,
        round(turn * 1000),
        MOST,
        _ms(rules.keep_settled),
        _or_empty(rules.leave),
        _ms(rules.max_age),
        _or_empty(rules.max_length),
        _ms(rules.abandoned_after),
        GONE_FOR_MS,
        REMEMBERED_MS,
        MOST_BYTES,
        *rules.groups,
    )
    return Step(SWEEP, (stream, keys.retention(stream)), arguments, swept)


async def sweep(connection: Connection, step: Step[Swept | None]) -> Swept | None:
    """Take a step of a sweep. Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`."""
    return step.read(await connection.run(step.script, *step.keys, *step.arguments))


def _ms(seconds: float | None) -> Argument:
    return "" if seconds is None else round(seconds * 1000)


def _or_empty(number: int | None) -> Argument:
    return "" if number is None else number


@reads
def swept(reply: Reply) -> Swept | None:
    """The reply of `SWEEP`."""
    items = row(reply)
    if len(items) == 2:  # not our turn, or no stream
        return None
    now, _, more, trimmed, length, added, first, last, groups = items
    ends = checked_id(first).decode(), checked_id(last).decode()
    states = [_state(row(each)) for each in array(groups)]
    return Swept(count(now), more == 1, count(trimmed), count(length), count(added), *ends, states)


def _state(items: list[Reply]) -> GroupState:
    name, read, place, placed, stood, counts, pending, entries_read, before, by_age, abandoned = items
    return GroupState(
        name=text(name),
        read=text(read),
        place=checked_id(place).decode(),
        placed_ms=count(placed),
        stood_ms=count(stood),
        counts=counts == 1,
        pending=count(pending),
        entries_read=None if entries_read == b"" else integer(entries_read),
        taken_before=count(before),
        taken_by_age=count(by_age),
        taken_abandoned=count(abandoned),
    )
