"""The host of a supervisor: one task of its own, opened by one task and closed by the same one or another (P26).

States: *closed* -> *opening* (the supervisor connects and joins) -> *open* -> *closing* (it drains) -> *closed*. An
error of the supervisor comes out of whatever waits for it: opening, or closing. When it ends by an error while it is
open, whoever opened it is cancelled, and gets the error when it closes.
"""

from __future__ import annotations

import asyncio
import logging

import anyio

from .supervisor import Supervisor, current_supervisor

_logger = logging.getLogger("redis_streams_aio")


class Host:
    """See the module. Used for one life of a broker."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor: Supervisor = supervisor
        self._task: asyncio.Task[None] | None = None
        self._opened_by: asyncio.Task[object] | None = None
        self._cancelled_opener = False

    @property
    def ended(self) -> bool:
        """Whether its task has ended."""
        return self._task is None or self._task.done()

    @property
    def is_here(self) -> bool:
        """Whether it lives in the running event loop."""
        return self._task is not None and self._task.get_loop() is asyncio.get_running_loop()

    async def open(self) -> None:
        """Start, and return when it has started. Raises what kept it from that."""
        self._opened_by = asyncio.current_task()
        self._task = task = asyncio.create_task(self.supervisor.run(), name="redis_streams_aio broker")
        started_or_ended = self.supervisor.started
        task.add_done_callback(lambda _: started_or_ended.set())
        try:
            await started_or_ended.wait()
        except asyncio.CancelledError:
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
            raise RuntimeError("a handler cannot close the broker that waits for it; let whoever opened it do that")
        self.supervisor.stop()
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
        if not task.cancelled() and (error := task.exception()) is not None:
            raise _single(error)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        _logger.critical("the broker ended by an error", exc_info=task.exception())
        if not self.supervisor.stopping and self._opened_by is not None and not self._opened_by.done():
            self._cancelled_opener = self._opened_by.cancel()


def _single(error: BaseException) -> BaseException:
    """The one error inside task groups' groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
