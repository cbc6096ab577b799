"""The parts of a broker: everything that it consists of, apart from its handlers.

A broker asks its parts whenever it needs one, and stores none of them elsewhere. While the broker is closed, its parts
can be replaced, and all users of this broker then work with the new ones. `redis_streams_aio.testing` runs an
application's broker in this way: on another server, and with a clock that the test moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import msgspec

from ..codecs import PayloadCodec
from ..config import Settings
from ..connection import Connection
from ..consumer.clock import LOOP_CLOCK, Clock
from ..handlers.routes import Plan
from ..producer.around import Around
from ..producer.publisher import Publisher
from ..telemetry import Observer, Telemetry

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

Manager = AbstractAsyncContextManager[object]


def _as_it_is(plan: Plan) -> Plan | None:
    return plan


def _opening(broker: Manager) -> Manager:
    return broker


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The settings and the means that a broker works with."""

    settings: Settings
    codec: PayloadCodec
    observers: Sequence[Observer]
    telemetry: Telemetry
    connection: Connection
    publisher: Publisher
    clock: Clock = LOOP_CLOCK
    """The clock for retries, batches and copies that wait."""
    plan: Callable[[Plan], Plan | None] = _as_it_is
    """Returns the plan with which a subscription starts, from the plan of its handlers; `None` if it does not start."""
    lifespan: Callable[[Manager], Manager] = _opening
    """Returns the manager that an application enters by `Broker.lifespan`, from the broker."""


def assemble(
    settings: Settings,
    codec: PayloadCodec,
    observers: Sequence[Observer],
    client: Redis | RedisCluster | None = None,
    around: Around | None = None,
) -> Parts:
    """Make the parts that belong to these settings; `around` is the publish middleware. Raises `ConfigError`."""
    connection = Connection(
        None if client is not None else settings.redis_url,
        client=client,
        connect_timeout=settings.connect_timeout,
        command_timeout=settings.command_timeout,
    )
    telemetry = Telemetry(observers)
    return Parts(
        settings=settings,
        codec=codec,
        observers=observers,
        telemetry=telemetry,
        connection=connection,
        publisher=Publisher(connection, codec, settings, telemetry, around),
    )
