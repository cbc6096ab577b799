"""Completing: an entry is acknowledged together with what belongs to it, follow-ups and the mark of its event."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from ...events import keys
from ..packing import Argument, Command
from ..replies import Reply, reads
from .consumer import Consumer
from .records import FORGET
from .script import Script, Step

COMPLETE = Script(
    FORGET
    + """
-- KEYS: without an event id, the stream stands in the place of the event's key. ARGV: group, id, 'vanished' or '', ms
-- to remember the event for (or ''), then for each follow-up the number of the arguments of its XADD, and these.
-- One step: follow-ups added, event remembered, entry acknowledged; or none of it. Returns 'done'; 'before' for an
-- entry that is pending for nobody, which is left alone; 'copy' where a copy of its event was handled meanwhile. An
-- entry that vanished while it was handled is pending for nobody either: it leaves a mark, so that this is done once.
local vanished, finished = ARGV[3] ~= '', ARGV[2] .. ':finished'
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
  if not vanished or redis.pcall('HGET', KEYS[2], finished) == '1' then return 'before' end
end
if ARGV[4] ~= '' and redis.pcall('GET', KEYS[3]) == 'done' then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  forget(KEYS[2], ARGV[2])
  return 'copy'
end
local added, at = {}, 5
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
if ARGV[4] ~= '' then
  -- A full Redis refuses only a script's first write: after this one, which does nothing, SET is not refused. DEL of
  -- the mark would not do: while its slot is on its way to another node, a missing key may not be written.
  local nothing = redis.pcall('XACK', KEYS[1], ARGV[1], '0-0')
  if failed(nothing) then return undone(nothing) end
  local remembered = redis.pcall('SET', KEYS[3], 'done', 'PX', ARGV[4])
  if failed(remembered) then return undone(remembered) end
end
local acked = redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[2])
if failed(acked) then return undone(acked) end
forget(KEYS[2], ARGV[2])
if vanished then redis.pcall('HSET', KEYS[2], finished, '1') end
return 'done'
""",
    keys={"stream": "xpending xack", "failures": "hget hset hdel", "done": "get set", "follow-up*": "xadd xdel"},
)


class Completion(msgspec.Struct, frozen=True):
    """An entry that was handled, and what belongs to it."""

    id: bytes
    event_id: bytes | None
    remember: float | None
    """Seconds for which copies of the event are dropped; `None`: they are not."""
    follow_ups: Sequence[Command]
    """`XADD` commands."""
    vanished: bool = False
    """Whether the entry was deleted or trimmed while it was handled: it is pending for nobody, but ours."""


class Completed(enum.Enum):
    """The result of a completion. The entry is settled, whichever it is."""

    DONE = b"done"
    """This step acknowledged the entry, and wrote what belongs to it."""
    BEFORE = b"before"
    """Nothing was written: the entry was acknowledged before, by a try whose answer was lost or by another consumer."""
    COPY = b"copy"
    """A copy of the event was handled meanwhile: the entry is acknowledged, and nothing else was written."""


def completion(who: Consumer, done: Completion) -> Step[Completed]:
    """Acknowledge an entry together with what belongs to it."""
    mark: Argument = who.stream
    if done.event_id is not None:
        mark = keys.done(who.stream, who.group, done.event_id)
    remember = "" if done.remember is None else max(1, round(done.remember * 1000))
    vanished = "vanished" if done.vanished else ""
    touched = (who.stream, keys.failures(who.stream, who.group), mark, *(each[1] for each in done.follow_ups))
    added = [argument for each in done.follow_ups for argument in (len(each) - 2, *each[2:])]
    return Step(COMPLETE, touched, (who.group, done.id, vanished, remember, *added), completed)


@reads
def completed(reply: Reply) -> Completed:
    """The reply of `COMPLETE`."""
    return Completed(reply)
