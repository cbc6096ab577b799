"""`StreamConsumer`: a consumer without a broker, as an async iterator.

It has no tasks: between two events, `subscribe()` renews leases, takes over abandoned entries and saves checkpoints.

States: *starting* (not in its group yet) -> *running* -> *draining* (`stop()` was called: it stops reading) ->
*stopped*. *failed*: it could not start, or `subscribe()` ended with an error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from ..checkpoint import CheckpointStore
from ..checks import names, values
from ..codecs import Codec
from ..config import MAX_PAYLOAD_BYTES
from ..connection import Connection, replies
from ..connection.backoff import delays
from ..events import entry_ids
from ..events.delivery import Delivery
from ..events.replays import FOR_ANOTHER_GROUP
from ..exceptions import (
    CheckpointStoreError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamNotFoundError,
)
from ..handlers.error_texts import describe
from ..handlers.fates import DeadLetter
from ..handlers.subscription_options import SubscriptionOptions
from ..models import EventMessage, PendingMessage
from ..telemetry import SILENT, StepFailed, Telemetry
from ..telemetry.logs import log
from .consumer_options import ConsumerOptions
from .group_consumer import GroupConsumer
from .holdings import Shared
from .intake.leases import LeaseKeeper
from .status import ConsumerState, ConsumerStatus
from .stream_options import dead_letters, decoder
from .timed_steps import TimedSteps

T = TypeVar("T")


class StreamConsumer(Generic[T]):
    """Reads one stream as a member of a group.

    ```python
    async with Connection("redis://localhost:6379/0") as connection:
        async with StreamConsumer(connection, "orders", "billing", payload_type=OrderPlaced) as consumer:
            async for event in consumer.subscribe():
                await bill(event.payload)
                await consumer.acknowledge(event)
    ```

    At least once: an event that was yielded and not acknowledged is yielded again, to this consumer after a restart
    under the same `name`, or to another one when it was idle for `lease` seconds. Leases are renewed between two
    events: choose `lease` longer than one event takes, or call `renew()` meanwhile. Entries that cannot be decoded, or
    have a payload of more than `max_payload_bytes`, are moved to the dead letters: it decides `undecodable` itself.

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
        payload_type: type[T] = cast("type[T]", dict),  # noqa: B008  # only a cast
        codec: Codec | None = None,
        name: str | None = None,
        start: str | datetime = entry_ids.BEGINNING,
        lease: float = 30.0,
        block: float = 2.0,
        count: int = 100,
        reclaim_interval: float = 0.5,
        checkpoints: CheckpointStore | None = None,
        checkpoint_interval: float = 1.0,
        dead_letter: str | None = None,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        telemetry: Telemetry = SILENT,
    ) -> None:
        options = SubscriptionOptions(
            stream=names.checked("stream", stream),
            group=names.checked("group", group),
            start=entry_ids.start_position(start),
            lease=values.seconds("lease", lease),
            dead_letter="" if dead_letter is None else dead_letters(stream, dead_letter),
        )
        consumer = ConsumerOptions(
            name=None if name is None else names.checked("name", name),
            block=values.seconds("block", block),
            count=values.whole("count", count, 1),
        )
        values.seconds("reclaim_interval", reclaim_interval)
        values.seconds("checkpoint_interval", checkpoint_interval)
        self._connection = values.instance("connection", connection, Connection)
        self._telemetry = values.instance("telemetry", telemetry, Telemetry)
        if checkpoints is not None:
            values.has_methods("checkpoints", checkpoints, "load", "save")
        self._decode = decoder(codec, payload_type, values.whole("max_payload_bytes", max_payload_bytes, 1))
        self._buffer: deque[Delivery] = deque()
        self._options, self._count = options, consumer.count
        self._consumer = GroupConsumer(Shared(connection, telemetry), options, consumer, checkpoints)
        self._holdings, self._settlement = self._consumer.holdings, self._consumer.settlement
        self._source, self._position = self._consumer.source, self._consumer.position
        self._keeper = LeaseKeeper(connection, options.lease, lambda: (self._holdings,))
        self._acknowledged = asyncio.Event()
        self._state: ConsumerState = "starting"
        self._error: str | None = None
        self._patience = lease / 3
        self._duties = TimedSteps(
            (lease / 3, self.renew),
            (reclaim_interval, self.reclaim),
            (checkpoint_interval, self._save_checkpoint),
        )

    # -- life -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Join the group; create it if it does not exist.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        try:
            await self._source.open()
        except RedisStreamsError as error:
            self._state, self._error = "failed", str(error)
            raise
        self._state = "running"

    def stop(self) -> None:
        """Stop reading: `subscribe()` ends after the current event."""
        if self._state in ("starting", "running"):
            self._state = "draining"

    async def close(self) -> None:
        """Write what was acknowledged, and release everything else, so that another consumer has it at once.

        Does not raise.
        """
        self.stop()
        await self._consumer.leave()
        await self._keeper.close()
        if self._state != "failed":
            self._state = "stopped"

    # -- reading ----------------------------------------------------------------------------------------------

    async def subscribe(self) -> AsyncIterator[EventMessage[T]]:
        """Yield events as they come, in stream order, until `stop()`.

        Waits through outages. No more than `2 * count` events are handed out before some are acknowledged. Raises
        `NotOpenError`, and `ServerError` when Redis refuses for good (permissions, a key that is not a stream).
        """
        waits = delays()
        while self._state in ("starting", "running"):
            try:
                await self._read_once()
                event = await self._next_event(self._buffer.popleft()) if self._buffer else None
            except RedisStreamsError as error:
                await self._survive(error, next(waits))
                continue
            waits = delays()
            if event is not None:
                yield event

    async def fetch(self, room: int) -> int:
        """Read up to `room` entries, for at most `block` seconds; return how many came. `subscribe()` does this."""
        if not self._source.caught_up and (came := await self._source.own(room, self._buffer.extend)):
            return came
        return await self._source.fetch(room, self._buffer.extend)

    async def reclaim(self) -> int:
        """Take over entries whose lease ran out, as there is room; return how many. `subscribe()` yields them."""
        return await self._source.abandoned(self._room(), self._buffer.extend)

    async def renew(self) -> int:
        """Renew the leases of everything held; return how many were lost to other consumers."""
        return await self._keeper.run_once()

    async def _save_checkpoint(self) -> None:
        with suppress(RedisRefusedError, CheckpointStoreError):  # saved at a later turn; events continue meanwhile
            await self._position.save()

    def _room(self) -> int:
        return 2 * self._count - len(self._holdings)

    async def _read_once(self) -> None:
        """Carry out the duties that are due, and fill the buffer if it is empty."""
        if not self._source.caught_up and not self._buffer:
            await self._source.own(self._room(), self._buffer.extend)
        await self._duties.do_due(asyncio.get_running_loop().time())
        if self._buffer:
            return
        room = self._room()
        await (self.fetch(room) if room > 0 else self._wait_for_acknowledgements())

    async def _wait_for_acknowledgements(self) -> None:
        self._acknowledged.clear()
        try:
            async with asyncio.timeout(self._patience):
                await self._acknowledged.wait()
        except TimeoutError:
            log.warning("%r: waits for acknowledgements before it reads more events", self)

    async def _next_event(self, delivery: Delivery) -> EventMessage[T] | None:
        if delivery.lost:
            return None
        if delivery.refusal is FOR_ANOTHER_GROUP:
            await self.acknowledge(delivery.id)
            return None
        try:
            delivery.payload = self._decode(delivery.fields)
        except Exception as error:  # noqa: BLE001  # a user's codec may raise anything
            fate = DeadLetter("undecodable", describe(error), delivery.failures)
            if await self._settlement.settle(delivery, fate):
                self._buffer.appendleft(delivery)
                await asyncio.sleep(max(0.0, delivery.due - asyncio.get_running_loop().time()))
            return None
        return cast("EventMessage[T]", delivery.event)

    async def _survive(self, error: RedisStreamsError, wait: float) -> None:
        if not isinstance(error, RedisUnavailableError | StreamNotFoundError):
            self._state, self._error = "failed", str(error)
            raise error
        self._telemetry.emit(StepFailed.of(f"read {self._options.stream}", error, wait))
        await asyncio.sleep(wait)

    # -- acknowledging and looking ----------------------------------------------------------------------------

    async def acknowledge(self, *events: EventMessage[T] | str) -> int:
        """Acknowledge events (or entry ids), wait until Redis confirms, and return how many this consumer held.

        Raises `RedisUnavailableError`; the acknowledgements are then kept, and written with the next call.
        """
        known = 0
        for event in events:
            delivery = self._holdings.by_id.get((event if isinstance(event, str) else event.id).encode())
            if delivery is not None and not delivery.settled:
                self._settlement.ack(delivery)
                known += 1
        await self._settlement.acks.flush()
        self._acknowledged.set()
        return known

    async def get_pending(self, count: int = 100, *, consumer: str | None = None) -> list[PendingMessage]:
        """Return the oldest `count` entries that are pending in the group, of all its consumers or of one.

        Raises `GroupNotFoundError`.
        """
        options = self._options
        of_consumer = () if consumer is None else (consumer,)
        return replies.pending(
            await self._connection.call("XPENDING", options.stream, options.group, "-", "+", count, *of_consumer)
        )

    @property
    def name(self) -> str:
        """This consumer's name in its group."""
        return self._holdings.consumer

    @property
    def status(self) -> ConsumerStatus:
        """The state of the consumer."""
        holdings, unwritten = self._holdings, len(self._settlement.acks)
        return ConsumerStatus(
            self._state, len(holdings), len(self._buffer), unwritten, holdings.settled_count, self._error
        )

    def __repr__(self) -> str:
        options = self._options
        return f"<StreamConsumer {options.stream}/{options.group} {self.name}: {self._state}, {self.status.held} held>"
