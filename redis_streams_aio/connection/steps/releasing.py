"""Releasing: entries get the reserved consumer name `redis_streams_aio:released`, and can be claimed at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...events import keys
from ..replies import Reply, count, ids, pair, reads
from .consumer import Consumer
from .script import Script, Step

RELEASE = Script(
    """
-- ARGV: group, consumer, the name that they get, then pairs of id and the delivery count to leave behind. The name
-- makes the entries claimable at once; others see that by a count. The delivery is not counted. Returns how many lie
-- there, also those whose earlier answer was lost, and the ids of deleted entries. Gives no IDLE: from 8.4 on Redis
-- keeps pending entries ordered by time, and would walk over all of them for each that is put far back.
local released, gone = 0, {}
for i = 4, #ARGV, 2 do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
    local claimed = redis.call(
      'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[i], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
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


class Released(msgspec.Struct, frozen=True):
    """The result of a release. The entries in neither number were not ours any more."""

    count: int
    """How many lie there now."""
    gone: list[bytes]
    """Ids of entries that were deleted."""


def release(who: Consumer, entries: Sequence[tuple[bytes, int]]) -> Step[Released]:
    """Release a consumer's entries: their ids, and the number of deliveries that each is to have."""
    touched = (who.stream, keys.releases(who.stream, who.group))
    pairs = [item for entry in entries for item in entry]
    return Step(RELEASE, touched, (who.group, who.name, keys.RELEASED, *pairs), released)


@reads
def released(reply: Reply) -> Released:
    """The reply of `RELEASE`."""
    number, gone = pair(reply)
    return Released(count(number), ids(gone))
