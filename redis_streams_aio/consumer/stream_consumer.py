"""`StreamConsumer`: one consumer of one group, made of the parts; the broker's subscriptions are made of it, and
it can be used on its own.

It has no tasks: every duty is a step (`fetch`, `renew`, `reclaim`, `flush`, `save_checkpoint`). The broker repeats
them beside each other; the iterator `subscribe()` does those that are due between two events.

States: *starting* (not yet in its group) -> *running* -> *draining* (`stop()` was called: no more reads) ->
*stopped*. *failed*: it could not start, or `subscribe()` ended with an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Generic, Literal, TypeVar, cast

import msgspec

from .. import entry_ids, naming
from ..checkpoint import CheckpointStore, CheckpointWriter
from ..codecs import Codec, JsonCodec
from ..connection import Connection, replies
from ..connection.backoff import delays
from ..connection.reader import Reader
from ..delivery import Delivery
from ..exceptions import (
    ConfigError,
    DecodeError,
    GroupNotFoundError,
    NotOpenError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamNotFoundError,
)
from ..models import EventMessage, PendingMessage
from ..retry import DeadLetter
from ..telemetry import SILENT, StepFailed, Telemetry
from . import lease
from .fetcher import Fetcher
from .groups import ConsumerGroupManager
from .holdings import Holdings
from .reclaimer import Reclaimer
from .recovery import recover_own
from .settlement import Settlement

T = TypeVar("T")
State = Literal["starting", "running", "draining", "stopped", "failed"]
Sink = Callable[[Sequence[Delivery]], None]

logger = logging.getLogger("redis_streams_aio")


class ConsumerStatus(msgspec.Struct, frozen=True):
    """What a consumer is doing."""

    state: State
    held: int
    """Entries it answers for: handed out by Redis, not yet settled."""
    buffered: int
    """Of these, those not yet given to a handler or to the iterator."""
    unwritten: int
    """Acknowledgements not yet confirmed by Redis."""
    settled: int
    """Entries settled since it started."""
    error: str | None = None
    """Why it failed."""


class StreamConsumer(Generic[T]):
    """Reads one stream as a member of a group.

    ```python
    async with Connection("redis://localhost:6379/0") as connection:
        async with StreamConsumer(connection, "orders", "billing", payload_type=OrderPlaced) as consumer:
            async for event in consumer.subscribe():
                await bill(event.payload)
                await consumer.acknowledge(event)
    ```

    At least once: what was yielded and not acknowledged is yielded again, to this consumer after a restart under
    the same `name`, or to another one when it was idle for `lease` seconds. Leases are renewed between two events:
    choose `lease` longer than one event takes, or call `renew()` meanwhile. Entries that cannot be decoded are
    moved to the dead letters.

    Times in seconds. `start` and `checkpoints` say where a new group begins, see
    `ConsumerGroupManager.create_group`; `name`: this consumer's name, the same after a restart; by default a new
    one each time. Raises `ConfigError` for wrong names or times.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        group: str,
        *,
        payload_type: type[T] = cast("type[T]", dict),  # noqa: B008  # a cast, no call
        codec: Codec | None = None,
        name: str | None = None,
        start: str | datetime = entry_ids.BEGINNING,
        lease: float = 30.0,
        block: float = 2.0,
        count: int = 100,
        reclaim_interval: float = 5.0,
        checkpoints: CheckpointStore | None = None,
        checkpoint_interval: float = 1.0,
        dead_letter: str | None = None,
        telemetry: Telemetry = SILENT,
        sink: Sink | None = None,
    ) -> None:
        name = naming.consumer_name() if name is None else name
        for what, given in (("stream", stream), ("group", group), ("name", name)):
            if wrong := naming.problem(given):
                raise ConfigError(f"{what}: the name {wrong}")
        for what, seconds in (
            ("lease", lease),
            ("block", block),
            ("reclaim_interval", reclaim_interval),
            ("checkpoint_interval", checkpoint_interval),
        ):
            if not seconds > 0:
                raise ConfigError(f"{what}={seconds!r}: expected seconds above 0")
        if count < 1:
            raise ConfigError(f"count={count!r}: expected a whole number, 1 or more")
        self._connection = connection
        self._start = entry_ids.start_position(start)
        self._block = block
        self._count = count
        self._decode = (codec or JsonCodec()).decoder(payload_type)
        self._groups = ConsumerGroupManager(connection)
        self._checkpoints = checkpoints
        self._checkpoint_writer = (
            CheckpointWriter(connection, checkpoints, stream, group, telemetry=telemetry) if checkpoints else None
        )
        self._position: str | None = None
        self._checkpointed = 0
        self._holdings = Holdings(
            connection, stream=stream, group=group, consumer=name, lease=lease, telemetry=telemetry
        )
        self._settlement = Settlement(self._holdings, dead_letter or naming.dead_letters(stream, group))
        self._reclaimer = Reclaimer(self._holdings)
        self._buffer: deque[Delivery] = deque()
        self._sink: Sink = sink or self._buffer.extend
        self._acknowledged = asyncio.Event()
        self._reader: Reader | None = None
        self._fetcher: Fetcher | None = None
        self._state: State = "starting"
        self._error: str | None = None
        self._duties = [
            _Duty(lease / 3, self.renew),
            _Duty(reclaim_interval, self._reclaim_into_room),
            _Duty(checkpoint_interval, self.save_checkpoint),
        ]

    # -- life -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> StreamConsumer[T]:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Join the group, making it if it is not there.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        try:
            await self._join()
        except RedisStreamsError as error:
            self._state, self._error = "failed", str(error)
            raise
        self._reader = self._connection.reader()
        self._fetcher = Fetcher(self._holdings, self._reader, self._join)
        self._state = "running"

    def stop(self) -> None:
        """No more reads: `subscribe()` ends after what it has begun. May be called from a signal handler's callback."""
        if self._state in ("starting", "running"):
            self._state = "draining"

    async def close(self) -> None:
        """Write what was acknowledged, give everything else back so that another consumer has it at once, and
        close the connection.

        Does not raise: where Redis is away, leases run out by themselves.
        """
        self.stop()
        try:
            if self._connection.is_open and self._fetcher is not None:
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._give_back()
        except (RedisStreamsError, TimeoutError) as error:
            logger.warning(
                "%r: not everything was given back, other consumers will have it when the lease runs out: %s",
                self,
                error,
            )
        finally:
            if self._reader is not None:
                await self._reader.close()
            if self._state != "failed":
                self._state = "stopped"

    async def _give_back(self) -> None:
        await self._settlement.flush()
        try:
            await recover_own(self._holdings, _ALL)  # what a read that was cut short may have left
        except GroupNotFoundError:
            return
        await self._settlement.release()
        await self.save_checkpoint()

    # -- reading ----------------------------------------------------------------------------------------------

    async def subscribe(self) -> AsyncIterator[EventMessage[T]]:
        """Yield events as they come, in stream order, until `stop()`.

        Waits through outages. No more than `2 * count` events are handed out before some are acknowledged. Raises
        `ServerError` when Redis refuses for good (permissions, a key that is no stream).
        """
        self._opened()
        waits = delays()
        while self._state == "running":
            try:
                await self._do_what_is_due()
                if not self._buffer:
                    await self._fetch_or_wait()
            except RedisStreamsError as error:
                self._check_survivable(error)
                wait = next(waits)
                self._holdings.telemetry.emit(
                    StepFailed(duty=f"read {self._holdings.stream}", error=str(error), delay=wait)
                )
                await asyncio.sleep(wait)
                continue
            waits = delays()
            if self._buffer and (event := await self._next_event(self._buffer.popleft())) is not None:
                yield event

    async def _fetch_or_wait(self) -> None:
        room = 2 * self._count - len(self._holdings)
        if room > 0:
            await self.fetch(min(room, self._count))
            return
        self._acknowledged.clear()
        try:
            async with asyncio.timeout(self._duties[0].interval):
                await self._acknowledged.wait()
        except TimeoutError:
            logger.warning("%r: waits for acknowledgements before it reads on", self)

    async def _next_event(self, delivery: Delivery) -> EventMessage[T] | None:
        if delivery.lost:
            return None
        try:
            payload = self._decode(delivery.fields)
        except DecodeError as error:
            await self._settlement.dead_letter(delivery, DeadLetter("undecodable", str(error), delivery.failures))
            return None
        delivery.payload = payload
        return cast("EventMessage[T]", delivery.event)

    def _check_survivable(self, error: RedisStreamsError) -> None:
        if not isinstance(error, RedisUnavailableError | StreamNotFoundError):
            self._state, self._error = "failed", str(error)
            raise error

    async def _do_what_is_due(self) -> None:
        now = asyncio.get_running_loop().time()
        for duty in self._duties:
            if now >= duty.due:
                await duty.step()
                duty.due = now + duty.interval

    # -- steps, which the broker repeats by itself ------------------------------------------------------------

    async def fetch(self, room: int) -> int:
        """Read up to `room` entries.

        First what is pending for this consumer and not held (P5), then new ones; how many came.
        """
        fetcher, reader = self._opened()
        if reader.interrupted:
            taken, complete = await self._recover(room)
            reader.interrupted = not complete
            if taken or not complete:
                self._sink(taken)
                return len(taken)
        taken = await fetcher.run_once(min(room, self._count), self._block)
        self._sink(taken)
        return len(taken)

    async def _recover(self, room: int) -> tuple[list[Delivery], bool]:
        try:
            return await recover_own(self._holdings, room)
        except GroupNotFoundError:
            return [], True  # nothing is pending where there is no group; the read that follows makes it again

    async def reclaim(self, room: int | None = None) -> int:
        """Take over entries whose lease ran out at other consumers.

        How many. They are handled like those that were read.
        """
        self._opened()
        room = 2 * self._count - len(self._holdings) if room is None else room
        try:
            taken = await self._reclaimer.run_once(room)
        except GroupNotFoundError:
            return 0
        self._sink(taken)
        return len(taken)

    async def _reclaim_into_room(self) -> None:
        await self.reclaim()

    async def renew(self) -> int:
        """Renew the leases of everything held; how many were lost to other consumers."""
        return await lease.renew(self._holdings)

    async def save_checkpoint(self) -> None:
        """Copy the group's checkpoint into the store, if something was settled since the last time."""
        settled = self._settlement.count
        if self._checkpoint_writer is not None and settled != self._checkpointed:
            try:
                self._position = await self._checkpoint_writer.run_once() or self._position
            except GroupNotFoundError:
                return
            self._checkpointed = settled

    async def unblock(self) -> None:
        """End a read that is waiting, if the server allows it."""
        if self._reader is not None:
            await self._reader.unblock()

    # -- acknowledging and looking ----------------------------------------------------------------------------

    async def acknowledge(self, *events: EventMessage[T] | str) -> int:
        """Acknowledge events (or entry ids) and wait until Redis has it; how many of them this consumer held.

        Raises `RedisUnavailableError`: the acknowledgements are kept, and written with the next call.
        """
        self._opened()
        known = 0
        for event in events:
            delivery = self._holdings.by_id.get((event if isinstance(event, str) else event.id).encode())
            if delivery is not None and not delivery.settled:
                self._settlement.ack(delivery)
                known += 1
        await self._settlement.flush()
        self._acknowledged.set()
        return known

    async def get_pending(self, count: int = 100, *, consumer: str | None = None) -> list[PendingMessage]:
        """The oldest `count` entries that are pending in the group, of all its consumers or of one.

        Raises `GroupNotFoundError`.
        """
        of_consumer = () if consumer is None else (consumer,)
        return replies.pending(
            await self._connection.call(
                "XPENDING", self._holdings.stream, self._holdings.group, "-", "+", count, *of_consumer
            )
        )

    @property
    def name(self) -> str:
        """This consumer's name in its group."""
        return self._holdings.consumer

    @property
    def holdings(self) -> Holdings:
        """What it holds."""
        return self._holdings

    @property
    def settlement(self) -> Settlement:
        """What carries out fates."""
        return self._settlement

    @property
    def status(self) -> ConsumerStatus:
        """What it is doing."""
        return ConsumerStatus(
            self._state,
            len(self._holdings),
            len(self._buffer),
            self._settlement.unwritten,
            self._settlement.count,
            self._error,
        )

    async def _join(self) -> str | None:
        """Make sure that the group is there; the position it was made at, if it was made."""
        stream, group = self._holdings.stream, self._holdings.group
        checkpoint = await self._checkpoints.load(stream, group) if self._checkpoints else None
        position = await self._groups.join(stream, group, self._start, checkpoint or self._position)
        if position is not None:
            self._position = position
            if self._checkpoints is not None:
                await self._checkpoints.save(stream, group, position)
        return position

    def _opened(self) -> tuple[Fetcher, Reader]:
        if self._fetcher is None or self._reader is None:
            raise NotOpenError("the consumer is not open: use 'async with consumer:' around it")
        return self._fetcher, self._reader

    def __repr__(self) -> str:
        status = self.status
        where = f"{self._holdings.stream}/{self._holdings.group}"
        return f"<StreamConsumer {where} {self.name}: {status.state}, {status.held} held>"


_CLOSE_TIMEOUT = 5.0
_ALL = 1_000_000


class _Duty:
    """A step that is to be done every `interval` seconds."""

    __slots__ = ("due", "interval", "step")

    def __init__(self, interval: float, step: Callable[[], Awaitable[object]]) -> None:
        self.interval = interval
        self.step = step
        self.due = 0.0
