"""`Member`: one consumer of one group, as its steps. The broker's subscriptions and `StreamConsumer` are made of it.

It has no tasks: every duty is a step (`fetch`, `reclaim`, `renew`, `save_checkpoint`), and whoever owns it says
when. What is read, recovered and reclaimed goes to one sink.

Life: `open` joins the group, `close` writes what was settled, gives back what was not, and takes the consumer's
name out of the group if the name was made up for this life. After a failure, and at the start, its own pending
list is looked through before anything new is read (P5).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from ..checkpoint import CheckpointStore, CheckpointWriter, FencedStore, current
from ..checks import names, values
from ..connection import Connection
from ..connection.handful import Handful
from ..connection.steps.dead_letters import DeadLetterOptions
from ..connection.steps.leases import note_lease
from ..events import entry_ids, keys
from ..events.delivery import Delivery
from ..events.outgoing import Compose
from ..exceptions import (
    CheckpointStoreError,
    GroupNotFoundError,
    NotOpenError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamNotFoundError,
)
from ..telemetry import Telemetry
from ..telemetry.logs import log
from .groups import ConsumerGroupManager
from .holdings import Holdings
from .intake.abandoned import Reclaimer
from .intake.cleaner import remove_idle_consumers
from .intake.group import Fetcher
from .intake.leases import LeaseKeeper
from .intake.own import recover_own
from .settle.settlement import Settlement

if TYPE_CHECKING:
    from ..connection.reader import Reader

Sink = Callable[[Sequence[Delivery]], None]

CLOSE_TIMEOUT = 5.0
"""Seconds that a Redis which does not answer can hold up closing."""
_ALL = 1_000_000


class MemberOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who a consumer is and how it reads. Times in seconds. Raises `ConfigError`."""

    stream: str
    group: str
    name: str | None = None
    """The consumer's name, the same after a restart; `None`: a new one each time."""
    start: str = entry_ids.BEGINNING
    lease: float = 30.0
    block: float = 2.0
    count: int = 100
    dead_letters: DeadLetterOptions | None = None
    """Default: `{<stream>}:<group>:dead`, without a bound."""

    def __post_init__(self) -> None:
        for what in ("stream", "group", "name"):
            if what != "name" or self.name is not None:
                msgspec.structs.force_setattr(self, what, names.checked(what, getattr(self, what)))
        for what in ("lease", "block"):
            values.seconds(what, getattr(self, what))
        values.whole("count", self.count, 1)


