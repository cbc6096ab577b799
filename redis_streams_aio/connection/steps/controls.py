"""Controls: what somebody has told all consumers of a group, kept in a hash beside the stream (`keys.controls`).

Its fields are `paused` while the group is paused, and `resumed` after the last resume; each says who, why and when, by
the server's clock. A change of a field is counted in the key of the releases, in the same atomic step, because every
consumer watches that count anyway: nobody asks for the controls of a group while nothing has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ...models import Pause
from ..packing import Command
from ..replies import Reply, array, integer, optional_bytes, reads, text
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection

PAUSE = Script(
    """
-- ARGV: group, who and why as JSON. Returns the record that is written, or nothing if there is no such group: a name
-- that is spelled wrong must not look paused.
local known = false
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #info, 2 do
    if info[i] == 'name' and info[i + 1] == ARGV[1] then known = true end
  end
end
if not known then return false end
local time = redis.call('TIME')
local record = string.format('{"since_ms":%.0f,', time[1] * 1000 + math.floor(time[2] / 1000)) .. ARGV[2]:sub(2)
redis.call('HSET', KEYS[2], 'paused', record)
redis.call('HDEL', KEYS[2], 'resumed')
redis.call('INCR', KEYS[3])
return record
""",
    keys={"stream": "xinfo|groups", "controls": "hset hdel", "releases": "incr"},
    also="time",
)

RESUME = Script(
    """
-- ARGV: who and why as JSON. Returns 1 when the group was paused.
if redis.call('HDEL', KEYS[1], 'paused') == 0 then return 0 end
local time = redis.call('TIME')
local record = string.format('{"since_ms":%.0f,', time[1] * 1000 + math.floor(time[2] / 1000)) .. ARGV[1]:sub(2)
redis.call('HSET', KEYS[1], 'resumed', record)
redis.call('INCR', KEYS[2])
return 1
""",
    keys={"controls": "hset hdel", "releases": "incr"},
    also="time",
)


class Controls(msgspec.Struct, frozen=True):
    """The state that the consumers of a group are told to be in."""

    paused: Pause | None = None
    resumed: Pause | None = None
    """The last resume; `None` while it is paused, and if it never was."""


class _Said(msgspec.Struct, frozen=True):
    by: str
    why: str


class _Record(_Said, frozen=True):
    since_ms: int


def pause(stream: str, group: str, by: str, why: str) -> Step[Pause | None]:
    """Tell all consumers of a group to pause; the result is the pause, or `None` if there is no such group."""
    touched = (stream, keys.controls(stream, group), keys.releases(stream, group))
    return Step(PAUSE, touched, (group, msgspec.json.encode(_Said(by, why))), paused)


def resume(stream: str, group: str, by: str, why: str) -> Step[bool]:
    """Tell all consumers of a group to go on; the result is whether it was paused."""
    touched = (keys.controls(stream, group), keys.releases(stream, group))
    return Step(RESUME, touched, (msgspec.json.encode(_Said(by, why)),), was_paused)


def reading(stream: str, group: str) -> Command:
    """Return the command whose reply `controls` reads."""
    return ("HMGET", keys.controls(stream, group), "paused", "resumed")


async def controls_of(connection: Connection, stream: str, group: str) -> Controls:
    """Return what the consumers of a group are told. Raises `RedisUnavailableError`, `ServerError`."""
    return controls(await connection.call(*reading(stream, group)))


@reads
def controls(reply: Reply) -> Controls:
    """The reply to `reading`."""
    paused, resumed = map(optional_bytes, array(reply))
    return Controls(_pause(paused), _pause(resumed))


@reads
def paused(reply: Reply) -> Pause | None:
    """The reply of `PAUSE`."""
    return _pause(optional_bytes(reply))


@reads
def was_paused(reply: Reply) -> bool:
    """The reply of `RESUME`."""
    return {0: False, 1: True}[integer(reply)]


def _pause(record: bytes | None) -> Pause | None:
    """Read a record. A field that somebody has written by hand counts too, and its text is the reason."""
    if record is None:
        return None
    try:
        known = msgspec.json.decode(record, type=_Record)
        return Pause(known.by, known.why, datetime.fromtimestamp(known.since_ms / 1000, UTC))
    except (msgspec.DecodeError, ValueError, OverflowError, OSError):
        return Pause("", text(record), None)
