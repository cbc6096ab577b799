"""Gone: entries that were read from a stream, and that it does not know of any more: its history went backwards.

Redis replicates asynchronously, and may write to disk later than it answers. A replica that is promoted, or a server
that restarts, may lack the last entries. Entries that were deleted or trimmed look alike, so only an entry counts that

* is later than all ids that the stream has given out, or
* is missing though it is later than the first entry and than all that was deleted. Redis keeps the id of the latest
  deleted entry; but from 8.2 on, `XTRIM ... ACKED` deletes without a trace, so this is not asked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..replies import Reply, how_many, reads
from .positions import BEYOND
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

GONE = Script(
    BEYOND
    + """
-- ARGV: ids. Returns how many of them are gone.
local about, info = {}, redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do about[info[i]] = info[i + 1] end
local version = redis.REDIS_VERSION_NUM or math.huge
local first, deleted = about['first-entry'], version < 0x00080200 and about['max-deleted-entry-id']
local function is_gone(id)
  if beyond(id, about['last-generated-id']) then return true end
  if not first or not deleted or not beyond(id, first[1]) or not beyond(id, deleted) then return false end
  return #redis.call('XRANGE', KEYS[1], id, id) == 0
end
local gone = 0
for _, id in ipairs(ARGV) do
  if is_gone(id) then gone = gone + 1 end
end
return gone
""",
    keys={"stream": "xinfo|stream xrange"},
)


async def gone(connection: Connection, stream: str, ids: Sequence[bytes]) -> int:
    """Return how many of the entries are gone. Raises `StreamNotFoundError`, `RedisUnavailableError`, `ServerError`."""
    return gone_of(await connection.run(GONE, stream, *ids))


@reads
def gone_of(reply: Reply) -> int:
    """The reply of `GONE`."""
    return how_many(reply)
