"""`Home`: the event loop and the process that connections belong to.

A socket is served by one event loop of one process. Another loop that writes to it uses objects that are not made for
threads. A forked child shares sockets and epoll with its parent: bytes that it writes are written for the parent too,
and sockets that it closes or unregisters are closed or unregistered for the parent. So a caller from elsewhere is
refused before anything is touched, and a child forgets its inheritance without touching it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import get_ident
from typing import Protocol
from weakref import WeakSet

from ..exceptions import WrongLoopError

running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop  # noqa: SLF001  # of asyncio's `__all__`: the running event loop, or `None`


_homes: WeakSet[Home] = WeakSet()
_ELSEWHERE = 0
"""No thread has this number."""


def _leave_all() -> None:
    """In a forked child, right after the fork: none of the homes is its own."""
    for home in _homes:
        home.thread = _ELSEWHERE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)

_left_to_the_parent: list[object] = []
"""Objects that a child has forgotten. As garbage they would be closed, and unregister from the parent's epoll."""


class Socket(Protocol):
    """A connection, ours or redis-py's."""

    async def disconnect(self, *, nowait: bool) -> None:
        """Close it."""


class Home:
    """The running event loop, in this process."""

    __slots__ = ("__weakref__", "_pid", "loop", "thread")

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.thread: int = get_ident()
        """The thread of the loop; 0 in a forked child. Code in this thread is in the loop while the loop runs."""
        self._pid = os.getpid()
        _homes.add(self)

    @property
    def is_of_this_process(self) -> bool:
        """Whether it is not a forked child that asks."""
        return self.thread != _ELSEWHERE

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be done there any more: its loop is closed, or a forked child asks."""
        return not self.is_of_this_process or self.loop.is_closed()

    @property
    def is_here(self) -> bool:
        """Whether it is the running event loop of this process."""
        if self.loop is not running_loop() or not self.is_of_this_process:
            return False
        self.thread = get_ident()
        return True

    def keep(self, inherited: object) -> None:
        """Forget something of a home that is gone, so that nothing is done to a parent's sockets."""
        if not self.is_of_this_process:
            _left_to_the_parent.append(inherited)

    async def hang_up(self, connection: Socket) -> None:
        """Close a connection; in a forked child it stays as it is, as it is the parent's."""
        if not self.is_of_this_process:
            self.keep(connection)
            return
        try:
            await connection.disconnect(nowait=True)
        except RuntimeError:
            if not self.loop.is_closed():  # else nothing can be closed in it any more: the socket goes as garbage
                raise

    def elsewhere(self) -> WrongLoopError:
        """Return the error for a caller from another loop or process, with what to do."""
        if not self.is_of_this_process:
            return WrongLoopError(
                f"the connection was opened in process {self._pid}, and is used in process {os.getpid()}, which was "
                "forked from it: nothing was sent. Open it in this process too: 'async with broker:' (or 'async with "
                "connection:')"
            )
        if self.loop.is_closed():
            return WrongLoopError(
                "the connection was opened in an event loop that is closed: nothing was sent. Open it in this one: "
                "'async with broker:' (or 'async with connection:')"
            )
        return WrongLoopError(
            "the connection was opened in another event loop: nothing was sent. Have it used there: "
            "'asyncio.run_coroutine_threadsafe(broker.publish(...), loop).result()', where 'loop' is the event loop "
            "that opened it"
        )
