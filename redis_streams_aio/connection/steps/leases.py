"""Leases: consumers renew what they hold, and let the others of their group know how long their lease is.

A consumer's lease stands in a hash beside the stream (`keys.leases`), in milliseconds by consumer. A take-over goes by
the owner's lease, so that a deploy may change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..packing import Command
from ..replies import Reply, ids, mapping, pair, reads
from .consumer import Consumer
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection

_LONGEST_LEASE = 366 * 86_400_000
"""Milliseconds that are believed."""

_NOTE = """
-- Notes a consumer's lease. A user who may not write it does without: the others go by their own lease then.
local function note(leases, releases, consumer, lease)
  if redis.pcall('HGET', leases, consumer) == lease then return end
  local written = redis.pcall('HSET', leases, consumer, lease)
  if type(written) == 'number' then redis.pcall('INCR', releases) end  -- the others look again once it can be gone
end
"""

NOTE_LEASE = Script(
    _NOTE
    + """
-- ARGV: consumer, its lease in ms.
note(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
""",
    keys={"leases": "hget hset", "releases": "incr"},
)

RENEW = Script(
    _NOTE
    + """
-- ARGV: group, consumer, its lease in ms, ids. Returns the ids that are still ours, and those of deleted entries.
local kept, gone = {}, {}
for i = 4, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
    local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    local list = #claimed == 1 and kept or gone
    list[#list + 1] = ARGV[i]
  end
end
note(KEYS[2], KEYS[3], ARGV[2], ARGV[3])
return {kept, gone}
""",
    keys={"stream": "xpending xclaim", "leases": "hget hset", "releases": "incr"},
)


class Renewed(msgspec.Struct, frozen=True):
    """The result of a renewal. Entries in neither list are another consumer's by now, or settled."""

    kept: list[bytes]
    gone: list[bytes]
    """Ids of entries that were deleted."""


async def note_lease(connection: Connection, who: Consumer, lease_ms: int) -> None:
    """Let the other consumers of the group know a consumer's lease. Raises `RedisUnavailableError`, `ServerError`."""
    touched = (keys.leases(who.stream, who.group), keys.releases(who.stream, who.group))
    await connection.run(NOTE_LEASE, *touched, who.name, lease_ms)


async def known_leases(connection: Connection, who: Consumer) -> dict[str, float]:
    """The leases of the group's consumers, in seconds. Raises `RedisUnavailableError`, `ServerError`."""
    return leases(await connection.call("HGETALL", keys.leases(who.stream, who.group)))


def forget_leases(who: Consumer, names: Iterable[str]) -> Command:
    """The command that forgets the leases of consumers of the group."""
    return ("HDEL", keys.leases(who.stream, who.group), *names)


def renewal(who: Consumer, lease_ms: int, held: Sequence[bytes]) -> Step[Renewed]:
    """Renew what a consumer holds, and let the others know its lease."""
    stream, group, name = who
    touched = (stream, keys.leases(stream, group), keys.releases(stream, group))
    return Step(RENEW, touched, (group, name, lease_ms, *held), renewed)


@reads
def renewed(reply: Reply) -> Renewed:
    """The reply of `RENEW`."""
    kept, gone = pair(reply)
    return Renewed(ids(kept), ids(gone))


@reads
def leases(reply: Reply) -> dict[str, float]:
    """The hash of leases: seconds by consumer. Values that cannot be a lease are left out."""
    return {
        name: int(value) / 1000
        for name, value in mapping(reply).items()
        if isinstance(value, bytes) and value.isdigit() and 0 < int(value[:20]) <= _LONGEST_LEASE
    }
