"""Lua scripts for groups, their consumers, and what is pending for them. See `scripts` for what holds for all.

A consumer's lease is known to the others of its group: it stands in a hash beside the stream (`naming.leases`), in
milliseconds by consumer. A take-over goes by the owner's lease, so that a deploy may change it.
"""

from __future__ import annotations

from .steps.script import Script

CREATE_GROUP = Script(
    """
-- ARGV: group, position, position of a group that was deleted on purpose. A group made at '$' is told how many entries
-- were ever added, so that its lag is known at once. Returns where it was made.
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
-- still run make it again where its start says. Returns 1 when there was one.
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
    },
)

DELETE_CONSUMER = Script(
    """
-- ARGV: group, consumer, least idle time in ms. Only without pending entries: XGROUP DELCONSUMER throws them away for
-- good (P22). Returns 1 when it was removed.
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

CLAIM = Script(
    """
-- ARGV: group, consumer, then for each entry its owner, the idle time in ms from which on it is claimed, and its id.
-- Claims those that still have that owner and are that idle: {{id, fields}, ...}, or {id} for entries that were
-- deleted. The delivery is not counted here, as this answer may be lost: the script HISTORIES counts what arrived.
local taken = {}
for i = 3, #ARGV, 3 do
  local owner, idle, id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if held and held[2] == owner and (held[3] >= idle or owner == '') then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if entry then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      entry = {id}
    end
    taken[#taken + 1] = entry
  end
end
return taken
""",
    keys={"stream": "xpending xrange xclaim xack"},
)

HISTORIES = Script(
    """
-- ARGV: group, consumer, then for each entry its id and '1' where its delivery is to be counted. Counts the deliveries
-- of what has arrived. Returns the server's time in ms, then for each id {deliveries (0: it is not ours), failure
-- record or false, history of a replayed event or false}. An entry that was released with no delivery has one now.
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

CHECKPOINT = Script(
    """
-- ARGV: group, 'store' or ''. Returns the group's checkpoint, and whether another one was stored, which it replaces.
-- One step: a replay in between would leave the stored one ahead of an entry that is pending again (P18). An error
-- when the group is not there.
local function less_one(digits)  -- digit by digit: Lua's numbers are too short for some
  local head, zeros = string.match(digits, '^(.-)(0*)$')
  local last = string.char(string.byte(head, -1) - 1)
  local less = string.gsub(string.sub(head, 1, -2) .. last .. string.rep('9', #zeros), '^0+(%d)', '%1')
  return less
end
local function previous(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq ~= '0' then return ms .. '-' .. less_one(seq) end
  if ms ~= '0' then return less_one(ms) .. '-18446744073709551615' end
  return '0-0'
end
local lowest = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
  if about['name'] == ARGV[1] then
    local checkpoint = lowest[1] and previous(lowest[1][1]) or about['last-delivered-id']
    local differs = ARGV[2] == 'store' and redis.pcall('GET', KEYS[2]) ~= checkpoint
    if differs then redis.call('SET', KEYS[2], checkpoint) end
    return {checkpoint, differs and 1 or 0}
  end
end
""",
    keys={"stream": "xpending xinfo|groups", "checkpoint": "get set"},
)
