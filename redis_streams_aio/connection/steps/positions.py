"""Positions in a stream: Lua for the scripts that compare entry ids, and ask how far a group has read."""

from __future__ import annotations

BEYOND = """
local function beyond(id, other)  -- digit by digit: Lua's numbers are too short for some sequences
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  if not ms then return false end
  if ms ~= other_ms then return #ms > #other_ms or (#ms == #other_ms and ms > other_ms) end
  return #seq > #other_seq or (#seq == #other_seq and seq > other_seq)
end
"""
"""Lua that says whether an id is later than another one."""
LAST_DELIVERED = """
local function last_delivered(stream, name)
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local about = {}
    for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
    if about['name'] == name then return about['last-delivered-id'] end
  end
end
"""
"""Lua that returns a group's last delivered id; nil where the group does not exist."""
PREVIOUS = """
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
"""
"""Lua that returns the id directly before another one."""
