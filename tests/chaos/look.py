"""What Redis has of each line at one moment: what its group is not done with, and its dead letters. One Lua script, so
that it can stand in one transaction with the fault that takes entries away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tests.chaos.workload import LINES, Work

SCRIPT = """
-- ARGV: for each line its stream, its group, and its stream of dead letters. Returns for each line: entries that the
-- group is not done with, the number of pending ids, dead letters.
local seen = {}
for i = 1, #ARGV, 3 do
  local open, pending, from = {}, {}, '-'
  local groups = redis.pcall('XINFO', 'GROUPS', ARGV[i])
  for _, group in ipairs(groups.err and {} or groups) do
    local about = {}
    for j = 1, #group, 2 do about[group[j]] = group[j + 1] end
    if about['name'] == ARGV[i + 1] then
      from = '(' .. about['last-delivered-id']
      pending = redis.call('XPENDING', ARGV[i], ARGV[i + 1], '-', '+', 1000000)
    end
  end
  for _, one in ipairs(pending) do
    local entry = redis.call('XRANGE', ARGV[i], one[1], one[1])
    if entry[1] then open[#open + 1] = entry[1] end
  end
  for _, entry in ipairs(redis.call('XRANGE', ARGV[i], from, '+')) do open[#open + 1] = entry end
  seen[#seen + 1] = {open, #pending, redis.call('XRANGE', ARGV[i + 2], '-', '+')}
end
return seen
"""


def command(*names: str) -> tuple[object, ...]:
    """The command that looks at some lines; at all, if none is named."""
    lines = [LINES[name] for name in names or LINES]
    return ("EVAL", SCRIPT, 0, *(part for line in lines for part in (line.stream, line.group, line.dead_letters)))


class Seen(msgspec.Struct, frozen=True):
    """What Redis has of one line."""

    open: dict[str, str]
    """Names by id of the entries that the group is not done with."""
    pending: int
    """Pending ids, also of entries that are gone."""
    dead: dict[str, tuple[str, str]]
    """By id of the dead letter the event's first id, and its name."""


def parse(reply: Sequence[Any], names: Sequence[str] = tuple(LINES)) -> dict[str, Seen]:
    """The script's reply, by the line's name."""
    return {
        name: Seen(
            open={entry_id: event_name(fields) for entry_id, fields in entries},
            pending=pending,
            dead={entry_id: (_field(fields, "dead:id"), event_name(fields)) for entry_id, fields in dead},
        )
        for name, (entries, pending, dead) in zip(names, reply, strict=True)
    }


def settled(seen: Iterable[Seen]) -> bool:
    """Whether all groups are done with all there is."""
    return not any(one.open or one.pending for one in seen)


def event_name(fields: Sequence[str]) -> str:
    """The name of the event that an entry is of."""
    return msgspec.json.decode(_field(fields, "payload"), type=Work).name


def _field(fields: Sequence[str], name: str) -> str:
    return fields[fields.index(name) + 1]
