"""Sweeping: records of failures and replays are dropped once their entries are settled.

A process that settles an entry forgets its records. They stay where it did not know of them: it was frozen while
another process failed on the entry, or a person acknowledged the entry. Each sweep looks at one page of records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..replies import Reply, count, pair, reads
from .consumer import Consumer
from .positions import BEYOND, LAST_DELIVERED
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

PAGE = 100
"""About how many records a sweep looks at: a fifth of a millisecond of the server's time."""
FIRST_PAGE = 0

SWEEP = Script(
    BEYOND
    + LAST_DELIVERED
    + """
-- ARGV: group, cursor of the page, about how many records are on it. Drops those of entries that were delivered and are
-- pending for nobody. Entries behind the group's last delivered id are still to come, or come again after the group was
-- lost. Returns the cursor of the next page and how many records were dropped.
local last = last_delivered(KEYS[1], ARGV[1])
if not last then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[1]) end
local page = redis.pcall('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
if page.err then return {'0', 0} end  -- not permitted, or no hash: they stay
local settled = {}
for i = 1, #page[2], 2 do
  local id = string.match(page[2][i], '^(%d+%-%d+)$') or string.match(page[2][i], '^(%d+%-%d+):%l+$')
  if id and not beyond(id, last) then
    local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)
    if not pending.err and #pending == 0 then settled[#settled + 1] = page[2][i] end
  end
end
if #settled > 0 then redis.pcall('HDEL', KEYS[2], unpack(settled)) end
return {page[1], #settled}
""",
    keys={"stream": "xinfo|groups xpending", "failures": "hscan hdel"},
)


class Swept(msgspec.Struct, frozen=True):
    """The result of a sweep."""

    next_page: int
    """The cursor of the next page; `FIRST_PAGE` after the last one."""
    dropped: int
    """How many records were dropped."""


async def sweep(connection: Connection, who: Consumer, page: int) -> Swept:
    """Drop the records of settled entries on a page.

    Raises `StreamNotFoundError` where the group is lost: its entries may come again. Raises `RedisUnavailableError`,
    `ServerError`.
    """
    touched = (who.stream, keys.failures(who.stream, who.group))
    return swept(await connection.run(SWEEP, *touched, who.group, page, PAGE))


@reads
def swept(reply: Reply) -> Swept:
    """The reply of `SWEEP`."""
    next_page, dropped = pair(reply)
    return Swept(count(next_page), count(dropped))
