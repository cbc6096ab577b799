"""Lua scripts: steps that must be atomic. Each checks the owner first where a lost lease must not write (P4).

All keys of a script are on one Cluster slot (`naming.sibling`). `XPENDING key group id id 1 consumer` answers
whether the consumer still owns the entry; `XCLAIM ... JUSTID` renews without counting a delivery. Times come from
the server's clock. Those for groups, consumers and what is pending are in `group_scripts`.
"""

from __future__ import annotations

from .steps.script import Script

RETRY = Script(
    """
-- ARGV: group, consumer, then for each entry its id, delay in ms, failures, time of the first failure in ms (0: now),
-- error. Returns for each the time of the first failure in ms (0 when there was none), or '' when the entry is not ours
-- any more and nothing was written of it. The lease is left as it is: entries behind must not look older than these.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local firsts = {}
for i = 3, #ARGV, 5 do
  local id, delay, failures = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 0 then
    firsts[#firsts + 1] = ''
  else
    local first = math.min(tonumber(ARGV[i + 3]), now)  -- it is not in the future, but where the clock was set back
    if first == 0 and tonumber(failures) > 0 then first = now end
    local record = string.format('%.0f %.0f %.0f %.0f ', failures, first, now + delay, delay) .. ARGV[i + 4]
    redis.call('HSET', KEYS[2], id, record)
    firsts[#firsts + 1] = string.format('%.0f', first)
  end
end
return firsts
""",
    keys={"stream": "xpending", "failures": "hset"},
    also="time",
)

DONE = b"done"
"""What stands in an event's key when one copy of it was handled."""

BEGIN_EVENTS = Script(
    """
-- ARGV: group, ms after which a key that nobody looks after is dropped, then for each event the id of the entry that is
-- about to be handled. Returns for each event who is at it: that entry, another one that is pending, or 'done'. Where
-- Redis is full, events are handled without a key, so that it is drained.
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

COMPLETE = Script(
    """
-- ARGV: group, id, ms to remember the event for (or ''), then for each follow-up the number of its arguments, and
-- these.
-- One step: follow-ups added, event remembered, entry acknowledged; or none of it. An entry that somebody has
-- acknowledged before is left alone: returns 0.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then return 0 end
if ARGV[3] ~= '' and redis.pcall('GET', KEYS[3]) == 'done' then  -- a copy came to its end while this one was handled
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.pcall('HDEL', KEYS[2], ARGV[2], ARGV[2] .. ':history')
  return 0
end
local added, at = {}, 4
local function undone(problem)  -- scripts do not roll back
  for i = 1, #added do redis.pcall('XDEL', KEYS[i + 3], added[i]) end
  return problem
end
local function failed(answer) return type(answer) == 'table' and answer.err end
for i = 4, #KEYS do
  local count = tonumber(ARGV[at])
  local id = redis.pcall('XADD', KEYS[i], unpack(ARGV, at + 1, at + count))
  if failed(id) then return undone(id) end
  added[#added + 1] = id
  at = at + count + 1
end
if ARGV[3] ~= '' then
  redis.pcall('DEL', KEYS[3])  -- and SET is not refused for memory then (only a script's first write is): it is drained
  local remembered = redis.pcall('SET', KEYS[3], 'done', 'PX', ARGV[3])
  if failed(remembered) then return undone(remembered) end
end
local acked = redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[2])
if failed(acked) then
  if ARGV[3] ~= '' then redis.pcall('DEL', KEYS[3]) end
  return undone(acked)
end
redis.pcall('HDEL', KEYS[2], ARGV[2], ARGV[2] .. ':history')
return 1
""",
    keys={"stream": "xpending xack", "failures": "hdel", "done": "get set del", "follow-up*": "xadd xdel"},
)

DEAD_LETTER = Script(
    """
-- ARGV: group, consumer, id, most dead letters to keep (or ''), ms to keep them (or ''), then the dead letter's fields
-- and values. One step: written there and acknowledged here (P12).
-- Returns the dead letter's id, or '' when the entry is not ours any more and nothing was written.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return '' end
local dead = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 6))
local acked = redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[3])
if type(acked) == 'table' and acked.err then  -- not permitted, say: scripts do not roll back, so it is undone here
  redis.pcall('XDEL', KEYS[3], dead)
  return acked
