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

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .checks import values
from .connection import Connection, replies
from .connection.group_scripts import CHECKPOINT
from .events import entry_ids, keys
from .exceptions import CheckpointStoreError, RedisStreamsError, StreamTypeError
from .telemetry import SILENT, CheckpointSaved, Telemetry
from .telemetry.logs import log, shown


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
        self._connection = values.instance("connection", connection, Connection)

    async def load(self, stream: str, group: str) -> str | None:
        """The group's checkpoint, `None` when none was ever saved. Raises `RedisUnavailableError`, `ServerError`."""
        try:
            found = replies.optional_text(await self._connection.call("GET", keys.checkpoint(stream, group)))
        except StreamTypeError:
            found = "(no text)"
        return _believed(found, stream, group)

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Keep the checkpoint in place of the one before. Raises `RedisUnavailableError`, `ServerError`."""
        await self._connection.call("SET", keys.checkpoint(stream, group), entry_id)

    def is_on(self, connection: Connection) -> bool:
        """Whether it keeps checkpoints where this connection leads."""
        return self._connection is connection


class FencedStore:
    """A user's store: what it raises is logged and tried again, what is no entry id is not believed (P14)."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store: CheckpointStore = store

    async def load(self, stream: str, group: str) -> str | None:
        """The group's checkpoint. Raises `CheckpointStoreError`, `RedisUnavailableError`, `ServerError`."""
        with self._fence("load", stream, group):
            found: object = await self.store.load(stream, group)
        return _believed(found, stream, group)

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Keep the checkpoint in place of the one before. Raises as `load` does."""
        with self._fence("save", stream, group):
            await self.store.save(stream, group, entry_id)

    @contextmanager
    def _fence(self, what: str, stream: str, group: str) -> Iterator[None]:
        try:
            yield
        except RedisStreamsError:
            raise
        except Exception as error:
            log.warning("the checkpoint store raised in %s of %s/%s", what, stream, group, error=error)
            raise CheckpointStoreError(
                f"the checkpoint store {shown(self.store)} raised in {what}({stream!r}, {group!r}): "
                f"{type(error).__name__}: {error}"
            ) from error


def _believed(found: object, stream: str, group: str) -> str | None:
    if found is None or (isinstance(found, str) and entry_ids.is_id(found)):
        return found
    log.error("checkpoint %r of %s/%s is not an entry id and is ignored", found, stream, group)
    return None


async def current(connection: Connection, stream: str, group: str) -> str:
    """The group's checkpoint as Redis knows it now.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    return (await _current(connection, stream, group))[0]


async def _current(connection: Connection, stream: str, group: str, store: str = "") -> tuple[str, bool]:
    key = keys.checkpoint(stream, group)
    return replies.checkpoint(await connection.run(CHECKPOINT, stream, key, group, store))


class CheckpointWriter:
    """Copies one group's checkpoint from Redis into a store.

    Into a `RedisCheckpointStore` on the same connection that is one atomic step: nothing that is replayed meanwhile is
    passed over. With any other store a replay in between is noticed with the next step.
    """

    def __init__(
        self, connection: Connection, store: CheckpointStore, stream: str, group: str, *, telemetry: Telemetry = SILENT
    ) -> None:
        self._connection = connection
        self._store = FencedStore(store)
        self._stream = stream
        self._group = group
        self._telemetry = telemetry
        self.is_atomic: bool = isinstance(store, RedisCheckpointStore) and store.is_on(connection)
        """Whether reading and storing are one step."""

    async def run_once(self) -> str:
        """Save the checkpoint if the store has another one, and return it. Raises as `current` and the store do."""
        if self.is_atomic:
            checkpoint, saved = await _current(self._connection, self._stream, self._group, "store")
        else:
            checkpoint, saved = await self._copy()
        if saved and self._telemetry.active:
            self._telemetry.emit(CheckpointSaved(stream=self._stream, group=self._group, id=checkpoint))
        return checkpoint

    async def _copy(self) -> tuple[str, bool]:
        checkpoint = await current(self._connection, self._stream, self._group)
        if checkpoint == await self._store.load(self._stream, self._group):
            return checkpoint, False
        await self._store.save(self._stream, self._group, checkpoint)
        return checkpoint, True
