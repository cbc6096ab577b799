"""The workers of a subscription, as everybody else sees them: what they do now, and how they are paused and stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..entry import Entry
from .turns import Worker


class Workers(Protocol):
    """The workers of a subscription: a `Pool`, or the task that iterates."""

    @property
    def busy(self) -> int:
        """The number of workers that are handling a unit or writing its fate."""
        ...

    @property
    def done(self) -> int:
        """The number of ended calls of handlers, counted by delivery."""
        ...

    def wake(self) -> None:
        """Wake a worker, because there is work."""
        ...

    def pause(self) -> None:
        """Begin no unit until `resume`; units that have begun are handled to their end."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...

    def stop(self) -> None:
        """Let workers end after their current unit; nothing new begins, ever."""
        ...

    def lost(self, entry: Entry) -> None:
        """Note that another consumer has an entry now."""
        ...

    async def run_worker(self) -> bool:
        """Work until `stop`; return whether a new worker must replace this one."""
        ...


class InHandlers(Protocol):
    """Tells what is in handlers."""

    @property
    def running(self) -> int:
        """The number of entries in their handler."""
        ...

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its entries. Can be called from any thread."""
        ...

    def unfold(self, raw_id: bytes) -> Entry | None:
        """Make an entry of a row of a page; `None` if the row is handled, and its acknowledgement on the way."""
        ...
