"""Numbers of seconds, as users give them. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeGuard

LONGEST_DELAY = 366 * 86_400
"""Seconds: a year."""


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> TypeGuard[float]:
    """Whether it is a number within these bounds: not `True`, which counts nothing, nor NaN or infinity."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -math.inf < value < math.inf
        and least <= value <= most
    )


def is_delay(value: object) -> TypeGuard[float]:
    """Whether it is a time that an event may be made to wait."""
    return is_number(value, 0, LONGEST_DELAY)


def as_given(value: object) -> str:
    """What was given in place of a number, short, and whatever its `repr` does."""
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001  # of anything that users pass in
        return f"<{type(value).__name__}>"


def in_seconds(value: object) -> str:
    """What to write in place of a `timedelta`, as the end of an error's text; `""` for anything else."""
    return f" (a timedelta has them: {value.total_seconds():g})" if isinstance(value, timedelta) else ""
