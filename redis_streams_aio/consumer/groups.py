"""Consumer groups: made, described, reset and deleted.

A group's start is used for making it and for nothing else (P8). `join` is how consumers come to their group: if it
is there, it stays as it is; if it is not, it is made at its checkpoint, or at `start` when it has none (P17).
"""

from __future__ import annotations

from datetime import datetime

from ..checks import names, times, values
from ..connection import Connection, replies
from ..connection.steps import groups as steps
from ..connection.steps.consumer import Consumer
from ..events import entry_ids
from ..exceptions import ConfigError, GroupExistsError, GroupNotFoundError, InvalidEventError, StreamNotFoundError
from ..models import ConsumerInfo, GroupInfo

DELETED_FOR_MS = 86_400_000
"""Milliseconds for which it is known that a group was deleted: consumers that run notice within seconds."""


class ConsumerGroupManager:
    """Makes, describes, resets and deletes consumer groups.

    Raises `InvalidEventError` for names of streams that cannot be, `ConfigError` for other arguments.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = values.instance("connection", connection, Connection)

    async def create_group(self, stream: str, group: str, start: str | datetime = entry_ids.BEGINNING) -> str:
        """Make a group (and the stream, if need be), and return the id it starts after.

        `start`: `"0"` everything, `"$"` only new events, an entry id (what comes after it), or a `datetime` (what
        came at or after it). A group made at `"$"` knows its lag from the first event on. Raises
        `GroupExistsError`, `ConfigError`, `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        position = entry_ids.start_position(start)
        return await self._create(stream, group, position, position)

    async def join(self, stream: str, group: str, start: str, checkpoint: str | None) -> str | None:
        """Make the group if it is not there; return the position it was made at, `None` when it was there.

        A checkpoint beyond everything the stream has ever had is of an earlier life of the stream: then the group
        starts at the beginning. Where the group was deleted (`delete_group`), it starts at `start` whatever is known.
        """
        if await self._exists(stream, group):  # looked up first: a Redis that is full refuses even to try
            return None
        position = start if checkpoint is None else checkpoint
        if checkpoint is not None and await self._is_younger(stream, checkpoint):
            position = entry_ids.BEGINNING
        try:
            return await self._create(stream, group, position, start)
        except GroupExistsError:
            return None

    async def _create(self, stream: str, group: str, position: str, start: str) -> str:
        return await steps.create_group(self._connection, stream, group, position, start)

    async def _exists(self, stream: str, group: str) -> bool:
        try:
            return any(info.name == group for info in await self.list_groups(stream))
        except StreamNotFoundError:
            return False

    async def _is_younger(self, stream: str, checkpoint: str) -> bool:
        try:
            info = replies.stream_info(stream, await self._connection.call("XINFO", "STREAM", stream))
        except StreamNotFoundError:
            return True
        return entry_ids.parse(info.last_generated_id) < entry_ids.parse(checkpoint)

    async def delete_group(self, stream: str, group: str) -> bool:
        """Delete a group with its pending entries and the keys it has beside the stream; whether there was one.

        A group of that name that is made later begins where its `start` says. Consumers of it that still run make it
        again at once, there. One atomic step. Dead letters stay. Raises `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        return await steps.delete_group(self._connection, stream, group, DELETED_FOR_MS)

    async def reset_group(self, stream: str, group: str, start: str | datetime) -> None:
        """Move an existing group.

        What comes after `start` is delivered (again). Pending entries stay. Raises `GroupNotFoundError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        await self._connection.call("XGROUP", "SETID", stream, group, entry_ids.start_position(start))

    async def list_groups(self, stream: str) -> list[GroupInfo]:
        """The groups of a stream. Raises `StreamNotFoundError`, `StreamTypeError`."""
        stream = _checked(stream)
        return replies.group_infos(await self._connection.call("XINFO", "GROUPS", stream))

    async def get_group_info(self, stream: str, group: str) -> GroupInfo:
        """One group. Raises `GroupNotFoundError`, `StreamNotFoundError`, `StreamTypeError`."""
        stream, group = _checked(stream), _checked_group(group)
        for info in await self.list_groups(stream):
            if info.name == group:
                return info
        raise GroupNotFoundError(f"stream {stream!r} has no group {group!r}")

    async def list_consumers(self, stream: str, group: str) -> list[ConsumerInfo]:
        """The consumers of a group, dead ones included. Raises `GroupNotFoundError`, `StreamNotFoundError`."""
        stream, group = _checked(stream), _checked_group(group)
        return replies.consumer_infos(await self._connection.call("XINFO", "CONSUMERS", stream, group))

    async def delete_consumer(self, stream: str, group: str, consumer: str, *, idle: float = 0.0) -> bool:
        """Remove a consumer's name if nothing is pending for it and it has been idle for so many seconds.

        Whether it was removed. Checked and done in one step (P22). Raises `GroupNotFoundError`, `StreamNotFoundError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        consumer = values.text("consumer", consumer)
        if not times.is_number(idle) or idle < 0:
            raise ConfigError(f"idle={values.shown(idle)}: expected seconds, 0 or more")
        return await steps.delete_consumer(self._connection, Consumer(stream, group, consumer), round(idle * 1000))


def _checked(stream: str) -> str:
    return names.checked("stream", stream, InvalidEventError)


def _checked_group(group: str) -> str:
    return names.checked("group", group)
