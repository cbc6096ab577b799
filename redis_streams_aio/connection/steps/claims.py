"""Claims: pending entries of another consumer, which is gone or has released them, get a new owner and are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..replies import RawEntry, Reply, entry, reads, rows
from .consumer import Consumer
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

CLAIM = Script(
    """
-- ARGV: group, consumer, then for each entry its owner, the idle time in ms from which on it is claimed, and its id.
-- Claims entries that still have that owner and are that idle: returns {{id, fields}, ...}, or {id} for an entry that
-- was deleted. The delivery is not counted here, as this answer may be lost: the step HISTORIES counts what arrived.
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


class Claim(NamedTuple):
    """An entry that is to be claimed."""

    owner: str
    idle_ms: int
    """For how long it must have been idle."""
    id: bytes


class Claimed(msgspec.Struct, frozen=True):
    """The result of a claim. Entries in neither list have another owner by now, or were renewed."""

    entries: list[RawEntry]
    gone: list[bytes]
    """Ids of entries that were deleted: they are acknowledged."""


async def claim(connection: Connection, who: Consumer, claims: Sequence[Claim]) -> Claimed:
    """Claim entries for a consumer. Raises `RedisUnavailableError`, `ServerError`."""
    arguments = [argument for one in claims for argument in one]
    return claimed(await connection.run(CLAIM, who.stream, who.group, who.name, *arguments))


@reads
def claimed(reply: Reply) -> Claimed:
    """The reply of `CLAIM`."""
    found = [_claimed(*rows(row)) for row in rows(reply)]
    return Claimed(
        [each for each in found if each.fields is not None], [each.id for each in found if each.fields is None]
    )


def _claimed(entry_id: Reply, *fields: Reply) -> RawEntry:
    return entry(entry_id, *(fields or [None]))
