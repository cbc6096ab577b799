"""Progress: whether a repeated step comes back, and why not. Readiness is computed from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..exceptions import RedisStreamsError

LATE = 1.0
"""Seconds after its announced time at which a step counts as stuck."""


class Progress:
    """Is good until a step fails or is overdue, and good again when a step comes back.

    A long step is overdue sooner, unless Redis is heard meanwhile.
    """

    def __init__(self) -> None:
        self.failing_since: float | None = None
        """When the current series of failed steps began, by `time.monotonic`; `None` if there is none."""
        self.is_heard: bool = False
        """Whether somebody tells when Redis answers something else."""
        self._error = ""
        self._overdue_at: float | None = None
        self._silence = 0.0
        self._longest_until = 0.0

    @contextmanager
    def step(self, seconds: float, silence: float) -> Iterator[None]:
        """Watch a step that should take at most `seconds`, and during which Redis may be silent for `silence`."""
        now = monotonic()
        self._silence, self._longest_until = silence, now + seconds + LATE
        self._overdue_at = min(now + silence + LATE, self._longest_until)
        try:
            yield
        except RedisStreamsError as error:
            self._error = " ".join(str(error).split())
            self.failing_since = self.failing_since or monotonic()
            raise
        else:
            self.failing_since = None
        finally:
            self._overdue_at = None

    def heard(self) -> None:
        """Note that Redis has answered something else."""
        self.is_heard = True
        if self._overdue_at is not None:
            self._overdue_at = min(monotonic() + self._silence + LATE, self._longest_until)

    @property
    def trouble(self) -> str:
        """Why the last step failed, or the current one is overdue, and since when; empty: all is well.

        Any thread may ask.
        """
        failing_since, overdue_at, now = self.failing_since, self._overdue_at, monotonic()
        if failing_since is not None:
            return f"has been failing for {now - failing_since:.0f} s: {self._error}"
        if overdue_at is not None and now > overdue_at:
            return f"is overdue by {now - overdue_at + LATE:.0f} s: Redis is silent"
        return ""
