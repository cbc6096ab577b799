"""The lease keeper in a thread of its own (`lease_thread`): a handler that blocks the event loop keeps its events.

The thread has an event loop and a connection of its own. It reads which deliveries are held, and writes nothing that
is the other loop's: lost leases and facts are handed over to it, and wait there while it is blocked. It lives from
`run` to the end of `run`, also when that is cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import anyio

from ..connection import Connection
from ..consumer.intake.leases import Held, LeaseKeepers
from ..telemetry import Fact, Telemetry
from .lease_keeping import LeaseKeeping


class LeaseThread:
    """Renews the leases of all consumers of a process in a thread with an event loop of its own."""

    def __init__(self, connection: Connection, held: Held, telemetry: Telemetry) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._held = held
        self._telemetry = telemetry
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self._cancel = threading.Event()
        self._inside: tuple[asyncio.AbstractEventLoop, asyncio.Task[object], LeaseKeeping] | None = None

    async def run(self) -> None:
        """Renew until cancelled. Raises the error that a bug caused in the thread."""
        thread = threading.Thread(target=self._thread, name="redis_streams_aio leases", daemon=True)
        thread.start()
        try:
            await self._ended.wait()
        finally:
            self._cancel.set()
            if self._inside is not None:
                loop, task, _ = self._inside
                with suppress(RuntimeError):  # it has ended by itself
                    loop.call_soon_threadsafe(task.cancel)
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            thread.join()
        if self._error is not None:
            raise self._error

    def begin_missing(self) -> None:
        """Begin to keep the leases of a subscription that has started."""
        if self._inside is not None:
            loop, _, keeping = self._inside
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(keeping.begin_missing)

    @property
    def trouble(self) -> str:
        """Which leases were not renewed, and since when; empty: all are renewed. Any thread may ask."""
        return self._inside[2].trouble if self._inside is not None else ""

    def _thread(self) -> None:
        try:
            asyncio.run(self._renew())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            self._error = error
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _renew(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine that runs has one
        keeping = LeaseKeeping(LeaseKeepers(self._connection, self._held, self._loop.call_soon_threadsafe), self._emit)
        self._inside = asyncio.get_running_loop(), task, keeping
        if not self._cancel.is_set():
            await keeping.run()

    def _emit(self, fact: Fact) -> None:
        self._loop.call_soon_threadsafe(self._telemetry.emit, fact)
