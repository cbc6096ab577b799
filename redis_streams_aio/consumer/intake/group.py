"""The fetcher reads new entries for one consumer, at most as many as there is room for.

If the group is lost (stream deleted, `FLUSHALL`, failover), `rejoin` recreates it, and reading continues.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...connection.replies import Reply, new_entries
from ...events.delivery import Delivery
from ...exceptions import GroupNotFoundError
from ...telemetry import Fetched, GroupRecreated
from ..holdings import Holdings
from ..settle.acknowledgements import Acknowledgements

if TYPE_CHECKING:
    from ...connection.reader import Reader  # imports redis-py


class Fetcher:
    """Reads new entries with `XREADGROUP ... >`, and hands them to `sink` as they arrive."""

    def __init__(
        self,
        holdings: Holdings,
        acks: Acknowledgements,
        reader: Reader,
        rejoin: Callable[[], Awaitable[str | None]],
        sink: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._holdings = holdings
        self._acks = acks
        self._reader = reader
        self._rejoin = rejoin
        self._sink = sink

    async def run_once(self, count: int, block: float) -> int:
        """Read up to `count` new entries, wait at most `block` seconds for them, and return how many came.

        Raises `RedisUnavailableError` and `ServerError`. After a failure the reader is `interrupted`: entries may be
        pending without having arrived here.
        """
        try:
            return await self._read(count, block)
        except GroupNotFoundError:
            await self._recreate_group()
            return 0

    async def _read(self, count: int, block: float) -> int:
        """Read, and send the acknowledgements that have gathered with the read."""
        read = partial(self._reader.read, self._holdings.who, count=count, block=block, parse=self._take)
        group = self._acks.depart() if self._reader.is_connected else None  # connecting may take long
        if group is None:
            return await read()
        try:
            return await read(ahead=group.commands(), answered=group.arrive)
        finally:
            group.stay()  # if no answer came

    def _take(self, reply: Reply) -> int:
        """Hold the entries of a reply that are not held yet, hand them on, and return how many these are."""
        holdings, entries = self._holdings, new_entries(reply)
        if not entries:
            return 0
        if holdings.telemetry.active:
            holdings.telemetry.emit(Fetched(stream=holdings.stream, group=holdings.group, count=len(entries)))
        taken = holdings.take(entries)
        self._sink(taken)
        return len(taken)

    async def _recreate_group(self) -> None:
        position = await self._rejoin()
        if position is not None:  # `None`: another consumer was first
            self._holdings.telemetry.emit(
                GroupRecreated(stream=self._holdings.stream, group=self._holdings.group, position=position)
            )
