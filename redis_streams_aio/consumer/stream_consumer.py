"""`StreamConsumer`: a consumer without a broker, as an async iterator.

It is a subscription (`subscription`) whose only worker is the task that iterates (`work.iterating`). From the first
`subscribe()` to `close()` a task of its own reads, renews leases, takes over abandoned entries and saves checkpoints,
also while the iterator's user works. Before that, and without `subscribe()`, nothing is done that is not called.

States: *starting* (not in its group yet) -> *running* -> *draining* (`stop()` was called: it no longer reads, and what
was not handed out is released) -> *stopped*. *failed*: it could not start, or `subscribe()` ended with an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar, cast

import anyio

from ..checkpoint import CheckpointStore
from ..checks import names, values
from ..codecs import Codec
from ..config import MAX_PAYLOAD_BYTES
from ..connection import Connection
from ..connection.steps.pending import pending
from ..events import entry_ids
from ..events.delivery import event_of
from ..exceptions import CheckpointStoreError, NotOpenError, RedisRefusedError, RedisStreamsError
from ..handlers.subscription_options import SubscriptionOptions
from ..models import EventMessage, PendingMessage
from ..telemetry import SILENT, Telemetry
from ..telemetry.logs import log
from .consumer_options import ConsumerOptions
from .controls import Controls
from .group_consumer import GroupConsumer
from .holdings import Shared
from .intake.leases import LeaseKeeper
from .periodic import repeat
from .reading import refusal_in, unless_refused
from .status import ConsumerState, ConsumerStatus
from .stream_options import dead_letters, decoder
from .subscription import Subscription
from .work.iterating import Iterating, handling

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
    under the same `name`, or to another one when it was idle for `lease` seconds. Leases are renewed while you work,
    from the first `subscribe()` on; without it, call `renew()`. Entries that cannot be decoded, or have a payload of
    more than `max_payload_bytes`, are moved to the dead letters: it decides `undecodable` itself. So are entries that
    were delivered more than 20 times.

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
        count: int = 200,
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
            order="none",
            start=entry_ids.start_position(start),
            lease=values.seconds("lease", lease),
            dead_letter="" if dead_letter is None else dead_letters(stream, dead_letter),
        )
        consumer = ConsumerOptions(
            name=None if name is None else names.checked("name", name),
            block=values.seconds("block", block),
            count=values.whole("count", count, 1),
            buffer=2 * count - 1,
            reclaim_interval=values.seconds("reclaim_interval", reclaim_interval),
            ends_when_refused=True,
        )
        self._checkpoint_interval = values.seconds("checkpoint_interval", checkpoint_interval)
        self._connection = values.instance("connection", connection, Connection)
        self._telemetry = values.instance("telemetry", telemetry, Telemetry)
        if checkpoints is not None:
            values.has_methods("checkpoints", checkpoints, "load", "save")
        decode = decoder(codec, payload_type, values.whole("max_payload_bytes", max_payload_bytes, 1))
        self._consumer = GroupConsumer(Shared(connection, telemetry), options, consumer, checkpoints)
        self._holdings, self._settlement = self._consumer.holdings, self._consumer.settlement
        self._source, self._position = self._consumer.source, self._consumer.position
        self._iterating = Iterating(self._holdings, self._settlement, decode)
        self._subscription = Subscription(self._consumer, handling(self._iterating, options))
        self._look_at_controls = partial(Controls(connection, telemetry).look, (self._subscription,))
        self._keeper = LeaseKeeper(connection, options.lease, lambda: (self._holdings,))
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._state: ConsumerState = "starting"
        self._error: str | None = None

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
            await self._subscription.open()
            await self._look_at_controls()
        except RedisStreamsError as error:
            self._state, self._error = "failed", str(error)
            raise
        self._state = "running"

    def stop(self) -> None:
        """Stop reading: `subscribe()` ends after the current event."""
        if self._state in ("starting", "running"):
            self._state = "draining"
        self._subscription.pause()
        self._iterating.stop()

    async def close(self) -> None:
        """Write what was acknowledged, and release everything else, so that another consumer has it at once.

        Does not raise.
        """
        self.stop()
        if self._task is not None:
            self._subscription.drain(0.0)
            with anyio.CancelScope(shield=True):
                await asyncio.wait((self._task,))
        await self._subscription.close()
        await self._keeper.close()
        if self._state != "failed":
            self._state = "stopped"

    # -- reading ----------------------------------------------------------------------------------------------

    async def subscribe(self) -> AsyncIterator[EventMessage[T]]:
        """Yield events as they come, in stream order, until `stop()`.

        An event whose retry is due later is yielded then. Waits through outages. No more than `2 * count` events are
        handed out before some are acknowledged. Raises `NotOpenError`, and `ServerError` when Redis refuses for good
        (permissions, a key that is not a stream).
        """
        patience = self._consumer.options.lease / 3
        if self._state in ("starting", "running"):
            self._start()
        while self._state == "running":
            entry = await self._iterating.next(patience)
            if self._failure is not None:
                self._fail(self._failure)
            if entry is not None:
                yield cast("EventMessage[T]", event_of(entry, self._consumer.options.stream))
            elif self._state == "running" and self._room() <= 0:
                log.warning("%r: waits for acknowledgements before it reads more events", self)

    async def fetch(self, room: int) -> int:
        """Read up to `room` entries, for at most `block` seconds; return how many came. `subscribe()` does this."""
        if not self._source.has_all_own_entries and (came := await self._source.own(room, self._subscription.accept)):
            return came
        return await self._source.fetch(room, self._subscription.accept)

    async def reclaim(self) -> int:
        """Take over entries whose lease ran out, as there is room; return how many. `subscribe()` yields them."""
        return await self._source.abandoned(self._room(), self._subscription.accept)

    async def renew(self) -> int:
        """Renew the leases of everything held; return how many were lost to other consumers."""
        return await self._keeper.run_once()

    def _room(self) -> int:
        return 2 * self._consumer.settings.count - len(self._holdings)

    # -- the task beside the iterator ----------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the task that reads and renews, if it is not there yet. Raises `NotOpenError`."""
        if self._task is not None:
            return
        if not self._source.is_open:
            self._fail(NotOpenError("the consumer is not open: use 'async with consumer:' around it"))
        self._task = asyncio.create_task(self._run(), name="redis_streams_aio consumer", context=Context())
        self._task.add_done_callback(self._on_end)

    async def _run(self) -> None:
        emit = self._telemetry.emit
        renew = (
            f"renew leases of {self._subscription.name}",
            lambda: unless_refused(self.renew),
            self._keeper.interval,
        )
        async with anyio.create_task_group() as duties:
            duties.start_soon(repeat, *renew, emit)
            interval = self._consumer.settings.reclaim_interval
            duties.start_soon(repeat, "look whether it is paused", self._look_at_controls, interval, emit)
            duties.start_soon(repeat, "checkpoint", self._save_checkpoint, self._checkpoint_interval, emit)
            await self._subscription.run()
            duties.cancel_scope.cancel()

    async def _save_checkpoint(self) -> None:
        with suppress(RedisRefusedError, CheckpointStoreError):  # saved at a later turn; events continue meanwhile
            await self._position.save()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._iterating.stop()
        if task.cancelled():
            self._failure = RuntimeError("the consumer's task was cancelled from outside")
        elif (error := task.exception()) is not None:
            self._failure = refusal_in(error) or error

    def _fail(self, error: BaseException) -> NoReturn:
        self._state, self._error = "failed", str(error)
        raise error

    # -- acknowledging and looking ----------------------------------------------------------------------------

    async def acknowledge(self, *events: EventMessage[T] | str) -> int:
        """Acknowledge events (or entry ids), wait until Redis confirms, and return how many this consumer held.

        Raises `RedisUnavailableError`; the acknowledgements are then kept, and written with the next call.
        """
        known = 0
        for event in events:
            entry = self._holdings.entry_of((event if isinstance(event, str) else event.id).encode())
            if entry is not None and not entry.settled:
                self._settlement.ack(entry)
                known += 1
        await self._settlement.acks.flush()
        self._iterating.ended()
        return known

    async def get_pending(self, count: int = 100, *, consumer: str | None = None) -> list[PendingMessage]:
        """Return the oldest `count` entries that are pending in the group, of all its consumers or of one.

        Raises `GroupNotFoundError`.
        """
        options = self._consumer.options
        return await pending(self._connection, options.stream, options.group, count, consumer=consumer)

    @property
    def name(self) -> str:
        """This consumer's name in its group."""
        return self._holdings.consumer

    @property
    def status(self) -> ConsumerStatus:
        """The state of the consumer."""
        known, schedule = self._subscription.status, self._iterating.schedule
        buffered = schedule.buffered + schedule.delayed
        held = len(self._holdings)
        return ConsumerStatus(
            self._state, held, buffered, known.unwritten, known.settled, self._error, paused=known.paused
        )

    def __repr__(self) -> str:
        options = self._consumer.options
        return f"<StreamConsumer {options.stream}/{options.group} {self.name}: {self._state}, {self.status.held} held>"
