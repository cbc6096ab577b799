"""Returning: entries with failures or a replay on record that a group has still to deliver.

Records belong to entries that were delivered. Where one is ahead of the group, the group was lost and is recreated at
its checkpoint: the entry comes once more, as a new one, and is not a new one for its handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...events import entry_ids, keys
from ..replies import Reply, checked_id, count, reads, rows
from .consumer import Consumer
from .positions import BEYOND, LAST_DELIVERED
from .script import Script
from .sweeping import FIRST_PAGE

if TYPE_CHECKING:
    from ..connection import Connection

PAGE = 1000
"""About how many records one step looks at: a third of a millisecond of the server's time."""
NOWHERE = b"0-0"

RETURNING = Script(
    BEYOND
    + LAST_DELIVERED
    + """
-- ARGV: group, cursor of the page of records, about how many are on it. Returns the cursor of the next page, the id
-- that the group has delivered last, and the latest id on the page, if it is later than that one; else that one. Where
-- nothing is left to deliver, there is no need to look.
local last = last_delivered(KEYS[1], ARGV[1])
local largest = '18446744073709551615-18446744073709551615'  -- another program may have written a field
if not last then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[1]) end
if #redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1) == 0 then return {'0', last, last} end
local latest, page = last, redis.pcall('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
if page.err then return {'0', last, last} end  -- not permitted, or no hash
for i = 1, #page[2], 2 do
  local id = string.match(page[2][i], '^(%d+%-%d+)$') or string.match(page[2][i], '^(%d+%-%d+):%l+$')
  if id and beyond(id, latest) and not beyond(id, largest) then latest = id end
end
return {page[1], last, latest}
""",
    keys={"stream": "xinfo|groups xrange", "failures": "hscan"},
)


class Position(NamedTuple):
    """Where a group is, and up to where it delivers entries that are on record."""

    delivered: bytes
    """The id that the group has delivered last."""
    returning: bytes
    """The latest id on record, if the group has still to deliver it; else the one delivered last."""


async def position(connection: Connection, who: Consumer) -> Position:
    """Return where a group is. Raises `StreamNotFoundError`, `RedisUnavailableError`, `ServerError`."""
    touched = (who.stream, keys.failures(who.stream, who.group))
    page, latest = FIRST_PAGE, NOWHERE
    while True:
        page, found = located(await connection.run(RETURNING, *touched, who.group, page, PAGE))
        latest = found.returning if entry_ids.is_later(found.returning, latest) else latest
        if page == FIRST_PAGE:
            return Position(found.delivered, latest)


@reads
def located(reply: Reply) -> tuple[int, Position]:
    """The reply of `RETURNING`: the next page, and the position as far as this page tells it."""
    next_page, delivered, returning = rows(reply)
    return count(next_page), Position(checked_id(delivered), checked_id(returning))
