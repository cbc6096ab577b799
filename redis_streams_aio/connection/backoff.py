"""How long to wait before the next try: exponential backoff with full jitter, by the package `backoff`."""

from __future__ import annotations

from collections.abc import Iterator

import backoff

SHORTEST = 0.1
LONGEST = 2.0


def delays(first: float = SHORTEST, longest: float = LONGEST) -> Iterator[float]:
    """Seconds before each next try, without end: at random between 0 and 1, 2, 4 ... times `first`, at most `longest`.

    Never below half of `first`, so that one waiter stays below 20 tries a second whatever the dice say.
    """
    steps = backoff.expo(base=2, factor=first, max_value=longest)
    next(steps)  # the package's generators begin with an empty step
    for step in steps:
        yield max(first / 2, backoff.full_jitter(step))