end
redis.pcall('HDEL', KEYS[2], ARGV[3], ARGV[3] .. ':history')
if ARGV[4] ~= '' then redis.pcall('XTRIM', KEYS[3], 'MAXLEN', '=', ARGV[4]) end
if ARGV[5] ~= '' then
  local time = redis.call('TIME')
  redis.pcall('XTRIM', KEYS[3], 'MINID', '=', string.format('%.0f', time[1] * 1000 - ARGV[5]))
end
return dead
""",
    keys={"stream": "xpending xack", "failures": "hdel", "dead_letters": "xadd xdel xtrim"},
    also="time",
)

REPLAY = Script(
    """
-- ARGV: group, dead letter's id, id of the event, whom to leave it with, its history, the id right before the event's,
-- then the fields and values of a copy. One step: handed to the group again, and taken from the dead letters. A stored
-- checkpoint that is beyond an entry which is pending again goes back before it (P18). Returns 'gone' when there is no
-- such dead letter, 'in place' when the entry is still in its stream, else 'copied'. Scripts do not roll back: what may
-- be refused comes first, or is undone.
local function beyond(id, other)  -- digit by digit: Lua's numbers are too short for some sequences
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  if not ms then return false end
  if ms ~= other_ms then return #ms > #other_ms or (#ms == #other_ms and ms > other_ms) end
  return #seq > #other_seq or (#seq == #other_seq and seq > other_seq)
end
if #redis.call('XRANGE', KEYS[3], ARGV[2], ARGV[2]) == 0 then return 'gone' end
if redis.acl_check_cmd and not redis.acl_check_cmd('XDEL', KEYS[3], ARGV[2]) then
  return redis.error_reply('NOPERM the user may not run XDEL on ' .. KEYS[3])
end
local last
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
  if about['name'] == ARGV[1] then last = about['last-delivered-id'] end
end
if not last then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[1]) end
local how = 'in place'
if #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 7))
  how = 'copied'
elseif #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1) == 0
    and #redis.call('XRANGE', KEYS[1], '(' .. last, ARGV[3], 'COUNT', 1) == 0 then
  -- neither in somebody's hands nor still to be delivered: pending again, as one that was given back
  redis.call('HDEL', KEYS[2], ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[3] .. ':history', ARGV[5])
  local claimed = redis.pcall(
    'XCLAIM', KEYS[1], ARGV[1], ARGV[4], 0, ARGV[3], 'IDLE', 86400000, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
  if claimed.err then
    redis.pcall('HDEL', KEYS[2], ARGV[3] .. ':history')
    return claimed
  end
  redis.pcall('INCR', KEYS[5])
  local checkpoint = redis.pcall('GET', KEYS[4])
  if type(checkpoint) == 'string' and beyond(checkpoint, ARGV[6]) then redis.pcall('SET', KEYS[4], ARGV[6]) end
end
redis.call('XDEL', KEYS[3], ARGV[2])
return how
""",
    keys={
        "stream": "xinfo|groups xrange xadd xpending xclaim",
        "failures": "hset hdel",
        "dead_letters": "xrange xdel",
        "checkpoint": "get set",
        "releases": "incr",
    },
)

RELEASE = Script(
    """
-- ARGV: group, consumer, whom to leave them with, then pairs of id and the delivery count to leave behind. Makes the
-- entries claimable at once, and counts that it did, for others to see; the delivery is not counted. Returns how many,
-- those included that lie there already as an earlier answer was lost, and the ids whose entries were deleted.
local released, gone = 0, {}
for i = 4, #ARGV, 2 do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
    local claimed = redis.call(
      'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[i], 'IDLE', 86400000, 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
    if #claimed == 1 then released = released + 1 else gone[#gone + 1] = ARGV[i] end
  elseif #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[3]) == 1 then
    released = released + 1
  end
end
if released > 0 then redis.pcall('INCR', KEYS[2]) end
return {released, gone}
""",
    keys={"stream": "xpending xclaim", "releases": "incr"},
)
