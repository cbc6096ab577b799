"""`Member`: one consumer of one group, as separate steps. Subscriptions and `StreamConsumer` are built on it.

A member has no tasks: every duty is a step (`fetch`, `reclaim`, `renew`, `save_checkpoint`), and the owner decides when
it runs. All entries that are read, recovered and reclaimed go to one sink.

Life: `open` joins the group. `close` writes all fates, releases the other entries, and removes a made-up name from the
group. After a failure, and at the start, the member takes up its own pending entries before it reads new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..checkpoint import CheckpointStore, CheckpointWriter, FencedStore, current
from ..checks import names
from ..connection.handful import Handful
from ..connection.steps.dead_letters import DeadLetterOptions
from ..connection.steps.leases import note_lease
from ..events.delivery import Delivery
from ..exceptions import (
    CheckpointStoreError,
    GroupNotFoundError,
    NotOpenError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamNotFoundError,
)
from ..handlers.subscription_options import SubscriptionOptions
from ..telemetry.logs import log
from .consumer_options import ConsumerOptions
from .groups import ConsumerGroupManager
from .holdings import Holdings, Shared
from .intake.abandoned import Reclaimer
from .intake.cleaner import Cleaner
from .intake.group import Fetcher
from .intake.leases import LeaseKeeper
from .intake.own import recover_own
from .settle.settlement import Settlement

if TYPE_CHECKING:
    from ..connection.reader import Reader

Sink = Callable[[Sequence[Delivery]], None]

CLOSE_TIMEOUT = 5.0
"""The longest time in seconds that a silent Redis delays closing."""
_ALL = 1_000_000


class Member:
    """One consumer of one group: its steps, and the order of its life."""

    def __init__(
        self,
        shared: Shared,
        options: SubscriptionOptions,
        consumer: ConsumerOptions,
        checkpoints: CheckpointStore | None,
        sink: Sink,
    ) -> None:
        connection, stream, group = shared.connection, options.stream, options.group
        self.options = options
        self.consumer = consumer
        self.holdings: Holdings = Holdings(shared, options, consumer.name or names.consumer_name())
        limits = (consumer.dead_letter_maxlen, consumer.dead_letter_retention)
        self.settlement: Settlement = Settlement(self.holdings, DeadLetterOptions(options.dead_letter, *limits))
        self._connection = connection
        self._sink = sink
        self._groups = ConsumerGroupManager(connection)
        self._keeper = LeaseKeeper(connection, options.lease, lambda: (self.holdings,))
        self._reclaimer = Reclaimer(self.holdings)
        self._cleaner = Cleaner(self.holdings)
        self.handful: Handful = Handful(consumer.count)
        """The number of entries to ask for at once."""
        self._checkpoints = None if checkpoints is None else FencedStore(checkpoints)
        self._checkpoint_writer = (
            None
            if checkpoints is None
            else CheckpointWriter(connection, checkpoints, stream, group, telemetry=shared.telemetry)
        )
        self._checkpointed = 0
        self._first_recovery = True
        self._position: str | None = None
        self._reader: Reader | None = None
        self._fetcher: Fetcher | None = None

    async def open(self) -> None:
        """Join the group; create it if it does not exist.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        await self._join()
        if self._reader is None:
            self._reader = self._connection.reader(self.options.stream)
        self._fetcher = Fetcher(self.holdings, self.settlement.acks, self._reader, self._join, self._take)

    @property
    def caught_up(self) -> bool:
        """Whether this consumer holds all its pending entries.

        Only then may it take other entries, to keep the order.
        """
        return self._reader is not None and not self._reader.interrupted

    async def close(self, *, release: bool = True) -> None:
        """Write all fates, release the other entries so that another consumer takes them over at once, and disconnect.

        Without `release` the other entries stay pending until their leases expire. Does not raise: if Redis is away,
        the leases expire too.
        """
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            if self._connection.is_open:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    try:
                        await self.settlement.finish()
                    except RedisStreamsError as error:  # a full Redis still accepts releases
                        log.warning("%r: some fates could not be written; these events come again: %r", self, error)
                    if release:
                        await self._release_rest()
        except GroupNotFoundError:
            pass  # without a group nothing is pending
        except (RedisStreamsError, TimeoutError) as error:
            log.warning("%r: some entries were not released; others take them over after the lease: %r", self, error)
        finally:
            await self._keeper.close()
            await self._connection.release(reader)

    async def _release_rest(self) -> None:
        holdings = self.holdings
        while await self.recover(_ALL):  # entries that an interrupted read may have left
            pass
        await self.settlement.release()
        with suppress(RedisRefusedError, CheckpointStoreError):
            await self.save_checkpoint()
        if self.consumer.name is None:
            await self._groups.delete_consumer(holdings.stream, holdings.group, holdings.consumer)

    async def fetch(self, room: int) -> int:
        """Read up to `room` entries, and return how many came: first own pending entries that are not held, then new
        ones.

        Raises `NotOpenError`, `RedisUnavailableError`, `ServerError`.
        """
        if self._reader is None or self._fetcher is None:
            raise NotOpenError("the consumer is not open: use 'async with consumer:' around it")
        if self._reader.interrupted and (came := await self.recover(room)):
            return came
        count = min(room, self.handful.size)
        with self.handful.asking_for(count):
            came = await self._fetcher.run_once(count, self.consumer.block)
        self.handful.came(came)
        return came

    def _take(self, taken: Sequence[Delivery]) -> None:
        self.handful.weigh(taken)
        self._sink(taken)
        if taken:  # after a reset or a replay older entries come: the checkpoint must not stay ahead of them
            self._checkpointed = -1

    async def recover(self, room: int) -> int:
        """Take up to `room` own pending entries that are not held, oldest first, and return their number."""
        room = min(room, self.handful.size)
        came = await self._sink_all(room, recover_own(self.holdings, room, counts=self._first_recovery))
        self._first_recovery = self._first_recovery and came == room
        if self._reader is not None:
            self._reader.interrupted = came == room  # there may be more
        return came

    async def _sink_all(self, room: int, parts: AsyncIterator[list[Delivery]]) -> int:
        """Pass entries on part by part, so that held entries are not forgotten if a later part fails."""
        came = 0
        with suppress(StreamNotFoundError), self.handful.asking_for(room):  # the next read recreates a lost group
            async for taken in parts:
                self._take(taken)
                came += len(taken)
        self.handful.came(came)
        return came

    @property
    def next_look(self) -> float:
        """The time on the event loop's clock before which `reclaim` finds nothing, except released entries."""
        return self._reclaimer.next_look

    async def reclaim(self, room: int) -> int:
        """Take over up to `room` entries whose leases expired at other consumers, and return their number."""
        try:
            room = min(room, self.handful.size)
            return await self._sink_all(room, self._reclaimer.run(room)) if room > 0 else 0
        except RedisUnavailableError:
            if self._reader is not None:
                self._reader.interrupted = True  # the lost answer may have contained entries for this consumer
            raise

    async def renew(self) -> int:
        """Renew all leases, and return how many were lost to other consumers."""
        return await self._keeper.run_once()

    async def clean_up(self, consumer_expiry: float) -> None:
        """Remove consumers that have been idle for `consumer_expiry` with nothing pending, what others have left beside
        the group, and old dead letters.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await self._note_lease()  # another consumer may have removed this name, and its lease, as idle
        await self.settlement.trim_dead_letters()
        await self._cleaner.run_once(consumer_expiry)

    @property
    def checkpoint_due(self) -> bool:
        """Whether entries were settled since the store last had the group's checkpoint."""
        return self._checkpoint_writer is not None and self.holdings.settled_count != self._checkpointed

    async def save_checkpoint(self) -> None:
        """Copy the group's checkpoint into the store, if entries were settled since the store last had it.

        Checks once more on the next turn: our write may have replaced a newer checkpoint of another process.
        """
        if self._checkpoint_writer is None or not self.checkpoint_due:
            return
        settled = self.holdings.settled_count
        try:
            position = await self._checkpoint_writer.run_once()
        except GroupNotFoundError:
            return
        if position == self._position or self._checkpoint_writer.is_atomic:
            self._checkpointed = settled
        self._position = position or self._position

    def look_back(self) -> None:
        """Take up own pending entries before the next read."""
        if self._reader is not None:
            self._reader.interrupted = True

    async def unblock(self) -> None:
        """End a read that is waiting, if the server allows it."""
        if self._reader is not None:
            await self._reader.unblock()

    async def _join(self) -> str | None:
        """Create the group if it does not exist, and return its position; `None` if it existed."""
        stream, group = self.options.stream, self.options.group
        checkpoint = None if self._checkpoints is None else await self._checkpoints.load(stream, group)
        made_at = await self._groups.join(stream, group, self.options.start, checkpoint or self._position)
        # a group that is lost before anything was settled must not be recreated at `start`, which may be the end; and
        # if another consumer has recreated it, the remembered position may be from before
        try:
            self._position = await self._stored_position()  # a FLUSHALL deletes the store's position too
        except GroupNotFoundError:
            return await self._join()  # lost again in between
        await self._note_lease()
        return made_at

    async def _stored_position(self) -> str:
        """Return the group's checkpoint, and store it."""
        if self._checkpoint_writer is not None:
            with suppress(RedisRefusedError):  # a full Redis is drained without it
                return await self._checkpoint_writer.run_once()
        return await current(self._connection, self.options.stream, self.options.group)

    async def _note_lease(self) -> None:
        """Write the lease for the other consumers of the group, before there are entries to take over."""
        await note_lease(self._connection, self.holdings.who, self.holdings.lease_ms)

    def __repr__(self) -> str:
        return (
            f"<Member {self.options.stream}/{self.options.group} {self.holdings.consumer}: {len(self.holdings)} held>"
        )
