"""`Broker`.

The public face. Handlers are declared on it, it is opened, published on and closed; the supervisor does the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import msgspec

from .. import config
from ..codecs import Codec, JsonCodec, PayloadCodec
from ..config import Settings
from ..connection import Connection
from ..declaration import HandlerT, KeyFunction, Middleware, OnLost, Order, Unknown
from ..exceptions import NotOpenError
from ..models import LagReport
from ..producer import StreamProducer
from ..retry import RetryPolicy
from ..telemetry import Observer, Telemetry
from .router import Router
from .signals import stop_on_signals
from .subscription import SubscriptionStatus
from .supervisor import Supervisor, current_supervisor

if TYPE_CHECKING:
    from redis.asyncio import Redis

_NO_HEADERS: Mapping[str, str] = {}
_DEFAULT_RETRY = RetryPolicy()

_logger = logging.getLogger("redis_streams_aio")


class Broker:
    """Publishes events, and handles them in decorated coroutines.

    ```python
    broker = Broker("redis://localhost:6379/0", group="billing")

    @broker.handler("orders")
    async def bill(order: OrderPlaced) -> None: ...

    async with broker:
        await broker.publish("orders", OrderPlaced("o-1", "ada", 42.0))
    ```

    `url` (or `client`, a `redis.asyncio.Redis` whose configuration is used; it is not closed) says where Redis is,
    `group` the consumer group of handlers that name none; both may stand in `settings`. `codec` writes payloads
    and reads them, `middleware` runs around every handler, `observers` get the facts of
    `redis_streams_aio.telemetry`. Nothing is connected before the broker is opened. Raises `ConfigError`.

    Opening connects, joins the groups and starts the tasks; it waits for Redis as `connect_timeout` says. Closing
    drains: no more reads, handlers get `grace` seconds, what is not settled is given back. A closed broker can be
    opened again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        settings: Settings | None = None,
        client: Redis | None = None,
        codec: PayloadCodec | None = None,
        middleware: Sequence[Middleware] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        settings = settings or Settings()
        self._settings = msgspec.structs.replace(
            settings, redis_url=url or settings.redis_url, group=group or settings.group
        )
        self._codec: PayloadCodec = codec or JsonCodec()
        self._middleware = tuple(middleware)
        self._telemetry = Telemetry(observers)
        self._connection = Connection(
            None if client is not None else self._settings.redis_url,
            client=client,
            connect_timeout=self._settings.connect_timeout,
            command_timeout=self._settings.command_timeout,
        )
        self._producer = StreamProducer(self._connection, codec=self._codec, settings=self._settings)
        self._router = Router.of_broker(self._settings.group, self._codec, self._middleware)
        self._supervisor: Supervisor | None = None
        self._host: asyncio.Task[None] | None = None
        self._opened_by: asyncio.Task[object] | None = None
        self._cancelled_opener = False

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        *,
        codec: PayloadCodec | None = None,
        middleware: Sequence[Middleware] = (),
        observers: Sequence[Observer] = (),
    ) -> Broker:
        """A broker with the settings of a `config.yaml`, and the environment's on top. Raises `ConfigError`."""
        return cls(settings=config.load(path), codec=codec, middleware=middleware, observers=observers)

    # -- handlers ---------------------------------------------------------------------------------------------

    def handler(
        self,
        stream: str,
        *,
        group: str | None = None,
        event_type: str | None = None,
        concurrency: int = 1,
        order: Order | None = None,
        key: KeyFunction | None = None,
        start: str | datetime = "0",
        lease: float = 30.0,
        timeout: float | None = None,
        retry: RetryPolicy = _DEFAULT_RETRY,
        dead_letter: str | None = None,
        codec: Codec | None = None,
        middleware: Sequence[Middleware] = (),
        unknown: Unknown = "dead_letter",
        on_lost: OnLost = "cancel",
        deduplicate: float | None = None,
        batch: int | None = None,
        within: float | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a handler; see `Router.handler`, which has the same options. Raises `HandlerDefinitionError`."""
        return self._router.handler(
            stream,
            group=group,
            event_type=event_type,
            concurrency=concurrency,
            order=order,
            key=key,
            start=start,
            lease=lease,
            timeout=timeout,
            retry=retry,
            dead_letter=dead_letter,
            codec=codec,
            middleware=middleware,
            unknown=unknown,
            on_lost=on_lost,
            deduplicate=deduplicate,
            batch=batch,
            within=within,
        )

    def include(self, router: Router, prefix: str = "") -> None:
        """Take over a router's handlers, with `prefix` before the names of their streams.

        Raises `HandlerDefinitionError`.
        """
        self._router.add(router.prefixed(prefix))

    # -- publishing -------------------------------------------------------------------------------------------

    async def publish(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> str:
        """Add one event to a stream, and return its entry id.

        See `StreamProducer.publish`. Raises `NotOpenError` on a broker that is not open.
        """
        if not self._connection.is_open:
            raise self._not_open()
        return await self._producer.publish(
            stream, payload, event_type=event_type, key=key, event_id=event_id, headers=headers
        )

    async def publish_many(
        self,
        stream: str,
        payloads: Iterable[object],
        *,
        event_type: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> list[str]:
        """Add events to a stream in few round trips, and return their entry ids; see `StreamProducer.publish_many`."""
        if not self._connection.is_open:
            raise self._not_open()
        return await self._producer.publish_many(stream, payloads, event_type=event_type, headers=headers)

    # -- looking ----------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection, for the parts: `StreamManager(broker.connection)`. Open while the broker is."""
        return self._connection

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def status(self) -> list[SubscriptionStatus]:
        """What each subscription is doing; empty when the broker is not open."""
        return [subscription.status for subscription in self._supervisor.subscriptions] if self._supervisor else []

    @property
    def ready(self) -> bool:
        """Whether it is open and the blocking read of every subscription came back lately (P19), for readiness probes.

        False while Redis is away, refuses or has gone silent, and while the broker drains; true again by itself. A
        subscription whose handlers are all busy does not read, and stays as it was. A broker without handlers is
        ready while it is open.
        """
        return self._supervisor is not None and self._supervisor.ready

    async def measure_lag(self) -> list[LagReport]:
        """Measure all groups now, beside the regular measurements. Raises `NotOpenError`, `RedisUnavailableError`."""
        if self._supervisor is None:
            raise self._not_open()
        return await self._supervisor.lag.run_once()

    # -- running ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._host is not None:
            raise RuntimeError("the broker is open already")
        plans = self._router.plans()
        self._supervisor = Supervisor(self._connection, plans, self._settings, self._telemetry, self._producer.command)
        self._opened_by = asyncio.current_task()
        self._cancelled_opener = False
        self._host = asyncio.create_task(self._supervisor.run(), name="redis_streams_aio broker")
        started_or_ended = self._supervisor.started
        self._host.add_done_callback(lambda _: started_or_ended.set())
        try:
            await started_or_ended.wait()
        except asyncio.CancelledError:
            await self._end(cancel=True)
            raise
        if self._host.done():
            await self._end()
        else:
            self._host.add_done_callback(self._on_end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._supervisor is not None:
            if current_supervisor.get() is self._supervisor:
                raise RuntimeError("a handler cannot close the broker that waits for it; let whoever opened it do that")
            self._supervisor.stop()
            await self._end()

    async def run(self) -> None:
        """Open the broker, and close it at SIGINT or SIGTERM: `asyncio.run(broker.run())`. A second signal gives
        handlers no more time.

        Raises what opening raises, and bugs of ours.
        """
        with anyio.CancelScope() as scope, stop_on_signals(scope.cancel, self._stop_now):
            async with self:
                await anyio.sleep_forever()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # the framework's call
        """For Starlette, FastAPI and Litestar: `FastAPI(lifespan=broker.lifespan)`."""
        async with self:
            yield

    async def cleanup_ctx(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # aiohttp's call
        """For aiohttp: `app.cleanup_ctx.append(broker.cleanup_ctx)`."""
        async with self:
            yield

    def _stop_now(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop_now()

    async def _end(self, *, cancel: bool = False) -> None:
        """Await the host task, whatever cancels us meanwhile under anyio.

        A plain cancellation stops the drain at once. Raises its error.
        """
        host, self._host = self._host, None
        if host is None:
            return
        if cancel:
            host.cancel()
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait((host,))
            except asyncio.CancelledError:
                self._stop_now()
                await asyncio.wait((host,))
                raise
            finally:
                self._supervisor = None
        task = asyncio.current_task()
        if self._cancelled_opener and task is not None and task is self._opened_by:
            task.uncancel()
        if not host.cancelled() and (error := host.exception()) is not None:
            raise _single(error)

    def _on_end(self, host: asyncio.Task[None]) -> None:
        """The host ended by an error while the broker was open.

        Whoever opened it is cancelled, and gets the error when it leaves.
        """
        supervisor = self._supervisor
        if host.cancelled() or host.exception() is None or supervisor is None:
            return
        _logger.critical("the broker ended by an error", exc_info=host.exception())
        if not supervisor.stopping and self._opened_by is not None and not self._opened_by.done():
            self._cancelled_opener = self._opened_by.cancel()

    def _not_open(self) -> NotOpenError:
        return NotOpenError(
            "the broker is not open: use 'async with broker:', 'await broker.run()' or your framework's lifespan"
        )

    def __repr__(self) -> str:
        state = "open" if self._connection.is_open else "closed"
        return f"<Broker {self._connection.shown}: {state}, {len(self._router.declarations)} handlers>"


def _single(error: BaseException) -> BaseException:
    """The one error inside task groups' groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
