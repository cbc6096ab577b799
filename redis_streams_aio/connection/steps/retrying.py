"""Retrying: the failures of an entry are written down beside the stream; the entry stays pending under its own id."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ...events import keys
from ..packing import Argument
from ..replies import Reply, integer, reads, words
from .consumer import NOT_OURS, Consumer, NotOurs
from .records import COMPOSE
from .script import Script, Step

RETRY = Script(
    COMPOSE
    + """
-- ARGV: group, consumer, then for each entry its id, delay in ms, failures, time of the first failure in ms (0: now),
-- error. Returns for each the time of the first failure in ms (0 when there was none), or '' when the entry is not ours
-- any more and nothing was written of it. Does not renew the lease: else the entries behind could be taken over first.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local firsts = {}
for i = 3, #ARGV, 5 do
  local id, delay, failures = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 0 then
    firsts[#firsts + 1] = ''
  else
    local first = math.min(tonumber(ARGV[i + 3]), now)  -- in the future only where the clock was set back
    if first == 0 and tonumber(failures) > 0 then first = now end
    redis.call('HSET', KEYS[2], id, composed(failures, first, now + delay, delay, ARGV[i + 4]))
    firsts[#firsts + 1] = string.format('%.0f', first)
  end
end
return firsts
""",
    keys={"stream": "xpending", "failures": "hset"},
    also="time",
)


class Failed(NamedTuple):
    """An entry that failed, or whose handler asked for it later."""

    id: bytes
    delay_ms: int
    """How long it waits for its retry."""
    failures: int
    first_ms: int
    """When it failed first, by the server's clock. 0 if unknown: its first failure is this one, or it has none."""
    error: str


def failures(who: Consumer, failed: Sequence[Failed]) -> Step[list[int | NotOurs]]:
    """Write failures; the result has for each entry the time of its first one, in ms (0: it never failed).

    All delays begin at the same moment. The result is `NOT_OURS` for an entry that another consumer has.
    """
    arguments: list[Argument] = [argument for one in failed for argument in one]
    touched = (who.stream, keys.failures(who.stream, who.group))
    return Step(RETRY, touched, (who.group, who.name, *arguments), partial(failures_written, len(failed)))


@reads
def failures_written(expected: int, reply: Reply) -> list[int | NotOurs]:
    """The reply of `RETRY` for `expected` entries."""
    return [integer(word) if word else NOT_OURS for word in words(expected, reply)]
