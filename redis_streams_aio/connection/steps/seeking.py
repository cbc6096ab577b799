"""Seeking: a group is moved to another position, with everything that stands beside the stream about the way there.

After a move back, entries behind the position are delivered again, as new ones. Entries among them that are pending
cannot stay so: they are acknowledged in the same step, and what is known of their failures, their replays and their due
times is forgotten. Pending entries at the position or before it stay with their consumers. The stored checkpoint, if
there is one, becomes the group's checkpoint at its new position, so that it is never ahead of an unsettled entry.

When things fail: the position is moved first, and what follows only forgets what the next delivery brings again. Where
a user may not do that, entries stay pending until they are read again, and then belong to the consumer that read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..packing import Argument
from ..replies import Reply, array, checked_id, how_many, reads, rows, text
from .positions import BEYOND, LAST_DELIVERED, PREVIOUS
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection

COUNTED_AT_ONCE = 1000
"""Entries that one step counts: about a millisecond of the server's time for entries of 1 KiB."""

SEEK = Script(
    BEYOND
    + LAST_DELIVERED
    + PREVIOUS
    + """
-- ARGV: group, position, how many entries the group has read there ('' where that is unknown). '$', or a position that
-- is not before the end, is the end: a group beyond it would skip entries that are yet to come. Returns the position
-- before, the position now, and how many pending entries are delivered again.
local before = last_delivered(KEYS[1], ARGV[1])
if not before then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[1]) end
local about, info = {}, redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do about[info[i]] = info[i + 1] end
local position, read = ARGV[2], ARGV[3]
if position == '$' or not beyond(about['last-generated-id'], position) then
  position, read = about['last-generated-id'], about['entries-added']
end
if read == '' then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], position)
else
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], position, 'ENTRIESREAD', read)
end
local released = 0
while true do
  local ids, records, members = {}, {}, {}
  for i, held in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '(' .. position, '+', 1000)) do
    local ms, seq = string.match(held[1], '^(%d+)-(%d+)$')
    ids[i], members[i] = held[1], string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
    records[#records + 1] = held[1]
    records[#records + 1] = held[1] .. ':history'
    records[#records + 1] = held[1] .. ':finished'
  end
  if #ids == 0 then break end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
  redis.pcall('HDEL', KEYS[2], unpack(records))
  redis.pcall('ZREM', KEYS[3], unpack(members))
  released = released + #ids
end
local lowest = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)
local checkpoint = lowest[1] and previous(lowest[1][1]) or last_delivered(KEYS[1], ARGV[1])
if type(redis.pcall('GET', KEYS[4])) == 'string' and redis.pcall('SET', KEYS[4], checkpoint).err then
  redis.pcall('DEL', KEYS[4])  -- a full Redis refuses to write it; without it, nothing is too far ahead
end
return {before, last_delivered(KEYS[1], ARGV[1]), released}
""",
    keys={
        "stream": "xinfo|groups xinfo|stream xgroup|setid xpending xack",
        "failures": "hdel",
        "parked": "zrem",
        "checkpoint": "get set del",
    },
)

COUNT = Script(
    """
-- ARGV: first id, last id, the most entries to count. Returns how many there are, and the id of the last one counted.
local page = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, #page > 0 and page[#page][1] or ''}
""",
    keys={"stream": "xrange"},
)


class Sought(msgspec.Struct, frozen=True):
    """The result of a seek."""

    before: str
    """The id that the group had delivered last."""
    position: str
    """The id after which it reads on."""
    released: int
    """How many pending entries are delivered again, because they are behind the position."""


def seeking(stream: str, group: str, position: str, entries_read: int | None) -> Step[Sought]:
    """Move a group to a position; `$` is the end of the stream. Pending entries behind it are delivered again."""
    touched = (stream, *(key(stream, group) for key in (keys.failures, keys.parked, keys.checkpoint)))
    arguments: tuple[Argument, ...] = (group, position, "" if entries_read is None else entries_read)
    return Step(SEEK, touched, arguments, sought)


async def count_between(connection: Connection, stream: str, after: str, until: str, most: int) -> int:
    """Count the entries after an id, up to another one; at most about `most`, with a step for every thousand.

    Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
    """
    total = 0
    while total < most:
        reply = await connection.run(COUNT, stream, f"({after}", until, COUNTED_AT_ONCE)
        found, last = counted(reply)
        total += found
        if found < COUNTED_AT_ONCE:
            break
        after = last
    return total


@reads
def sought(reply: Reply) -> Sought:
    """The reply of `SEEK`."""
    before, position, released = rows(reply)
    return Sought(checked_id(before).decode(), checked_id(position).decode(), how_many(released))


@reads
def counted(reply: Reply) -> tuple[int, str]:
    """The reply of `COUNT`."""
    found, last = array(reply)
    return how_many(found), text(last)
