"""Replaying: an event is handed to its group again, and taken from the dead letters."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ...events import dead_letter, entry_ids, keys, replays
from ...models import DeadLetterMessage, History
from ..packing import Argument
from ..replies import Reply, reads
from .positions import BEYOND, LAST_DELIVERED
from .script import Script, Step
from .sending import run_step

if TYPE_CHECKING:
    from ..connection import Connection

_WHOLE_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_NOWHERE = "0-0"
"""An id that no entry can have."""

REPLAY = Script(
    BEYOND
    + LAST_DELIVERED
    + """
-- ARGV: group, dead letter's id, id of the event, whom to leave it with, its history, the id right before the event's,
-- then the fields and values of a copy. One step: handed to the group again, and taken from the dead letters. A stored
-- checkpoint that is beyond an entry which is pending again goes back before it. Returns 'gone' when there is no such
-- dead letter, 'in place' when the entry is still in its stream, else 'copied'. Scripts do not roll back: commands that
-- may be refused come first, or are undone.
if #redis.call('XRANGE', KEYS[3], ARGV[2], ARGV[2]) == 0 then return 'gone' end
if redis.acl_check_cmd and not redis.acl_check_cmd('XDEL', KEYS[3], ARGV[2]) then
  return redis.error_reply('NOPERM the user may not run XDEL on ' .. KEYS[3])
end
local last = last_delivered(KEYS[1], ARGV[1])
if not last then return redis.error_reply('NOGROUP No such consumer group ' .. ARGV[1]) end
local how = 'in place'
if #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 7))
  how = 'copied'
elseif #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1) == 0
    and #redis.call('XRANGE', KEYS[1], '(' .. last, ARGV[3], 'COUNT', 1) == 0 then
  -- neither pending nor still to be delivered: pending again, as an entry that was released
  redis.call('HDEL', KEYS[2], ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[3] .. ':history', ARGV[5])
  local claimed = redis.pcall(
    'XCLAIM', KEYS[1], ARGV[1], ARGV[4], 0, ARGV[3], 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
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


class Replayed(enum.Enum):
    """The result of a replay."""

    IN_PLACE = b"in place"
    """Its entry is still in the stream, and pending again."""
    COPIED = b"copied"
    """Its entry is gone: the event was added at the end of the stream."""
    GONE = b"gone"
    """There is no such dead letter any more."""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter that is to be replayed."""

    key: str
    """The stream of dead letters."""
    id: str
    entry_id: str
    """The id that the event had in its stream."""
    fields: Sequence[bytes]
    history: History

    @classmethod
    def of(cls, key: str, letter: DeadLetterMessage) -> Letter:
        """Return what a replay needs of a dead letter in this stream.

        Its entry id is an impossible one if another program wrote something else there.
        """
        entry_id = letter.entry_id if _WHOLE_ID.fullmatch(letter.entry_id) else _NOWHERE
        return cls(key, letter.id, entry_id, letter.fields, dead_letter.history_of(letter))


async def replay(connection: Connection, stream: str, group: str, letter: Letter) -> Replayed:
    """Hand an event to its group again, and take it from the dead letters.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    return await run_step(connection, replaying(stream, group, letter))


def replaying(stream: str, group: str, letter: Letter) -> Step[Replayed]:
    """Return the step that hands an event to its group again."""
    touched = (
        *(stream, keys.failures(stream, group), letter.key),
        *(keys.checkpoint(stream, group), keys.releases(stream, group)),
    )
    arguments: tuple[Argument, ...] = (
        *(group, letter.id, letter.entry_id, keys.RELEASED, replays.encode(letter.history)),
        entry_ids.previous(letter.entry_id),
        *replays.wrap(list(letter.fields), group, letter.history),
    )
    return Step(REPLAY, touched, arguments, replayed)


@reads
def replayed(reply: Reply) -> Replayed:
    """The reply of `REPLAY`."""
    return Replayed(reply)
