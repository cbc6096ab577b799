"""Checkpoints: how far everything in a group is settled, as Redis knows it, read and stored in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...events import keys
from ..replies import Reply, checked_id, integer, pair, reads
from .positions import LAST_DELIVERED, PREVIOUS
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

CHECKPOINT = Script(
    LAST_DELIVERED
    + PREVIOUS
    + """
-- ARGV: group, 'store' or ''. Returns the group's checkpoint, and whether another one was stored, which it replaces.
-- One step: a replay in between would leave the stored one ahead of an entry that is pending again. An error when the
-- group is not there.
local lowest = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)
local checkpoint = lowest[1] and previous(lowest[1][1]) or last_delivered(KEYS[1], ARGV[1])
local differs = ARGV[2] == 'store' and redis.pcall('GET', KEYS[2]) ~= checkpoint
if differs then redis.call('SET', KEYS[2], checkpoint) end
return {checkpoint, differs and 1 or 0}
""",
    keys={"stream": "xpending xinfo|groups", "checkpoint": "get set"},
)


class Checkpoint(msgspec.Struct, frozen=True):
    """A group's checkpoint."""

    id: str
    is_new: bool
    """Whether it was stored in place of another one."""


async def checkpoint(connection: Connection, stream: str, group: str, *, store: bool = False) -> Checkpoint:
    """Return the group's checkpoint; with `store`, it stands beside the stream, too, from here on.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    key, stored = keys.checkpoint(stream, group), "store" if store else ""
    return checkpoint_read(await connection.run(CHECKPOINT, stream, key, group, stored))


@reads
def checkpoint_read(reply: Reply) -> Checkpoint:
    """The reply of `CHECKPOINT`."""
    position, replaced = pair(reply)
    return Checkpoint(checked_id(position).decode(), integer(replaced) == 1)
