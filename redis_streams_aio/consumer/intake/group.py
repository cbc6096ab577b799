"""The fetcher: reads new entries for one consumer, no more than there is room for (P6).

A group that is lost under it (stream deleted, `FLUSHALL`, failover) is made again by `rejoin`, and the read goes
on (P17).
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
    """Reads with `XREADGROUP ... >`."""

    def __init__(
        self, holdings: Holdings, acks: Acknowledgements, reader: Reader, rejoin: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._holdings = holdings
        self._acks = acks
        self._reader = reader
        self._rejoin = rejoin

    async def run_once(self, count: int, block: float) -> list[Delivery]:
        """Up to `count` new deliveries, after at most `block` seconds; `[]` when none came.

        Raises `RedisUnavailableError` and `ServerError`. After a failure the reader is `interrupted`: entries may
        be pending unseen.
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
        """Read, and take along what has been handled."""
        holdings = self._holdings
        read = partial(self._reader.read, holdings.stream, holdings.group, holdings.consumer, count=count, block=block)
        group = self._acks.depart() if self._reader.is_connected else None  # connecting may take its time
        if group is None:
            return await read()
        try:
            return await read(ahead=group.commands(), answered=group.arrive)
        finally:
            group.stay()  # where no answer came

    async def _recreate_group(self) -> None:
        position = await self._rejoin()
        if position is not None:  # else another consumer was first
            self._holdings.telemetry.emit(
                GroupRecreated(stream=self._holdings.stream, group=self._holdings.group, position=position)
            )
