"""Places: Lua that finds out how far each group of a stream is, and since when.

It is the first half of the step that deletes what a stream no longer keeps (`retention.py`), which has its arguments.
"""

from __future__ import annotations

PLACES = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
local function by_name(flat)
  local about = {}
  for i = 1, #flat, 2 do about[flat[i]] = flat[i + 1] end
  return about
end
local noted = ARGV[1] == '' and {} or by_name(redis.call('HGETALL', KEYS[2]))
if noted['by'] and noted['by'] ~= ARGV[1] and tonumber(noted['until']) > now then return {whole(now), noted['by']} end
local stream = redis.pcall('XINFO', 'STREAM', KEYS[1])
if stream.err then return string.find(stream.err, 'no such key') and {whole(now), ''} or stream end
stream = by_name(stream)
local function after(id)  -- the next id; a sequence beyond what Lua can count stays as it is
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(seq) < 9007199254740991 and ms .. '-' .. whole(seq + 1) or id
end
local function earlier(id, other) return beyond(id, other) and other or id end
local newest = stream['last-entry'] and stream['last-entry'][1] or '0-0'
local function first_of(entry) return entry and entry[1] or after(stream['last-generated-id']) end
local function bytes_of(entry)
  local sum = 1
  for _, word in ipairs(entry and entry[2] or {}) do sum = sum + #word end
  return sum
end
local most = math.max(8, math.min(tonumber(ARGV[3]), math.floor(ARGV[11] / bytes_of(stream['first-entry']))))
local first, length, trimmed, more = first_of(stream['first-entry']), stream['length'], 0, 0

local groups, floor = {}, nil
local unswept = noted['until'] and math.max(0, now - noted['until']) or 0
local function add(group, gone_for)
  local place, placed, read, stood = string.match(noted['group:' .. group.name] or '', '^(%S+) (%d+) (%S+) (%d+)$')
  group.placed = place == group.place and tonumber(placed) or now
  local stands = read == group.read and (read == '-' or beyond(newest, read))
  group.stood = stands and math.min(now, stood + unswept) or now
  group.counts = not gone_for or now - group.stood < gone_for
  group.before, group.by_age, group.abandoned = 0, 0, 0
  if group.counts then floor = floor and earlier(floor, group.place) or group.place end
  groups[#groups + 1] = group
end
local absent, abandoned_after = {}, tonumber(ARGV[8])
for name in pairs(noted) do
  local group = string.match(name, '^group:(.*)$')
  if group then absent[group] = tonumber(ARGV[9]) end
end
for i = 12, #ARGV do absent[ARGV[i]] = abandoned_after or math.huge end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = by_name(flat)
  local group = {name = about['name'], read = about['last-delivered-id'], pending = about['pending']}
  group.entries_read = about['entries-read'] or ''
  group.next = after(group.read)
  group.place = group.next
  if beyond(newest, group.read) then  -- no further than its first unread entry
    group.place = redis.call('XRANGE', KEYS[1], group.next, '+', 'COUNT', 1)[1][1]
  end
  if group.pending > 0 then
    group.lowest = redis.call('XPENDING', KEYS[1], group.name, '-', '+', 1)[1][1]
    group.place = earlier(group.place, group.lowest)
  end
  absent[group.name] = nil
  add(group, abandoned_after)
end
for name, gone_for in pairs(absent) do
  add({name = name, read = '-', pending = 0, entries_read = '', next = '0-1', place = '0-1'}, gone_for)
end
local function pending_between(group, from, to)
  if not group.lowest or not beyond(to, group.lowest) then return 0 end
  return #redis.call('XPENDING', KEYS[1], group.name, from, '(' .. to, 1000)
end
"""
"""Lua that leaves a stream and its groups in variables; or ends the script, where another process has its turn."""
