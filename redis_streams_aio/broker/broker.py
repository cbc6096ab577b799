"""`Broker`.

The public face. Handlers are declared on it, it is opened, published on and closed; the supervisor does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from .. import config
from ..codecs import JsonCodec, PayloadCodec, payload_codec
from ..config import Settings
from ..connection import Connection
from ..consumer import ConsumerGroupManager
from ..consumer.status import SubscriptionStatus
from ..events.keys import refused_on_a_cluster
from ..events.outgoing import PublishMiddleware
from ..exceptions import HandlerDefinitionError
from ..handlers.decorator import HandlerDecorator, handler
from ..handlers.following import following
from ..handlers.options import HandlerOptions, Middleware
from ..handlers.router import Router
from ..models import LagReport, Pause
from ..producer.around import Around
from ..producer.producer import publish, publish_many, wait_for_capacity
from ..producer.publisher import Publisher
from ..telemetry import Observer
from ..telemetry.logs import log
from .health import Health, health_of
from .in_force import settings_in_force
from .parts import Parts, assemble
from .signals import stop_on_signals
from .steering import Steering
from .supervisor import Supervisor
from .supervisor_task import SupervisorTask, not_open

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis, RedisCluster


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
    and reads them, `middleware` runs around every handler, `publish_middleware` around the publishing of every event,
    `observers` (functions, not async ones) get the facts of `redis_streams_aio.telemetry`. Nothing is connected before
    the broker is opened. Raises `ConfigError`.

    Opening connects, joins the groups and starts the tasks; it waits for Redis as `connect_timeout` says. Closing
    drains: it stops reading, handlers get `grace` seconds, and the other entries are released. A closed broker can be
    opened again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        settings: Settings | None = None,
        client: Redis | RedisCluster | None = None,
        codec: PayloadCodec | None = None,
        middleware: Sequence[Middleware] = (),
        publish_middleware: Sequence[PublishMiddleware] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        settings = settings_in_force(settings, url, group, client)
        codec = JsonCodec() if codec is None else payload_codec(codec)
        observers = tuple(observers) if isinstance(observers, Iterator) else observers
        around = Around(publish_middleware)
        self._parts: Parts = assemble(settings, codec, observers, client, around)
        self._router = Router.of_broker(
            settings.group,
            codec,
            middleware,
            settings.max_payload_bytes,
            lambda: self._is_open,
            follow_ups=following(around.through) if around else None,
        )
        self._task: SupervisorTask | None = None
        self._failed: BaseException | None = None

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        *,
        codec: PayloadCodec | None = None,
        middleware: Sequence[Middleware] = (),
        publish_middleware: Sequence[PublishMiddleware] = (),
        observers: Sequence[Observer] = (),
    ) -> Broker:
        """A broker with the settings of a `config.yaml`, and the environment's on top. Raises `ConfigError`."""
        return cls(
            settings=config.load(path),
            codec=codec,
            middleware=middleware,
            publish_middleware=publish_middleware,
            observers=observers,
        )

    # -- handlers ---------------------------------------------------------------------------------------------

    handler = handler

    def _declare(self, options: HandlerOptions, said: Collection[str]) -> HandlerDecorator:
        declared = self._router._declare(options, said)  # noqa: SLF001  # `handler` calls it on both
        if self.connection.is_cluster and (wrong := refused_on_a_cluster(options.stream, options.dead_letter)):
            raise HandlerDefinitionError(wrong)
        return declared

    def include(self, router: Router, prefix: str = "") -> None:
        """Take over a router's handlers, with `prefix` before the names of their streams.

        Declare all of them before. Raises `HandlerDefinitionError`, also while the broker is open.
        """
        self._router.include(router, prefix)

    @property
    def _is_open(self) -> bool:
        return self._task is not None and self._task.is_alive

    # -- publishing -------------------------------------------------------------------------------------------

    publish = publish
    publish_many = publish_many
    wait_for_capacity = wait_for_capacity

    @property
    def _publisher(self) -> Publisher:
        if not self._parts.connection.is_open:
            raise not_open(self.failed) from self.failed
        return self._parts.publisher

    # -- steering ---------------------------------------------------------------------------------------------

    async def pause(self, stream: str, *, group: str | None = None, by: str, why: str) -> Pause:
        """Pause a group (by default the broker's) in all its processes until `resume`, also after a restart.

        Running handlers go on to their end, and nothing else begins; the events wait in Redis. `by` (a person or a
        program) and `why` are shown wherever the group is. This process obeys at once, others within
        `reclaim_interval`. Raises `NotOpenError`, `ConfigError`, `GroupNotFoundError`, `StreamNotFoundError`,
        `RedisUnavailableError`, `ServerError`.
        """
        return await self._steering.pause(stream, group, by=by, why=why)

    async def resume(self, stream: str, *, group: str | None = None, by: str, why: str = "") -> bool:
        """Let all processes of a paused group go on, and return whether it was paused. Raises as `pause` does."""
        return await self._steering.resume(stream, group, by=by, why=why)

    @property
    def _steering(self) -> Steering:
        if self._supervisor is None or not self._parts.connection.is_open:
            raise not_open(self.failed) from self.failed
        return Steering(ConsumerGroupManager(self.connection), self.settings.group, self._supervisor)

    # -- looking ----------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection, for the parts: `StreamManager(broker.connection)`. Open while the broker is."""
        return self._parts.connection

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._parts.settings

    @property
    def observers(self) -> tuple[Observer, ...]:
        """The observers that it was given."""
        return tuple(self._parts.observers)

    @property
    def status(self) -> list[SubscriptionStatus]:
        """The state of each subscription; empty when the broker is not open."""
        return [subscription.status for subscription in self._supervisor.subscriptions] if self._supervisor else []

    @property
    def ready(self) -> bool:
        """Whether it is open, and the blocking read of every subscription came back lately, for readiness probes.

        False while Redis is away, refuses or has gone silent, while leases are not renewed, and while the broker
        drains; true again by itself. `health` has the reasons. A subscription whose handlers are all busy does not
        read, and stays as it was. A broker without handlers is ready while it is open.
        """
        return self.health().ready.ok

    def health(self) -> Health:
        """Return whether it is live, ready and started, each with the reasons why not, for probes.

        Asks nothing of Redis, and can be called from any thread.
        """
        return health_of(self._task, self.failed)

    @property
    def failed(self) -> BaseException | None:
        """The error that ended the broker while it was open, for liveness probes; `None`: it lives, or was closed.

        It does not come back by itself, as it does after an outage of Redis. Publishing raises `NotOpenError` from
        this error. Opening it again resets it.
        """
        return self._task.failed if self._task is not None else self._failed

    @property
    def _supervisor(self) -> Supervisor | None:
        """The running supervisor; `None` while it is closed."""
        return self._task.supervisor if self._task is not None else None

    async def measure_lag(self) -> list[LagReport]:
        """Measure all groups now, beside the regular measurements. Raises `NotOpenError`, `RedisUnavailableError`."""
        if self._supervisor is None or not self._parts.connection.is_open:
            raise not_open(self.failed) from self.failed
        return await self._supervisor.measure_lag()

    # -- running ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise RuntimeError("the broker is open already")
        self._failed = None
        plans = [plan for planned in self._router.plans() if (plan := self._parts.plan(planned)) is not None]
        self._task = SupervisorTask(Supervisor(self._parts, plans), self._task)
        try:
            await self._task.open()
        except BaseException:
            self._task = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (task := self._task) is not None:
            try:
                await task.close()
            finally:
                if not task.is_alive and task is self._task:
                    self._task, self._failed = None, task.failed

    async def run(self) -> None:
        """Open the broker, and close it at SIGINT or SIGTERM: `asyncio.run(broker.run())`. A second signal gives
        handlers no more time. The section "Drain" of docs/delivery.md tells what happens in a stop, and in which order.

        Warns when there are no handlers. Raises what opening raises, and the error that ends the broker (`failed`).
        """
        if not self._router.declarations:
            log.warning("the broker has no handlers, and handles nothing: import the modules that declare them first")
        with anyio.CancelScope() as scope, stop_on_signals(scope.cancel, self._stop_now):
            async with self:
                await anyio.sleep_forever()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # the framework's call
        """For Starlette, FastAPI and Litestar: `FastAPI(lifespan=broker.lifespan)`."""
        async with self._parts.lifespan(self):
            yield

    async def cleanup_ctx(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  # aiohttp's call
        """For aiohttp: `app.cleanup_ctx.append(broker.cleanup_ctx)`."""
        async with self._parts.lifespan(self):
            yield

    def _stop_now(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop_now()

    def __repr__(self) -> str:
        state = "open" if self._parts.connection.is_open else "closed"
        return f"<Broker {self._parts.connection.shown}: {state}, {len(self._router.declarations)} handlers>"
