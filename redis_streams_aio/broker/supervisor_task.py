"""The task of a supervisor: one for one life of a broker, opened by one task and closed by the same one or another.

States: *closed* -> *opening* (the supervisor connects and joins) -> *open* -> *closing* (it drains) -> *closed*. An
error of the supervisor comes out of opening or closing, whichever waits for it. When the supervisor ends by an error
while it is open, the task that opened it is cancelled, and gets the error when it closes. A task whose event loop was
closed, or that a forked child has inherited, is *gone*: nothing of it is touched any more.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context

import anyio

from ..connection.home import Home
from ..exceptions import NotOpenError
from ..handlers.error_texts import describe
from ..telemetry.logs import log
from .supervisor import Supervisor, current_supervisor


class SupervisorTask:
    """Runs a supervisor in one task, for one life of a broker: from opening to closing."""

    def __init__(self, supervisor: Supervisor, before: SupervisorTask | None = None) -> None:
        self.supervisor: Supervisor = supervisor
        self._home: Home = Home()
        if before is not None:
            before._home.keep(before)  # noqa: SLF001  # ours too
        self._task: asyncio.Task[None] | None = None
        self._opened_by: asyncio.Task[object] | None = None
        self._cancelled_opener = False
        self.failed: BaseException | None = None
        """The error that ended it after it had been open; `None`: it lives, or was stopped in order."""

    @property
    def is_alive(self) -> bool:
        """Whether its task runs."""
        return self._task is not None and not self._task.done() and not self.is_gone

    @property
    def is_gone(self) -> bool:
        """Whether its event loop is closed, or was inherited from the process that this one was forked from."""
        return self._home.is_gone

    async def open(self) -> None:
        """Start, and return when it has started. Raises what kept it from that.

        Handlers begin in copies of the context in which it is opened; our own tasks in an empty one.
        """
        self._opened_by = asyncio.current_task()
        running = self.supervisor.run(copy_context())
        self._task = task = asyncio.create_task(running, name="redis_streams_aio broker", context=Context())
        started_or_ended = self.supervisor.started
        task.add_done_callback(lambda _: started_or_ended.set())
        try:
            await started_or_ended.wait()
        except asyncio.CancelledError:
            self.supervisor.drain()
            task.cancel()
            await self._ended(task)
            raise
        if task.done():
            await self._ended(task)
        else:
            task.add_done_callback(self._on_end)

    async def close(self) -> None:
        """Drain, and return when all has ended. Raises the error that it ended by; `RuntimeError` in a handler."""
        if current_supervisor.get() is self.supervisor:
            raise RuntimeError("a handler cannot close the broker that waits for it; close it where it was opened")
        if self.is_gone:
            self._home.keep(self)
            await self.supervisor.abandon()
            return
        if not self._home.is_here:
            raise self._home.elsewhere()
        self.supervisor.drain()
        if self._task is not None:
            await self._ended(self._task)

    async def _ended(self, task: asyncio.Task[None]) -> None:
        """Await its end, whatever cancels us meanwhile under anyio.

        A plain cancellation stops the drain at once. Raises its error.
        """
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                self.supervisor.stop_now()
                await asyncio.wait((task,))
                raise
        here = asyncio.current_task()
        if self._cancelled_opener and here is not None and here is self._opened_by:
            here.uncancel()
        if (error := self._error_of(task)) is not None:
            raise error

    def _error_of(self, task: asyncio.Task[None]) -> BaseException | None:
        """The error that a task ended by; a cancellation that nobody here asked for is one too."""
        if self.failed is not None:
            return self.failed
        if not task.cancelled():
            return _single(task.exception())
        if self.supervisor.stopping:
            return None
        return RuntimeError("the broker's task was cancelled from outside, and the broker with it")

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self.failed = self._error_of(task)
        if self.failed is None:
            return
        log.critical(
            "the broker ended by an error: it handles and publishes nothing until it is opened again",
            error=self.failed,
        )
        if not self.supervisor.stopping and self._opened_by is not None and not self._opened_by.done():
            self._cancelled_opener = self._opened_by.cancel()


def not_open(failed: BaseException | None) -> NotOpenError:
    """Return the error for the use of a broker that is not open; `failed`: the error that ended it."""
    if failed is None:
        return NotOpenError(
            "the broker is not open: use 'async with broker:', 'await broker.run()' or your framework's lifespan"
        )
    return NotOpenError(
        f"the broker ended by an error ({describe(failed)}) and is closed; its log has the traceback: restart the "
        "process, or open the broker again"
    )


def _single(error: BaseException | None) -> BaseException | None:
    """The one error inside task groups' groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
