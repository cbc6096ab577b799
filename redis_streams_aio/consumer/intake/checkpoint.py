"""The position of a group in its stream: the group is joined there, recreated there after a loss, and it is stored.

The position is the group's checkpoint: every entry up to it is settled. Redis knows it; a store keeps a copy, for the
day on which Redis does not.
"""

from __future__ import annotations

from contextlib import suppress

from ...checkpoint import CheckpointStore, CheckpointWriter, FencedStore, current
from ...connection.steps.leases import note_lease
from ...exceptions import GroupNotFoundError, RedisRefusedError
from ..groups import ConsumerGroupManager
from ..holdings import Holdings


class GroupPosition:
    """Joins a group at its checkpoint, and copies the checkpoint into the store."""

    def __init__(self, holdings: Holdings, start: str, store: CheckpointStore | None) -> None:
        connection, stream, group, telemetry = holdings.connection, holdings.stream, holdings.group, holdings.telemetry
        self._holdings = holdings
        self._start = start
        self._groups = ConsumerGroupManager(connection)
        self._store = None if store is None else FencedStore(store)
        self._writer = (
            None if store is None else CheckpointWriter(connection, store, stream, group, telemetry=telemetry)
        )
        self._position: str | None = None
        self._saved_at = 0
        """The number of settled entries when the checkpoint was stored last; -1: store it again."""

    async def join(self) -> str | None:
        """Create the group if it does not exist, and return its position; `None` if it existed."""
        stream, group = self._holdings.stream, self._holdings.group
        checkpoint = None if self._store is None else await self._store.load(stream, group)
        made_at = await self._groups.join(stream, group, self._start, checkpoint or self._position)
        # a group that is lost before anything was settled must not be recreated at `start`, which may be the end; and
        # if another consumer has recreated it, the remembered position may be from before
        try:
            self._position = await self._stored_position()  # a FLUSHALL deletes the store's position too
        except GroupNotFoundError:
            return await self.join()  # lost again in between
        await self.note_lease()
        return made_at

    async def leave(self) -> None:
        """Remove the name of this consumer from the group, if nothing is pending under it."""
        holdings = self._holdings
        await self._groups.delete_consumer(holdings.stream, holdings.group, holdings.consumer)

    async def note_lease(self) -> None:
        """Write the lease for the other consumers of the group, before there are entries to take over."""
        await note_lease(self._holdings.connection, self._holdings.who, self._holdings.lease_ms)

    def moved(self) -> None:
        """Note that entries came: after a reset or a replay older ones, and the store must not stay ahead of them."""
        self._saved_at = -1

    @property
    def is_due(self) -> bool:
        """Whether entries came or were settled since the store last had the checkpoint."""
        return self._writer is not None and self._holdings.settled_count != self._saved_at

    async def save(self) -> None:
        """Copy the group's checkpoint into the store, if that is due.

        Checks once more on the next turn: our write may have replaced a newer checkpoint of another process.
        """
        if self._writer is None or not self.is_due:
            return
        settled = self._holdings.settled_count
        try:
            position = await self._writer.run_once()
        except GroupNotFoundError:
            return
        if position == self._position or self._writer.is_atomic:
            self._saved_at = settled
        self._position = position or self._position

    async def _stored_position(self) -> str:
        """Return the group's checkpoint, and store it."""
        if self._writer is not None:
            with suppress(RedisRefusedError):  # a full Redis is drained without it
                return await self._writer.run_once()
        return await current(self._holdings.connection, self._holdings.stream, self._holdings.group)
