"""Progress: whether a repeated step comes back. Readiness is computed from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..exceptions import RedisStreamsError

LATE = 1.0
"""Seconds after its announced time at which a step counts as stuck."""


class Progress:
    """Is good until a step fails or is overdue, and good again when a step comes back."""

    def __init__(self) -> None:
        self.failing_since: float | None = None
        """When the current series of failed steps began, by `time.monotonic`; `None` if there is none."""
        self._overdue_at: float | None = None

    @contextmanager
    def step(self, seconds: float) -> Iterator[None]:
        """Watch a step that should take at most `seconds`."""
        self._overdue_at = monotonic() + seconds + LATE
        try:
            yield
        except RedisStreamsError:
            self.failing_since = self.failing_since or monotonic()
            raise
        else:
            self.failing_since = None
        finally:
            self._overdue_at = None

    @property
    def good(self) -> bool:
        """Whether the last step succeeded, and the current one is not overdue. Any thread may ask."""
        overdue = self._overdue_at is not None and monotonic() > self._overdue_at
        return self.failing_since is None and not overdue
