"""The fetcher reads new entries for one consumer, at most as many as there is room for.

If the group is lost (stream deleted, `FLUSHALL`, failover), `rejoin` recreates it, and reading continues.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...events.delivery import Delivery
from ...exceptions import GroupNotFoundError
from ...telemetry import Fetched, GroupRecreated
from ..holdings import Holdings
from ..settle.acknowledgements import Acknowledgements

if TYPE_CHECKING:
    from ...connection.reader import Reader  # imports redis-py
    from ...connection.replies import NewEntry


class Fetcher:
    """Reads new entries with `XREADGROUP ... >`."""

    def __init__(
        self, holdings: Holdings, acks: Acknowledgements, reader: Reader, rejoin: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._holdings = holdings
        self._acks = acks
        self._reader = reader
        self._rejoin = rejoin

    async def run_once(self, count: int, block: float) -> list[Delivery]:
        """Return up to `count` new deliveries, after at most `block` seconds.

        Raises `RedisUnavailableError` and `ServerError`. After a failure the reader is `interrupted`: entries may be
        pending without having arrived here.
        """
        holdings = self._holdings
        try:
            entries = await self._read(count, block)
        except GroupNotFoundError:
            await self._recreate_group()
            return []
        if entries and holdings.telemetry.active:
            holdings.telemetry.emit(Fetched(stream=holdings.stream, group=holdings.group, count=len(entries)))
        return holdings.take(entries)

    async def _read(self, count: int, block: float) -> Sequence[NewEntry]:
        """Read, and send the acknowledgements that have gathered with the read."""
        read = partial(self._reader.read, self._holdings.who, count=count, block=block)
        group = self._acks.depart() if self._reader.is_connected else None  # connecting may take long
        if group is None:
            return await read()
        try:
            return await read(ahead=group.commands(), answered=group.arrive)
        finally:
            group.stay()  # if no answer came

    async def _recreate_group(self) -> None:
        position = await self._rejoin()
        if position is not None:  # `None`: another consumer was first
            self._holdings.telemetry.emit(
                GroupRecreated(stream=self._holdings.stream, group=self._holdings.group, position=position)
            )
