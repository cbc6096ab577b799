"""Check numbers of seconds that users pass in. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeGuard

LONGEST_DELAY = 366 * 86_400
"""Seconds: a year."""


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether the value is a number within these bounds. `True`, NaN and infinity are not numbers here."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -math.inf < value < math.inf
        and least <= value <= most
    )


def is_delay(value: object) -> TypeGuard[float]:
    """Whether an event may be delayed by this number of seconds."""
    return is_number(value, 0, LONGEST_DELAY)


def as_given(value: object) -> str:
    """Return a short `repr` of the value for an error text, even if its own `repr` raises."""
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001  # a value of any class
        return f"<{type(value).__name__}>"


def in_seconds(value: object) -> str:
    """Return the end of an error text that translates a `timedelta` into seconds; `""` for any other value."""
    return f" (this timedelta has {value.total_seconds():g})" if isinstance(value, timedelta) else ""
