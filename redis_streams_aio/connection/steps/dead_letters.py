"""Dead letters: an entry is moved to the stream of dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ...events.dead_letter import IDENTITY
from ..packing import Argument
from ..replies import Reply, checked_id, clock, reads
from .consumer import NOT_OURS, Consumer, NotOurs
from .records import FORGET
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection

DEAD_LETTER = Script(
    FORGET
    + """
-- ARGV: group, consumer, id, most dead letters to keep (or ''), ms to keep them (or ''), how many of the newest letters
-- are searched for this one, how many of the items at their end tell that it is, then the dead letter's fields and
-- values. One step: written there and acknowledged here. Returns the dead letter's id, also where an earlier try wrote
-- it whose answer was lost; or '' when the entry is not ours any more and nothing was written.
local function is_the_same(letter)
  for i = 0, tonumber(ARGV[7]) - 1 do
    if letter[#letter - i] ~= ARGV[#ARGV - i] then return false end
  end
  return true
end
local function written_before()
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1) > 0 then return '' end  -- another consumer's
  local before = '+'
  for _ = 1, tonumber(ARGV[6]) do  -- one by one: letters may be large
    local letter = redis.pcall('XREVRANGE', KEYS[3], before, '-', 'COUNT', 1)[1]
    if not letter then break end  -- the last one, or not permitted
    if is_the_same(letter[2]) then return letter[1] end
    before = '(' .. letter[1]
  end
  return ''
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return written_before() end
local dead = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 8))
local acked = redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[3])
if type(acked) == 'table' and acked.err then  -- not permitted, for example: scripts do not roll back, so undo it here
  redis.pcall('XDEL', KEYS[3], dead)
  return acked
end
forget(KEYS[2], ARGV[3])
if ARGV[4] ~= '' then redis.pcall('XTRIM', KEYS[3], 'MAXLEN', '=', ARGV[4]) end
if ARGV[5] ~= '' then
  local time = redis.call('TIME')
  redis.pcall('XTRIM', KEYS[3], 'MINID', '=', string.format('%.0f', time[1] * 1000 - ARGV[5]))
end
return dead
""",
    keys={"stream": "xpending xack", "failures": "hdel", "dead_letters": "xadd xrevrange xdel xtrim"},
    also="time",
)


NEWEST = 100
"""Letters among which one is searched whose answer was lost: it was written a moment ago."""


class DeadLetterOptions(msgspec.Struct, frozen=True):
    """Where dead letters go, and how many are kept for how long."""

    stream: str
    maxlen: int | None = None
    retention: float | None = None
    """Seconds."""


def letter(
    who: Consumer, moved: bytes, fields: Sequence[Argument], options: DeadLetterOptions, *, tried: bool = False
) -> Step[str | NotOurs]:
    """Add a dead letter with these fields and values, and acknowledge its entry; the result is the dead letter's id.

    `tried`: the same letter was sent before, and no answer came. If the entry is not pending any more, the letter is
    searched among the newest ones: where it is found, its id is the result.
    """
    touched = (who.stream, keys.failures(who.stream, who.group), options.stream)
    most = "" if options.maxlen is None else options.maxlen
    kept_ms = "" if options.retention is None else round(options.retention * 1000)
    searched = NEWEST if tried else 0
    arguments = (who.group, who.name, moved, most, kept_ms, searched, IDENTITY, *fields)
    return Step(DEAD_LETTER, touched, arguments, dead_lettered)


@reads
def dead_lettered(reply: Reply) -> str | NotOurs:
    """The reply of `DEAD_LETTER`."""
    return NOT_OURS if reply == b"" else checked_id(reply).decode()


async def trim_dead_letters(connection: Connection, options: DeadLetterOptions) -> None:
    """Drop dead letters that are past their time, and those beyond the bound, also when no new ones come.

    Raises `RedisUnavailableError`, `ServerError`.
    """
    if options.retention is not None:
        now = clock(await connection.link("control", options.stream).call("TIME"))  # of the node that made their ids
        oldest = int(now) - options.retention
        await connection.call("XTRIM", options.stream, "MINID", "=", max(0, round(oldest * 1000)))
    if options.maxlen is not None:
        await connection.call("XTRIM", options.stream, "MAXLEN", "=", options.maxlen)
