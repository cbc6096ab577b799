"""Create, describe, reset and delete consumer groups.

The start position is used only when a group is created. Consumers `join` their group: an existing group stays as it is;
a missing group is created at its checkpoint, or at `start` if it has none.
"""

from __future__ import annotations

from datetime import datetime

from ..checks import names, times, values
from ..connection import Connection
from ..connection.steps import controls, describing
from ..connection.steps import groups as steps
from ..connection.steps.consumer import Consumer
from ..connection.steps.sending import send_one
from ..events import entry_ids
from ..exceptions import ConfigError, GroupExistsError, GroupNotFoundError, InvalidEventError, StreamNotFoundError
from ..models import ConsumerInfo, GroupInfo, Pause

DELETED_FOR_MS = 86_400_000
"""Milliseconds for which a deleted group stays marked as deleted; running consumers notice within seconds."""


class ConsumerGroupManager:
    """Creates, describes, resets and deletes consumer groups.

    Raises `InvalidEventError` for invalid names of streams, `ConfigError` for other wrong arguments.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = values.instance("connection", connection, Connection)

    async def create_group(self, stream: str, group: str, start: str | datetime = entry_ids.BEGINNING) -> str:
        """Create a group (and the stream, if it does not exist), and return the id after which it starts.

        `start`: `"0"` everything, `"$"` only new events, an entry id (events after it), or a `datetime` (events at or
        after it). A group created at `"$"` knows its lag from the first event on. Raises
        `GroupExistsError`, `ConfigError`, `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        position = entry_ids.start_position(start)
        return await self._create(stream, group, position, position)

    async def join(self, stream: str, group: str, start: str, checkpoint: str | None) -> str | None:
        """Create the group if it does not exist, and return its position; `None` if it existed.

        A checkpoint beyond all ids of the stream belongs to a deleted stream of the same name: then the group starts at
        the beginning. If the group was deleted on purpose (`delete_group`), it starts at `start`.
        """
        if await self._exists(stream, group):  # a full Redis refuses even to try `CREATE`
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
            info = await describing.describe_stream(self._connection, stream)
        except StreamNotFoundError:
            return True
        return entry_ids.parse(info.last_generated_id) < entry_ids.parse(checkpoint)

    async def delete_group(self, stream: str, group: str) -> bool:
        """Delete a group with its pending entries and its keys beside the stream, and return whether it existed.

        A group of that name that is created later begins at its `start`. Consumers that still run recreate the group at
        once, at `start`. This is one atomic step. Dead letters stay. Raises `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        return await steps.delete_group(self._connection, stream, group, DELETED_FOR_MS)

    async def reset_group(self, stream: str, group: str, start: str | datetime) -> None:
        """Move an existing group: events after `start` are delivered (again).

        Pending entries stay. Raises `GroupNotFoundError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        await self._connection.call("XGROUP", "SETID", stream, group, entry_ids.start_position(start))

    async def list_groups(self, stream: str) -> list[GroupInfo]:
        """Return the groups of a stream. Raises `StreamNotFoundError`, `StreamTypeError`."""
        stream = _checked(stream)
        return await describing.describe_groups(self._connection, stream)

    async def get_group_info(self, stream: str, group: str) -> GroupInfo:
        """Return a group. Raises `GroupNotFoundError`, `StreamNotFoundError`, `StreamTypeError`."""
        stream, group = _checked(stream), _checked_group(group)
        for info in await self.list_groups(stream):
            if info.name == group:
                return info
        raise GroupNotFoundError(f"stream {stream!r} has no group {group!r}")

    async def list_consumers(self, stream: str, group: str) -> list[ConsumerInfo]:
        """Return the consumers of a group, also dead ones. Raises `GroupNotFoundError`, `StreamNotFoundError`."""
        stream, group = _checked(stream), _checked_group(group)
        return await describing.describe_consumers(self._connection, stream, group)

    async def pause(self, stream: str, group: str, *, by: str, why: str) -> Pause:
        """Pause a group: all its consumers stop handling events until `resume`, also after a restart.

        `by` (a person or a program) and `why` are shown wherever the group is. A group that is paused already has the
        new ones then. Raises `GroupNotFoundError`, `StreamNotFoundError`, `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        step = controls.pause(stream, group, values.line("by", by), values.line("why", why))
        if (paused := await send_one(self._connection.link("control", stream), step)) is None:
            raise GroupNotFoundError(f"stream {stream!r} has no group {group!r}")
        return paused

    async def resume(self, stream: str, group: str, *, by: str, why: str = "") -> bool:
        """Let all consumers of a paused group go on, and return whether it was paused. Raises `ServerError`."""
        stream, group = _checked(stream), _checked_group(group)
        step = controls.resume(stream, group, values.line("by", by), values.line("why", why, least=0))
        return await send_one(self._connection.link("control", stream), step)

    async def get_pause(self, stream: str, group: str) -> Pause | None:
        """Return who has paused a group, why, and since when; `None` if it is not paused, or not there."""
        return (await controls.controls_of(self._connection, _checked(stream), _checked_group(group))).paused

    async def delete_consumer(self, stream: str, group: str, consumer: str, *, idle: float = 0.0) -> bool:
        """Remove a consumer if it has nothing pending and has been idle for `idle` seconds; return whether it was
        removed.

        One atomic step checks and removes. Raises `GroupNotFoundError`, `StreamNotFoundError`.
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
