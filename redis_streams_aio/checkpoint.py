"""Checkpoints: for each group, the entry id up to which everything is settled.

**Theory.** Redis knows the checkpoint already: it is the predecessor of the lowest pending id, or the last delivered id
if nothing is pending. Both are read in one atomic step. So the checkpoint is right for all consumers of the group at
once, in whatever order entries finish. It cannot pass an unsettled entry, because an entry is settled exactly when it
is acknowledged.

A store keeps a copy of the checkpoint, at most `checkpoint_interval` seconds old. If the group itself is lost (deleted,
`FLUSHALL`, failover), the group is recreated at this copy. An old copy means that some events are handled twice; no
event is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .checks import values
from .connection import Connection, replies
from .connection.steps.checkpoints import checkpoint as checkpoint_of
from .events import entry_ids, keys
from .exceptions import CheckpointStoreError, RedisStreamsError, StreamTypeError
from .telemetry import SILENT, CheckpointSaved, Telemetry
from .telemetry.logs import log, shown


class CheckpointStore(Protocol):
    """Keeps checkpoints. Implement these two methods to keep them somewhere else."""

    async def load(self, stream: str, group: str) -> str | None:
        """Return the group's checkpoint; `None` if none was saved."""
        ...

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Replace the group's checkpoint."""
        ...


class InMemoryCheckpointStore:
    """Keeps checkpoints in this process: enough if a group is lost while the broker runs."""

    def __init__(self) -> None:
        self._checkpoints: dict[tuple[str, str], str] = {}

    async def load(self, stream: str, group: str) -> str | None:
        """Return the group's checkpoint; `None` if none was saved."""
        return self._checkpoints.get((stream, group))

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Replace the group's checkpoint."""
        self._checkpoints[stream, group] = entry_id


class RedisCheckpointStore:
    """Keeps checkpoints beside the stream, in the key `{<stream>}:<group>:checkpoint`, without expiry.

    Checkpoints outlive the process and the group. `FLUSHALL` deletes them, but then the stream's entries are gone too.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = values.instance("connection", connection, Connection)

    async def load(self, stream: str, group: str) -> str | None:
        """Return the group's checkpoint; `None` if none was saved. Raises `RedisUnavailableError`, `ServerError`."""
        try:
            found = replies.optional_text(await self._connection.call("GET", keys.checkpoint(stream, group)))
        except StreamTypeError:
            found = "(no text)"
        return _believed(found, stream, group)

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Replace the group's checkpoint. Raises `RedisUnavailableError`, `ServerError`."""
        await self._connection.call("SET", keys.checkpoint(stream, group), entry_id)

    def is_on(self, connection: Connection) -> bool:
        """Whether the store uses this connection."""
        return self._connection is connection


class FencedStore:
    """Wraps a store written by a user: its errors are logged and retried, and values that are not ids are ignored."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store: CheckpointStore = store

    async def load(self, stream: str, group: str) -> str | None:
        """Return the group's checkpoint. Raises `CheckpointStoreError`, `RedisUnavailableError`, `ServerError`."""
        with self._fence("load", stream, group):
            found: object = await self.store.load(stream, group)
        return _believed(found, stream, group)

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        """Replace the group's checkpoint. Raises the same errors as `load`."""
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
    """Return the group's checkpoint as Redis knows it now.

    Raises `GroupNotFoundError`, `RedisUnavailableError`, `ServerError`.
    """
    return (await checkpoint_of(connection, stream, group)).id


class CheckpointWriter:
    """Copies one group's checkpoint from Redis into a store.

    With a `RedisCheckpointStore` on the same connection this is one atomic step, so the stored checkpoint cannot pass
    an event that is replayed at the same time. With any other store such a replay is noticed at the next step.
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
        """Whether reading and storing are one atomic step."""

    async def run_once(self) -> str:
        """Return the checkpoint, and save it if the store has another one.

        Raises what `current` and the store raise.
        """
        if self.is_atomic:
            stored = await checkpoint_of(self._connection, self._stream, self._group, store=True)
            checkpoint, saved = stored.id, stored.is_new
        else:
            checkpoint, saved = await self._copy()
        if saved and self._telemetry.wants(CheckpointSaved):
            self._telemetry.emit(CheckpointSaved(stream=self._stream, group=self._group, id=checkpoint))
        return checkpoint

    async def _copy(self) -> tuple[str, bool]:
        checkpoint = await current(self._connection, self._stream, self._group)
        if checkpoint == await self._store.load(self._stream, self._group):
            return checkpoint, False
        await self._store.save(self._stream, self._group, checkpoint)
        return checkpoint, True
