"""Groups: created where they belong, copied, deleted with all that is known of them; consumers that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ...models import GroupUse
from ..replies import Reply, array, checked_id, how_many, integer, pair, reads, text
from .consumer import Consumer
from .script import Script, Step
from .sending import run_step

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

COPY_GROUP = Script(
    """
-- ARGV: the new group, the group to copy, the name of released entries. One step: the new group stands where the other
-- one stands, and what is pending there is pending here, as released entries are. Returns the position, and how many
-- entries are pending. An error where the new group exists, or the other one does not.
local position, read
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
  if about['name'] == ARGV[2] then position, read = about['last-delivered-id'], about['entries-read'] end
end
if not position then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[2]) end
if read then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], position, 'ENTRIESREAD', read)
else
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], position)
end
local copied, start = 0, '-'
while true do
  local held, ids = redis.call('XPENDING', KEYS[1], ARGV[2], start, '+', 1000), {}
  if #held == 0 then break end
  for i, one in ipairs(held) do ids[i] = one[1] end
  start = '(' .. ids[#ids]
  ids[#ids + 1] = 'RETRYCOUNT'
  ids[#ids + 1] = '0'
  ids[#ids + 1] = 'FORCE'
  ids[#ids + 1] = 'JUSTID'
  copied = copied + #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, unpack(ids))
end
redis.pcall('DEL', KEYS[2])
redis.pcall('DEL', KEYS[3])
return {position, copied}
""",
    keys={
        "stream": "xinfo|groups xgroup|create xpending xclaim",
        "deleted": "del",
        "checkpoint": "del",
    },
)

_LIVING = """
local function living(stream, leases, group, otherwise)  -- consumers that asked for entries within their lease
  -- Redis 7.0 tells when a consumer last got entries, not when it asked: there a consumer with a lease lives.
  local found = {}
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local about = {}
    for i = 1, #consumer, 2 do about[consumer[i]] = consumer[i + 1] end
    local lease = redis.pcall('HGET', leases, about['name'])
    local told = type(lease) == 'string'
    local within = about['idle'] < (tonumber(told and lease or otherwise) or 0)
    local is_ours = string.find(about['name'], 'redis_streams_aio:', 1, true) == 1
    if not is_ours and (within or (told and not about['inactive'])) then found[#found + 1] = about['name'] end
  end
  return found
end
"""

USE = Script(
    _LIVING
    + """
-- ARGV: group, the lease in ms of consumers that have told none. Returns how many entries are pending, and the names of
-- living consumers.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])[1]
return {pending, living(KEYS[1], KEYS[2], ARGV[1], ARGV[2])}
""",
    keys={"stream": "xpending xinfo|consumers", "leases": "hget"},
)

DELETE_GROUP = Script(
    _LIVING
    + """
-- ARGV: group, ms for which the mark stays, 'unused' or '', the lease in ms of consumers that have told none. One
-- step: the group goes with all that is known of it, and consumers that still run recreate
-- it where its start says. Returns 1 when it was deleted, 0 when there was none, or when only an unused group was to
-- go and this one has pending entries or a living consumer.
if ARGV[3] == 'unused' then
  local summary = redis.pcall('XPENDING', KEYS[1], ARGV[1])
  if not summary.err and (summary[1] > 0 or #living(KEYS[1], KEYS[5], ARGV[1], ARGV[4]) > 0) then return 0 end
end
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
        "stream": "xgroup|destroy xpending xinfo|consumers",
        "deleted": "set",
        "checkpoint": "unlink",
        "failures": "unlink",
        "leases": "unlink hget",
        "releases": "unlink",
        "parked": "unlink",
        "controls": "unlink",
    },
)
_LEASE_OF_OTHERS = 30_000
"""Milliseconds for which a consumer that told no lease counts as living after it last asked for entries."""

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
    return await run_step(connection, creating(stream, group, position, start))


def creating(stream: str, group: str, position: str, start: str) -> Step[str]:
    """Return the step that creates a group at `position`, or at `start` where it was deleted on purpose."""
    return Step(CREATE_GROUP, (stream, keys.deleted(stream, group)), (group, position, start), created)


@reads
def created(reply: Reply) -> str:
    """The reply of `CREATE_GROUP`."""
    if not isinstance(reply, bytes):
        raise TypeError
    return text(reply)


class Copied(msgspec.Struct, frozen=True):
    """The result of copying a group."""

    position: str
    pending: int
    """How many entries are pending in the new group, for its first consumer to take over."""


def copying(stream: str, group: str, source: str) -> Step[Copied]:
    """Return the step that creates a group at the position of another one, with the same entries pending."""
    touched = (stream, keys.deleted(stream, group), keys.checkpoint(stream, group))
    return Step(COPY_GROUP, touched, (group, source, keys.RELEASED), copied)


@reads
def copied(reply: Reply) -> Copied:
    """The reply of `COPY_GROUP`."""
    position, pending = pair(reply)
    return Copied(checked_id(position).decode(), how_many(pending))


def deleting(stream: str, group: str, marked_for_ms: int, *, only_unused: bool = False) -> Step[bool]:
    """Return the step that deletes a group with the keys it has beside the stream; its result: whether it did.

    A mark stays, so that consumers that still run recreate the group at its start. With `only_unused`, a group with
    pending entries or a living consumer stays.
    """
    beside = (keys.deleted, keys.checkpoint, keys.failures, keys.leases, keys.releases, keys.parked, keys.controls)
    touched = (stream, *(key(stream, group) for key in beside))
    return Step(
        DELETE_GROUP,
        touched,
        (group, marked_for_ms, "unused" if only_unused else "", _LEASE_OF_OTHERS),
        deleted,
    )


async def delete_group(
    connection: Connection, stream: str, group: str, marked_for_ms: int, *, only_unused: bool = False
) -> bool:
    """Delete a group, as `deleting` says. Raises `RedisUnavailableError`, `ServerError`."""
    return await run_step(connection, deleting(stream, group, marked_for_ms, only_unused=only_unused))


async def use_of(connection: Connection, stream: str, group: str) -> GroupUse:
    """Return who uses a group now. Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`."""
    touched = (stream, keys.leases(stream, group))
    return used(await connection.run(USE, *touched, group, _LEASE_OF_OTHERS))


@reads
def used(reply: Reply) -> GroupUse:
    """The reply of `USE`."""
    pending, living = pair(reply)
    return GroupUse(how_many(pending), tuple(map(text, array(living))))


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
