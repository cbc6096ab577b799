"""Progress: whether a step that is done again and again comes back (P19). What readiness is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ..exceptions import RedisStreamsError

LATE = 1.0
"""Seconds that a step may take longer than it says before it counts as stuck."""


class Progress:
    """Good until a step fails or is overdue; good again when one comes back."""

    def __init__(self) -> None:
        self.failing_since: float | None = None
        """When the first of the steps that have failed in a row did, on the event loop's clock; `None`: none has."""
        self._overdue_at: float | None = None

    @contextmanager
    def step(self, seconds: float) -> Iterator[None]:
        """A step that takes up to so many seconds."""
        self._overdue_at = asyncio.get_running_loop().time() + seconds + LATE
        try:
            yield
        except RedisStreamsError:
            self.failing_since = self.failing_since or asyncio.get_running_loop().time()
            raise
        else:
            self.failing_since = None
        finally:
            self._overdue_at = None

    @property
    def good(self) -> bool:
        """Whether the last step came back with an answer, and the one under way is not overdue."""
        overdue = self._overdue_at is not None and asyncio.get_running_loop().time() > self._overdue_at
        return self.failing_since is None and not overdue
