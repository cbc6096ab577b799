"""`SafeTrim` deletes by hand what every group of a stream has settled, and says before how much that is.

The plan and the deletion use the step of the sweeps (`connection/steps/retention.py`), which looks at all groups in the
moment in which it deletes: a group that is created or moved back after the plan loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from ..checks import names, times, values
from ..connection import Connection
from ..connection.steps.counting import count_before
from ..connection.steps.retention import Rules, Swept, sweep, sweeping
from ..connection.steps.script import Step
from ..events import entry_ids
from ..exceptions import ConfigError, StreamNotFoundError
from .sweeper import PAUSE

COUNTED_AT_MOST = 200_000
"""Entries after which a plan stops counting."""


class TrimPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The extent of a trim that has not happened."""

    count: int
    """Entries that would be deleted, about; at least as many, if `is_exact` is false."""
    is_exact: bool
    length: int
    """Entries that are in the stream."""
    before: str
    """Entries before this id would be deleted; `0-1` deletes none."""
    kept_for: tuple[str, ...]
    """The groups that have not settled the entry with that id, or do not exist; none if the age or no group decides."""


class SafeTrim:
    """Deletes entries of one stream that every group has settled.

    Of these, only entries that are older than `max_age` seconds, and only as long as `max_length` entries stay, or a
    few more. `groups` must have settled an entry too where they do not exist. A stream without groups keeps everything.
    Raises `ConfigError`.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        *,
        max_age: float | None = None,
        max_length: int | None = None,
        groups: Sequence[str] = (),
    ) -> None:
        self._connection = values.instance("connection", connection, Connection)
        self._stream = names.checked("stream", stream)
        if max_age is not None and (not times.is_number(max_age) or max_age < 0):
            raise ConfigError(f"max_age={values.shown(max_age)}: expected seconds, 0 or more")
        self._max_length = None if max_length is None else values.whole("max_length", max_length, 0)
        self._keep = max_age or 0.0
        if isinstance(groups, str):
            raise ConfigError(f"groups={values.shown(groups)}: expected a list of names")
        self._groups = tuple(names.checked("groups", group) for group in groups)

    @property
    def step(self) -> Step[Swept | None]:
        """The step that deletes, which is repeated until nothing more may go."""
        return sweeping(self._stream, Rules(keep_settled=self._keep, leave=self._max_length, groups=self._groups))

    async def plan(self) -> TrimPlan:
        """Return what would be deleted now, and change nothing.

        Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        found = await self._taken(sweeping(self._stream, Rules(groups=self._groups)))
        before, kept_for = _edge(found, self._keep)
        counted = await count_before(self._connection, self._stream, before, COUNTED_AT_MOST)
        most = found.length if self._max_length is None else max(0, found.length - self._max_length)
        return TrimPlan(
            count=min(counted, most),
            is_exact=counted < COUNTED_AT_MOST or most <= counted,
            length=found.length,
            before=before,
            kept_for=kept_for,
        )

    async def run(self) -> int:
        """Delete what may go, in small steps, and return the number of deleted entries.

        Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        deleted = 0
        while True:
            found = await self._taken(self.step)
            deleted += found.trimmed
            if not found.more:
                return deleted
            await asyncio.sleep(PAUSE)

    async def _taken(self, step: Step[Swept | None]) -> Swept:
        if (found := await sweep(self._connection, step)) is None:
            raise StreamNotFoundError(f"there is no stream {self._stream!r}")
        return found


def _edge(found: Swept, keep: float) -> tuple[str, tuple[str, ...]]:
    """Return the id before which entries may go, and the groups that say so."""
    places = {group.name: entry_ids.parse(group.place) for group in found.groups}
    if not places:
        return "0-1", ()
    lowest = min(places.values())
    by_age = (max(1, found.now_ms - round(keep * 1000)), 0)
    if keep and by_age < lowest:
        return "{}-{}".format(*by_age), ()
    waiting = lowest <= entry_ids.parse(found.last)
    return "{}-{}".format(*lowest), tuple(name for name, place in places.items() if waiting and place == lowest)