class Member:
    """See the module."""

    def __init__(
        self,
        connection: Connection,
        options: MemberOptions,
        checkpoints: CheckpointStore | None,
        telemetry: Telemetry,
        sink: Sink,
        *,
        compose: Compose | None = None,
    ) -> None:
        self.options = options
        name = options.name or names.consumer_name()
        stream, group = options.stream, options.group
        self.holdings: Holdings = Holdings(
            connection,
            stream=stream,
            group=group,
            consumer=name,
            lease=options.lease,
            telemetry=telemetry,
            compose=compose,
        )
        dead_letters = options.dead_letters or DeadLetterOptions(keys.dead_letters(stream, group))
        self.settlement: Settlement = Settlement(self.holdings, dead_letters)
        self._connection = connection
        self._sink = sink
        self._groups = ConsumerGroupManager(connection)
        self._keeper = LeaseKeeper(connection, [self.holdings])
        self._reclaimer = Reclaimer(self.holdings)
        self.handful: Handful = Handful(options.count)
        """How many entries are asked for at once."""
        self._checkpoints = FencedStore(checkpoints) if checkpoints else None
        self._checkpoint_writer = (
            CheckpointWriter(connection, checkpoints, stream, group, telemetry=telemetry) if checkpoints else None
        )
        self._checkpointed = 0
        self._first_recovery = True
        self._position: str | None = None
        self._reader: Reader | None = None
        self._fetcher: Fetcher | None = None

    async def open(self) -> None:
        """Join the group, making it if it is not there.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        await self._join()
        if self._reader is None:
            self._reader = self._connection.reader()
        self._fetcher = Fetcher(self.holdings, self.settlement.acks, self._reader, self._join)

    @property
    def caught_up(self) -> bool:
        """Whether all that is pending for this consumer is held.

        Only then may anything else be taken, to keep the order.
        """
        return self._reader is not None and not self._reader.interrupted

    async def close(self, *, give_back: bool = True) -> None:
        """Write what was settled, give everything else back so that another consumer has it at once, and disconnect.

        Without `give_back` the rest is left to its leases. Does not raise: where Redis is away, leases run out too.
        """
        reader, self._reader = self._reader, None
        if reader is None:
            return
        try:
            if self._connection.is_open:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    try:
                        await self.settlement.finish()
                    except RedisStreamsError as error:  # a Redis that is full still takes what is given back
                        log.warning("%r: not every fate was written; those events come again: %r", self, error)
                    if give_back:
                        await self._give_back()
        except GroupNotFoundError:
            pass  # nothing is pending where there is no group
        except (RedisStreamsError, TimeoutError) as error:
            log.warning("%r: not all was given back; others will have it when the lease runs out: %r", self, error)
        finally:
            await self._keeper.close()
            await self._connection.release(reader)

    async def _give_back(self) -> None:
        holdings = self.holdings
        while await self.recover(_ALL):  # what a read that was cut short may have left
            pass
        await self.settlement.release()
        with suppress(RedisRefusedError, CheckpointStoreError):
            await self.save_checkpoint()
        if self.options.name is None:
            await self._groups.delete_consumer(holdings.stream, holdings.group, holdings.consumer)

    async def fetch(self, room: int) -> int:
        """Read up to `room` entries: first what is pending for this consumer and not held, then new ones; how many
        came.

        Raises `NotOpenError`, `RedisUnavailableError`, `ServerError`.
        """
        if self._reader is None or self._fetcher is None:
            raise NotOpenError("the consumer is not open: use 'async with consumer:' around it")
        if self._reader.interrupted and (came := await self.recover(room)):
            return came
        count = min(room, self.handful.size)
        with self.handful.asking_for(count):
            taken = await self._fetcher.run_once(count, self.options.block)
        self.handful.came(len(taken))
        self._take(taken)
        return len(taken)

    def _take(self, taken: Sequence[Delivery]) -> None:
        self.handful.weigh(taken)
        self._sink(taken)
        if taken:  # older ones may come too, after a reset or a replay: the checkpoint must not stay ahead of them
            self._checkpointed = -1

    async def recover(self, room: int) -> int:
        """Take up to `room` entries that are pending for this consumer and not held, oldest first (P5); how many."""
        room = min(room, self.handful.size)
        came = await self._sink_all(room, recover_own(self.holdings, room, counts=self._first_recovery))
        self._first_recovery = self._first_recovery and came == room
        if self._reader is not None:
            self._reader.interrupted = came == room  # there may be more
        return came

    async def _sink_all(self, room: int, parts: AsyncIterator[list[Delivery]]) -> int:
        """Hand on what comes, part by part: what is held must not be forgotten because a later part fails."""
        came = 0
        with suppress(StreamNotFoundError), self.handful.asking_for(room):  # the next read makes a lost group again
            async for taken in parts:
                self._take(taken)
                came += len(taken)
        self.handful.came(came)
        return came

    @property
    def next_look(self) -> float:
        """Until when, on the event loop's clock, `reclaim` finds nothing, but for what is given back meanwhile."""
        return self._reclaimer.next_look

    def look_at_everything(self) -> None:
        """Have the next `reclaim` look for what living consumers have let go, too: else it does so once a lease."""
        self._reclaimer.look_at_everything()

    async def reclaim(self, room: int) -> int:
        """Take over up to `room` entries whose lease ran out at other consumers; how many."""
        try:
            room = min(room, self.handful.size)
            return await self._sink_all(room, self._reclaimer.run(room)) if room > 0 else 0
        except RedisUnavailableError:
            if self._reader is not None:
                self._reader.interrupted = True  # the answer that was lost may have given us entries
            raise

    async def renew(self) -> int:
        """Renew the leases of everything held; how many were lost to other consumers."""
        return await self._keeper.run_once()

    async def clean_up(self, consumer_expiry: float) -> None:
        """Remove names of consumers that have been idle so long with nothing pending, and dead letters past their time.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await self._note_lease()  # the name, and the lease with it, may have been taken for one that was idle
        await self.settlement.trim_dead_letters()
        await remove_idle_consumers(self.holdings, consumer_expiry)

    @property
    def checkpoint_due(self) -> bool:
        """Whether something was settled since the store was last found to have the group's checkpoint."""
        return self._checkpoint_writer is not None and self.holdings.settled_count != self._checkpointed

    async def save_checkpoint(self) -> None:
        """Copy the group's checkpoint into the store, if something was settled since it was last found there.

        What was written is looked at once more the next time: it may have come late, over another process's newer one.
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

    async def unblock(self) -> None:
        """End a read that is waiting, if the server allows it."""
        if self._reader is not None:
            await self._reader.unblock()

    async def _join(self) -> str | None:
        """Make sure that the group is there; the position it was made at, if it was made."""
        stream, group = self.options.stream, self.options.group
        checkpoint = await self._checkpoints.load(stream, group) if self._checkpoints else None
        made_at = await self._groups.join(stream, group, self.options.start, checkpoint or self._position)
        # a group that is lost before anything was settled must not be made again at `start`, which may be the end; and
        # where another consumer has made it again, what is remembered may be of the life before
        try:
            self._position = await self._stored_position()  # a FLUSHALL takes the store's with it
        except GroupNotFoundError:
            return await self._join()  # lost again in between
        await self._note_lease()
        return made_at

    async def _stored_position(self) -> str:
        """The group's checkpoint, which the store has too from here on."""
        if self._checkpoint_writer is not None:
            with suppress(RedisRefusedError):  # a Redis that is full is drained without it
                return await self._checkpoint_writer.run_once()
        return await current(self._connection, self.options.stream, self.options.group)

    async def _note_lease(self) -> None:
        """Have the other consumers of the group know the lease, before there is anything to take over."""
        await note_lease(self._connection, self.holdings.who, self.holdings.lease_ms)

    def __repr__(self) -> str:
        return (
            f"<Member {self.options.stream}/{self.options.group} {self.holdings.consumer}: {len(self.holdings)} held>"
        )
