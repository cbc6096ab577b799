"""Holds: everybody for whom a subscription is paused. It goes on when the last one lets it."""

from __future__ import annotations

from typing import Literal

from ..models import Pause

Hold = Literal["group", "code", "breaker"]
"""Who may hold a subscription: the controls of its group, code of this process, or the breaker of a handler."""
BY_CODE = Pause("code of this process", "", None)


class Holds:
    """The holds of one subscription. Any thread may ask."""

    def __init__(self) -> None:
        self._pauses: dict[Hold, Pause] = {}  # replaced, never changed

    def __bool__(self) -> bool:
        return bool(self._pauses)

    def of(self, hold: Hold) -> Pause | None:
        """Return the pause of one hold; `None` if it does not hold."""
        return self._pauses.get(hold)

    @property
    def first(self) -> Pause | None:
        """The pause that began first and goes on; `None` if there is none."""
        return next(iter(self._pauses.values()), None)

    def add(self, hold: Hold, pause: Pause) -> None:
        """Add a hold, or replace its reason."""
        self._pauses = {**self._pauses, hold: pause}

    def remove(self, hold: Hold) -> None:
        """Remove a hold, if it is there."""
        self._pauses = {each: pause for each, pause in self._pauses.items() if each != hold}
