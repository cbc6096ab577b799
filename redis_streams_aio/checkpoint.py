"""Checkpoints: for each group the entry id up to which everything is settled (P18).

**Theory.** Redis knows it already: it is the predecessor of the lowest pending id, or the last delivered id when
nothing is pending. Both are read in one atomic step, so the checkpoint is right for all consumers of the group at
once, whatever order entries finish in, and it cannot run ahead of an unsettled entry: an entry is settled exactly
when it is acknowledged.

What a store keeps is a copy, at most `checkpoint_interval` old, for the day the group itself is lost (deleted,
`FLUSHALL`, failover): the group is made again there. A copy that is behind means that some events are handled
twice, never that one is lost.
"""

from __future__ import annotations

from typing import Protocol

from . import entry_ids, naming
from .connection import Connection, replies
from .connection.scripts import CHECKPOINT
from .exceptions import StreamTypeError
from .logs import log
from .telemetry import SILENT, CheckpointSaved, Telemetry


class CheckpointStore(Protocol):
    """Keeps checkpoints."""

    async def load(self, stream: str, group: str) -> str | None:
        """The group's checkpoint, `None` when none was ever saved."""
        ...

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Keep the checkpoint in place of the one before."""
        ...


class InMemoryCheckpointStore:
    """Keeps checkpoints as long as the process lives: enough for a group that is lost under a running broker."""

    def __init__(self) -> None:
        self._checkpoints: dict[tuple[str, str], str] = {}

    async def load(self, stream: str, group: str) -> str | None:
        """The group's checkpoint, `None` when none was ever saved."""
        return self._checkpoints.get((stream, group))

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Keep the checkpoint in place of the one before."""
        self._checkpoints[stream, group] = entry_id


class RedisCheckpointStore:
    """Keeps checkpoints beside the stream, in the key `{<stream>}:<group>:checkpoint`, without expiry.

    They outlive the process and the group; a `FLUSHALL` takes them with it, and then the stream's entries are gone too.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def load(self, stream: str, group: str) -> str | None:
        """The group's checkpoint, `None` when none was ever saved. Raises `RedisUnavailableError`, `ServerError`."""
        try:
            found = replies.optional_text(await self._connection.call("GET", naming.checkpoint(stream, group)))
        except StreamTypeError:
            found = "(no text)"
        if found is None or entry_ids.is_id(found):
            return found
        log.error("checkpoint %r of %s/%s is no entry id and is ignored", found, stream, group)
        return None

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Keep the checkpoint in place of the one before. Raises `RedisUnavailableError`, `ServerError`."""
        await self._connection.call("SET", naming.checkpoint(stream, group), entry_id)


async def current(connection: Connection, stream: str, group: str) -> str:
    """The group's checkpoint as Redis knows it now.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    lowest_pending, last_delivered = replies.lowest_and_last(await connection.run(CHECKPOINT, stream, group))
    return entry_ids.previous(lowest_pending) if lowest_pending else last_delivered


class CheckpointWriter:
    """Copies one group's checkpoint from Redis into a store."""

    def __init__(
        self, connection: Connection, store: CheckpointStore, stream: str, group: str, *, telemetry: Telemetry = SILENT
    ) -> None:
        self._connection = connection
        self._store = store
        self._stream = stream
        self._group = group
        self._telemetry = telemetry

    async def run_once(self) -> str:
        """Save the checkpoint if the store has another one, and return it. Raises as `current` and the store do."""
        checkpoint = await current(self._connection, self._stream, self._group)
        if checkpoint != await self._store.load(self._stream, self._group):
            await self._store.save(self._stream, self._group, checkpoint)
            if self._telemetry.active:
                self._telemetry.emit(CheckpointSaved(stream=self._stream, group=self._group, id=checkpoint))
        return checkpoint
