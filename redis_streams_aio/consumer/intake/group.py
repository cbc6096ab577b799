"""The source of a group's consumer: new entries of the group, own pending ones, and those that others left.

New entries are read with `XREADGROUP`, on a connection of its own; acknowledgements that have gathered leave with the
read. If the group is lost (stream deleted, `FLUSHALL`, failover), it is recreated at its checkpoint, and reading
continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ...connection.handful import Handful
from ...connection.replies import Answer, NewEntry, Reply, first_id, new_entries
from ...exceptions import GroupNotFoundError, NotOpenError, RedisUnavailableError, StreamNotFoundError
from ...telemetry import Fetched, GroupRecreated
from ..consumer_options import ConsumerOptions
from ..entry import Entry
from ..holdings import Holdings
from ..page import Page
from ..settle.acknowledgements import Acknowledgements, Group
from .abandoned import Reclaimer
from .checkpoint import GroupPosition
from .own import recover_own
from .returning import Returning
from .source import More, Take, TakeNew, no_more

if TYPE_CHECKING:
    from ...connection.reader import Reader  # imports redis-py

Parse = Callable[[Reply], Page | Sequence[NewEntry]]
"""Turns the reply of a read into a page, or into its entries. Raises `ServerError`."""


class _Read(NamedTuple):
    """A read of up to `most` entries, with the acknowledgements that leave with it."""

    most: int
    answer: Callable[[], Awaitable[int]]
    group: Group | None


def _nothing(_: Sequence[Answer]) -> None:
    """Nothing was sent ahead of the read."""


class GroupSource:
    """Gives the entries of a group to one of its consumers."""

    def __init__(
        self,
        holdings: Holdings,
        acks: Acknowledgements,
        position: GroupPosition,
        consumer: ConsumerOptions,
        parse: Parse = new_entries,
    ) -> None:
        self.holdings: Holdings = holdings
        self.handful: Handful = Handful(consumer.count)
        self._acks = acks
        self._position = position
        self._block = consumer.block
        self._parse = parse
        self._tells_of_reads = holdings.telemetry.wants(Fetched)
        self._reclaimer = Reclaimer(holdings)
        self._returning = Returning(holdings)
        self._first_time = True
        self._reader: Reader | None = None
        self._refused_at: int | None = None
        """The version of the Cluster's map by which a node said that there is no group."""
        self._sent: _Read | None = None
        """The read that left with the answer to the last one; the next `fetch` waits for it."""
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self) -> None:
        """Join the group; create it if it does not exist.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        await self._position.join()
        await self._returning.refresh()
        if self._reader is None:
            self._reader = self.holdings.connection.reader(self.holdings.stream, self.holdings.lease)

    @property
    def is_open(self) -> bool:
        """Whether the consumer has joined its group."""
        return self._reader is not None

    @property
    def has_all_own_entries(self) -> bool:
        """Whether this consumer holds all its pending entries."""
        return self._reader is not None and not self._reader.interrupted

    @property
    def next_look(self) -> float:
        """The time on the event loop's clock before which `abandoned` finds nothing, except released entries."""
        return self._reclaimer.next_look

    @property
    def may_unblock(self) -> bool:
        """Whether the server lets us end a read that is waiting."""
        return self._reader is not None and self._reader.may_unblock is True

    async def fetch(self, room: int, take: TakeNew, *, wait: float | None = None, more: More = no_more) -> int:
        """Wait for new entries, and take up to `room` of them.

        Raises `NotOpenError`, `RedisUnavailableError`, `ServerError`. After a failure entries may be pending without
        having arrived here.
        """
        while not self._idle.is_set():
            await self._idle.wait()  # the reader's connection is busy with another caller's read
        self._idle.clear()
        try:
            return await self._fetch(self._sent or self._read(room, take, more, wait), take)
        except GroupNotFoundError:
            if await self._is_lost():
                await self._recreate_group()
            return 0
        except BaseException:
            await self._drop_sent()
            raise
        finally:
            self._idle.set()

    async def _fetch(self, read: _Read, take: TakeNew) -> int:
        self._sent = None
        try:
            with self.handful.asking_for(read.most):
                came = await read.answer()
        finally:
            if read.group is not None:
                read.group.stay()  # if no answer came
        self._refused_at = None
        if self._returning:
            came += await self._take_returning(take)
        self.handful.came(came)
        return came

    def _read(self, room: int, take: TakeNew, more: More, wait: float | None) -> _Read:
        """Return a read that is sent when its answer is awaited. Raises `NotOpenError`."""
        reader, count = self._open_reader(), min(room, self.handful.size)
        block = self._block if wait is None else wait
        parse = partial(self._arrived, take, more, count)
        read = partial(reader.read, self.holdings.who, count=count, block=block, parse=parse)
        group = self._acks.depart() if reader.is_connected else None  # connecting may take long
        if group is not None:
            read = partial(read, ahead=group.commands(), answered=group.arrive)
        return _Read(count, read, group)

    def _read_on(self, take: TakeNew, more: More) -> None:
        """Send the next read now if there is room, because the answer to the last one is here, and full."""
        reader = self._reader
        if reader is None or not reader.may_read_on or not (count := more()):
            return
        group = self._acks.depart()
        asked = reader.read_on(
            self.holdings.who,
            count=count,
            block=self._block,
            parse=partial(self._arrived, take, more, count),
            ahead=() if group is None else group.commands(),
            answered=_nothing if group is None else group.arrive,
        )
        self._sent = _Read(count, partial(reader.answer, asked), group)

    async def _drop_sent(self) -> None:
        """Forget a read that was sent and that nobody will wait for."""
        sent, self._sent = self._sent, None
        if sent is not None and self._reader is not None:
            if sent.group is not None:
                sent.group.stay()
            await self._reader.leave()

    async def own(self, room: int, take: Take) -> int:
        """Take up to `room` own pending entries that are not held, oldest first."""
        room = min(room, self.handful.size)
        if await self._returning.has_lost_history():
            self._position.moved()  # a store's checkpoint must not stay ahead
        came = await self._hand_over(room, recover_own(self.holdings, room, counts=self._first_time), take)
        self._first_time = self._first_time and came == room
        if self._reader is not None:
            self._reader.interrupted = came == room  # there may be more
        return came

    async def abandoned(self, room: int, take: Take) -> int:
        """Take over up to `room` entries whose leases expired at other consumers, oldest first."""
        room = min(room, self.handful.size)
        try:
            return await self._hand_over(room, self._reclaimer.run(room), take) if room > 0 else 0
        except RedisUnavailableError:
            self.look_back()  # the lost answer may have contained entries for this consumer
            raise

    def look_back(self) -> None:
        """Take own pending entries before newer ones."""
        if self._reader is not None:
            self._reader.interrupted = True

    async def unblock(self) -> None:
        """End a read that is waiting, if the server allows it."""
        if self._reader is not None:
            await self._reader.unblock()

    async def close(self) -> None:
        """Close the connection of the reads."""
        await self._drop_sent()
        reader, self._reader = self._reader, None
        if reader is not None:
            await self.holdings.connection.release(reader)

    # -- inside -----------------------------------------------------------------------------------------------

    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise NotOpenError("the consumer is not open: use 'async with consumer:' around it")
        return self._reader

    def _arrived(self, take: TakeNew, more: More, asked: int, reply: Reply) -> int:
        """Hold the entries of a reply that are not held yet, hand them over, and return how many these are.

        Where the reply has all entries that were `asked` for, the next read leaves before.
        """
        if (first := first_id(reply, asked)) is not None and self._returning.is_new(first):
            self._read_on(take, more)
        return self._take_in(take, reply)

    def _take_in(self, take: TakeNew, reply: Reply) -> int:
        holdings = self.holdings
        found = self._parse(reply)
        ids = found.ids if isinstance(found, Page) else [raw_id for raw_id, _ in found]
        if not ids:
            return 0
        if self._tells_of_reads:
            holdings.telemetry.emit(Fetched(**holdings.here, count=len(ids)))
        if not self._returning.are_new(ids):
            self._returning.keep(new_entries(reply))
            return 0
        if not isinstance(found, Page):
            return self._give(holdings.take(found), take)
        others = holdings.take_page(found)
        return self._give_page(found, take) if others is None else self._give(others, take)

    def _give_page(self, page: Page, take: TakeNew) -> int:
        self.handful.weighed(page.weight)
        take(page)
        self._position.moved()
        return len(page.ids)

    async def _take_returning(self, take: Take) -> int:
        """Hand over entries that came as new ones, and may have been delivered before."""
        try:
            return self._give(await self._returning.take(), take)
        except BaseException:
            self.look_back()
            raise

    async def _hand_over(self, room: int, parts: AsyncIterator[list[Entry]], take: Take) -> int:
        came = 0
        with suppress(StreamNotFoundError), self.handful.asking_for(room):  # the next read recreates a lost group
            async for taken in parts:
                came += self._give(taken, take)
        self.handful.came(came)
        return came

    def _give(self, taken: Sequence[Entry], take: Take) -> int:
        self.handful.weigh(taken)
        take(taken)
        if taken:
            self._position.moved()
        return len(taken)

    async def _is_lost(self) -> bool:
        """Whether the owner of the stream says that there is no group. Raises `RedisUnavailableError`.

        In a Cluster, a node that has lost the stream to another one may say so too. So the map is looked at, and the
        next read asks its owner: only a second refusal by the same map counts.
        """
        if not self.holdings.connection.is_spread:
            return True
        before, self._refused_at = self._refused_at, await self.holdings.connection.refresh()
        return before == self._refused_at

    async def _recreate_group(self) -> None:
        position = await self._position.join()
        await self._returning.refresh()
        if position is not None:  # `None`: another consumer was first
            self.holdings.telemetry.emit(GroupRecreated(**self.holdings.here, position=position))
