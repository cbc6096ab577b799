"""Create, copy, describe, move and delete consumer groups.

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
from ..connection.steps.sending import run_step
from ..events import entry_ids
from ..exceptions import ConfigError, GroupExistsError, GroupNotFoundError, InvalidEventError, StreamNotFoundError
from ..models import ConsumerInfo, GroupInfo, GroupUse, Pause, SeekReport
from . import seeking

DELETED_FOR_MS = 86_400_000
"""Milliseconds for which a deleted group stays marked as deleted; running consumers notice within seconds."""


class ConsumerGroupManager:
    """Creates, copies, describes, moves and deletes consumer groups.

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

    async def copy_group(self, stream: str, group: str, *, source: str) -> str:
        """Create a group at the position of another group, and return that position.

        Entries that are pending in `source` are pending in the new group too, for its first consumers to take over: so
        both groups have the same events before them. Failures are counted from 0. One atomic step; it takes Redis about
        2 ms for every 1,000 pending entries. Raises `GroupExistsError`, `GroupNotFoundError`.
        """
        stream, group, source = _checked(stream), _checked_group(group), names.checked("source", source)
        return (await run_step(self._connection, steps.copying(stream, group, source))).position

    async def delete_group(self, stream: str, group: str, *, only_unused: bool = False) -> bool:
        """Delete a group with its pending entries and its keys beside the stream, and return whether it was deleted.

        A group of that name that is created later begins at its `start`. Consumers that still run recreate the group at
        once, at `start`. With `only_unused`, a group stays that has pending entries or living consumers (`usage`). This
        is one atomic step. Dead letters stay. Raises `StreamTypeError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        only_unused = values.instance("only_unused", only_unused, bool)
        return await steps.delete_group(self._connection, stream, group, DELETED_FOR_MS, only_unused=only_unused)

    async def usage(self, stream: str, group: str) -> GroupUse:
        """Return who uses a group now. Raises `GroupNotFoundError`, `StreamNotFoundError`, `StreamTypeError`."""
        await self.get_group_info(stream, group)  # its errors name the stream and the group
        return await steps.use_of(self._connection, stream, group)

    async def seek(self, stream: str, group: str, to: str | datetime, *, dry_run: bool = False) -> SeekReport:
        """Move a group back, so that events are delivered again, or forward, so that events are skipped.

        `to` is a position as in `create_group`: `"0"` the beginning, `"$"` the end, an entry id (events after it), or a
        `datetime` (events at or after it). The move is one atomic step:

        * Pending entries after the position are delivered again too, as new events: Redis forgets their failures. A
          consumer that holds such an event and gets it again goes on with it as it was; if another consumer gets it,
          the event may be handled twice. Stop the consumers first if that matters.
        * Pending entries at the position or before it stay with their consumers.
        * The stored checkpoint moves with the group.

        Events that `deduplicate` has marked as handled are dropped as copies. With `dry_run` nothing is changed, and
        the report says what would happen. Raises `ConfigError`, `GroupNotFoundError`, `StreamNotFoundError`.
        """
        stream, group = _checked(stream), _checked_group(group)
        if values.instance("dry_run", dry_run, bool):
            return (await seeking.plan(self._connection, stream, group, to)).report
        return await seeking.seek(self._connection, stream, group, to)

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
        if (paused := await run_step(self._connection, step)) is None:
            raise GroupNotFoundError(f"stream {stream!r} has no group {group!r}")
        return paused

    async def resume(self, stream: str, group: str, *, by: str, why: str = "") -> bool:
        """Let all consumers of a paused group go on, and return whether it was paused. Raises `ServerError`."""
        stream, group = _checked(stream), _checked_group(group)
        step = controls.resume(stream, group, values.line("by", by), values.line("why", why, least=0))
        return await run_step(self._connection, step)

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
