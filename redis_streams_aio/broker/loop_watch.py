"""The watch for an event loop that is blocked: a thread that asks it now and then whether it still runs.

It asks only while something is being handled, or once somebody wants to know the loop's delay (`broker.health()`, which
probes and metrics ask), and sleeps otherwise. When no answer comes in time it looks where the
loop's thread stands, and writes a line at once, from its own thread: the loop may never come back. When the answer has
come, the loop tells the whole time, to the log and to observers, which run in the loop.

A process that was frozen as a whole (SIGSTOP, a busy machine) is not told of: the time is waited for in parts, and a
part counts for its length, however long it took.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from types import CodeType, FrameType

import msgspec

from ..telemetry import LoopBlocked, Telemetry, write
from ..telemetry.logs import log
from .running import Running
from .standing import stack_of, where

LONGEST_PATIENCE = 1.0
"""Seconds that the loop may take to answer; a third of the shortest lease, where that is less."""
PARTS = 4


class LoopWatch:
    """Watches the event loop that it was made in, from `run` to the end of `run`."""

    def __init__(self, running: Running, telemetry: Telemetry) -> None:
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._running = running
        self._telemetry = telemetry
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._blocked: tuple[LoopBlocked, float] | None = None
        self._is_asked_for = False
        self._delay: float | None = None

    @property
    def blocked(self) -> LoopBlocked | None:
        """The code that blocks the loop now, with the seconds so far; `None` if none does. Other threads ask."""
        if (blocked := self._blocked) is None:
            return None
        fact, began = blocked
        return msgspec.structs.replace(fact, seconds=round(monotonic() - began, 3))

    @property
    def _patience(self) -> float:
        """Seconds that the loop may take to answer."""
        return min([LONGEST_PATIENCE, *(subscription.options.lease / 3 for subscription in self._running)])

    def delay(self) -> float | None:
        """Return the seconds that the loop took to answer the last time; `None` if it was not asked yet.

        From the first call on it is asked about once a second. Any thread may ask.
        """
        self._is_asked_for = True
        return self._delay

    async def run(self) -> None:
        """Watch until cancelled."""
        thread = threading.Thread(target=self._thread, name="redis_streams_aio loop watch", daemon=True)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._stop.set()
            self._answered.set()
            thread.join()

    def _thread(self) -> None:
        try:
            while not self._stop.wait(self._patience):
                if self._is_asked_for or any(subscription.is_handling for subscription in self._running):
                    began = monotonic()
                    self._ask(began)
                    self._delay = monotonic() - began
        except RuntimeError:
            pass  # the loop was closed, and nobody has left the broker
        except Exception as error:  # noqa: BLE001  # what only watches ends nothing
            log.error("the event loop is not watched any more", error=error)

    def _ask(self, began: float) -> None:
        """Ask the loop, and wait for its answer; tell when that takes too long."""
        self._answered.clear()
        self._loop.call_soon_threadsafe(self._answered.set)
        patience = self._patience
        if any(self._answered.wait(patience / PARTS) for _ in range(PARTS)):
            return
        fact = self._look(monotonic() - began)
        self._blocked = fact, began
        write(fact)
        self._answered.wait()
        self._blocked = None
        if not self._stop.is_set():
            whole = msgspec.structs.replace(fact, seconds=round(monotonic() - began, 3))
            self._loop.call_soon_threadsafe(self._telemetry.emit, whole)

    def _look(self, seconds: float) -> LoopBlocked:
        """Who blocks the loop, and where."""
        frames = stack_of(sys._current_frames().get(self._ident))  # noqa: SLF001  # documented, for debuggers
        return LoopBlocked(seconds=round(seconds, 3), handler=self._handler(frames), where=where(frames))

    def _handler(self, frames: Sequence[FrameType]) -> str:
        """The handler of the worker that the loop is running, or that is on the stack; empty: neither."""
        task = asyncio.current_task(self._loop)
        for subscription in self._running:
            for worker, deliveries in subscription.in_handlers():
                if worker is task:
                    return subscription.holdings.handler_of(deliveries[0].fields)
        handlers = self._handlers()
        return next((handlers[frame.f_code] for frame in frames if frame.f_code in handlers), "")

    def _handlers(self) -> dict[CodeType, str]:
        """The names of all handlers, by their code."""
        routes = [route for subscription in self._running for route in subscription.routes.all]
        return {code: route.name for route in routes if (code := _code_of(route.handler)) is not None}


def _code_of(function: Callable[..., object]) -> CodeType | None:
    """The code of a handler, whatever kind of callable it is."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
