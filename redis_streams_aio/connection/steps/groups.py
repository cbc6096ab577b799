"""Groups: created where they belong, deleted with all that is known of them; names of consumers that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...events import keys
from ..replies import Reply, integer, reads, text
from .consumer import Consumer
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

CREATE_GROUP = Script(
    """
-- ARGV: group, position, position of a group that was deleted on purpose. A group created at '$' is told how many
-- entries were ever added, so that its lag is known at once. Returns where the group was created.
local position = ARGV[2]
if type(redis.pcall('GET', KEYS[2])) == 'string' then position = ARGV[3] end
if position == '$' then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then
      redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], '$', 'ENTRIESREAD', info[i + 1])
    elseif info[i] == 'last-generated-id' then
      position = info[i + 1]
    end
  end
else
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], position, 'MKSTREAM')
end
redis.pcall('DEL', KEYS[2])
return position
""",
    keys={"stream": "xgroup|create xgroup|setid xinfo|stream", "deleted": "get del"},
)

DELETE_GROUP = Script(
    """
-- ARGV: group, ms for which the mark stays. One step: the group goes with all that is known of it, and consumers that
-- still run recreate it where its start says. Returns 1 when there was one.
local destroyed = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
if type(destroyed) == 'table' and destroyed.err then
  if not string.find(destroyed.err, 'requires the key to exist') then return destroyed end
  destroyed = 0
end
redis.call('UNLINK', unpack(KEYS, 3))
if destroyed == 1 then redis.call('SET', KEYS[2], '1', 'PX', ARGV[2]) end
return destroyed
""",
    keys={
        "stream": "xgroup|destroy",
        "deleted": "set",
        "checkpoint": "unlink",
        "failures": "unlink",
        "releases": "unlink",
        "leases": "unlink",
        "parked": "unlink",
        "controls": "unlink",
    },
)

DELETE_CONSUMER = Script(
    """
-- ARGV: group, consumer, least idle time in ms. Only without pending entries: XGROUP DELCONSUMER throws them away for
-- good. Returns 1 when it was removed.
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = {}
  for i = 1, #consumer, 2 do about[consumer[i]] = consumer[i + 1] end
  if about['name'] == ARGV[2] then
    if about['pending'] > 0 or about['idle'] < tonumber(ARGV[3]) then return 0 end
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    removed = 1
  end
end
redis.pcall('HDEL', KEYS[2], ARGV[2])
return removed
""",
    keys={"stream": "xinfo|consumers xgroup|delconsumer", "leases": "hdel"},
)


async def create_group(connection: Connection, stream: str, group: str, position: str, start: str) -> str:
    """Create a group, and its stream if need be; return the position at which it was created.

    That is `position`, or `start` where the group was deleted on purpose. Raises `GroupExistsError`,
    `RedisUnavailableError`, `ServerError`.
    """
    return created(await connection.run(CREATE_GROUP, stream, keys.deleted(stream, group), group, position, start))


@reads
def created(reply: Reply) -> str:
    """The reply of `CREATE_GROUP`."""
    if not isinstance(reply, bytes):
        raise TypeError
    return text(reply)


async def delete_group(connection: Connection, stream: str, group: str, marked_for_ms: int) -> bool:
    """Delete a group with the keys it has beside the stream; whether there was one.

    A mark stays, so that consumers that still run recreate the group at its start. Raises `RedisUnavailableError`,
    `ServerError`.
    """
    beside = (keys.deleted, keys.checkpoint, keys.failures, keys.releases, keys.leases, keys.parked, keys.controls)
    touched = (stream, *(key(stream, group) for key in beside))
    return deleted(await connection.run(DELETE_GROUP, *touched, group, marked_for_ms))


async def delete_consumer(connection: Connection, consumer: Consumer, idle_ms: int) -> bool:
    """Remove a consumer's name if nothing is pending for it and it has been idle for so long; whether it was removed.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    stream, group, name = consumer
    return deleted(await connection.run(DELETE_CONSUMER, stream, keys.leases(stream, group), group, name, idle_ms))


@reads
def deleted(reply: Reply) -> bool:
    """The reply of `DELETE_GROUP` and `DELETE_CONSUMER`."""
    return {0: False, 1: True}[integer(reply)]
