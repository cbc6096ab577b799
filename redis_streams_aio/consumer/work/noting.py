"""Note the end of each call of a handler with a row, for observers that want `Handled`.

`Noting` stands between a worker and the acknowledgements while the worker handles rows. Without such an observer it is
not made, and a row pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..outcomes import Outcomes, shown_type
from ..page import Page
from .turns import Turn


class Acks(Protocol):
    """Where a worker acknowledges rows."""

    @property
    def gather(self) -> Callable[[bytes], None]:
        """Acknowledges a row."""
        ...


class Noting:
    """Acknowledges the rows that one worker handles, and notes the end of each call before."""

    __slots__ = ("_acks", "_event_type", "_handler", "_now", "_outcomes", "_turn")

    def __init__(self, acks: Acks, outcomes: Outcomes, now: Callable[[], float], page: Page, turn: Turn) -> None:
        self._acks = acks
        self._outcomes = outcomes
        self._now = now
        self._turn = turn
        self._handler = page.route.name
        self._event_type = shown_type(page.event_type)

    def gather(self, raw_id: bytes) -> None:
        """Note the end of the row's call, and acknowledge it."""
        self.ended(raw_id)
        self._acks.gather(raw_id)

    def ended(self, raw_id: bytes) -> None:
        """Note the end of the row's call."""
        self._outcomes.ended(raw_id, self._event_type, self._handler, self._now() - self._turn.began)
