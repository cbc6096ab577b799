"""`harness` opens an application's broker in a test, with some parts replaced.

The settings say where it runs, and end it without a drain's grace; an observer and changed plans record each fact and
each call of a handler; the test moves the clock. An application that starts meanwhile, by `lifespan` or `cleanup_ctx`,
finds the broker open, and leaves it open.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from ..broker import Broker
from ..broker.parts import Parts, assemble
from ..connection import Connection
from ..connection.address import parse
from ..exceptions import ConfigError
from .movable_clock import MovableClock
from .recorder import Recorder
from .running import Harness

_LOOK_FOR_ABANDONED = 0.02
"""Seconds between two searches for abandoned entries, in a test."""


@asynccontextmanager
async def harness(broker: Broker, url: str | None = None) -> AsyncIterator[Harness]:
    """Run a broker in a test: `async with testing.harness(broker) as h:`.

    It runs at `url`, or at the broker's own URL: `harness(shop.broker, "memory://")` runs an application's own broker
    without a server, and all events that the application publishes through it go there too. At the end the broker is
    closed at once, without a drain's grace, and is as it was before. Nothing is deleted: use `memory://` or
    `embedded://`, which begin empty, or separate streams for each test.

    Raises `RuntimeError` if the broker is open, `ConfigError` if it has a client instead of a URL and no URL is given
    here, and the errors of opening it.
    """
    if broker._task is not None:  # noqa: SLF001  # ours too
        raise RuntimeError("the broker is open: close it before a test runs it elsewhere")
    if url is None and broker.settings.redis_url is None:
        raise ConfigError("the broker has no redis_url: say where to run it, e.g. harness(broker, 'memory://')")
    async with (
        _lasting(url or broker.settings.redis_url) as place,
        Connection(place, connect_timeout=broker.settings.connect_timeout) as connection,
    ):
        recorder, clock, own = Recorder(), MovableClock(), broker._parts  # noqa: SLF001  # the one seam: see `broker.parts`
        broker._parts = _parts(own, place, recorder, clock)  # noqa: SLF001  # see above
        try:
            async with broker:
                yield Harness(broker, connection, recorder, clock)
        finally:
            broker._parts = own  # noqa: SLF001  # see above


def _parts(own: Parts, place: str | None, recorder: Recorder, clock: MovableClock) -> Parts:
    """Make the parts for a broker that runs in a test from its own."""
    settings = msgspec.structs.replace(own.settings, redis_url=place, grace=0.0, reclaim_interval=_LOOK_FOR_ABANDONED)
    parts = assemble(settings, own.codec, (*own.observers, recorder.observe), around=own.publisher.around)
    return msgspec.structs.replace(parts, clock=clock, plan=recorder.watched, lifespan=_guests())


def _guests() -> Callable[[object], AbstractAsyncContextManager[object]]:
    """Make the manager that applications enter instead of the broker, which is already open in this event loop."""
    home = asyncio.get_running_loop()

    @asynccontextmanager
    async def as_guest(broker: object) -> AsyncIterator[object]:
        if asyncio.get_running_loop() is not home:
            raise RuntimeError(
                "a test has opened the broker in another event loop than the application's, as Starlette's TestClient "
                "does: use httpx.AsyncClient(transport=httpx.ASGITransport(app)) in an async test"
            )
        yield broker

    return as_guest


@asynccontextmanager
async def _lasting(url: str | None) -> AsyncIterator[str | None]:
    """Where the broker is to run, so that it is there still when the broker has crashed."""
    address = None if url is None else parse(url)
    if address is not None and address.scheme == "memory" and not address.path:
        yield f"memory://{secrets.token_hex(8)}"  # there for as long as somebody has it open, and the harness has
    elif address is not None and address.scheme == "embedded":
        from ..connection.embedded.server import embedded_server  # noqa: PLC0415  # imports anyio's threads

        async with embedded_server(address.path, alone=True) as socket:
            yield f"unix://{socket}"
    else:
        yield url
