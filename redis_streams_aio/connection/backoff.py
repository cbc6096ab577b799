"""How long to wait before the next try: exponential backoff with jitter, by the package `backoff`. Pure.

`delays` is for one who tries alone, `pause` for one who counts failures; a `Gate` is for many who would try at the same
time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

SHORTEST = 0.1
LONGEST = 2.0


def delays(first: float = SHORTEST, longest: float = LONGEST) -> Iterator[float]:
    """Seconds before each next try, without end: 1, 2, 4 ... times `first`, at most `longest`, half of it at random.

    ("Equal jitter": the dice cannot make one waiter try twice in a row.)
    """
    import backoff  # noqa: PLC0415  # imported when a wait begins: it takes as long as twenty of our modules

    steps = backoff.expo(base=2, factor=first, max_value=longest)
    next(steps)  # the package's generators begin with an empty step
    for step in steps:
        yield step / 2 + backoff.full_jitter(step / 2)


def pause(failures: int, first: float = SHORTEST) -> float:
    """Return the seconds to wait after this number of failures in a row, as `delays` would yield them."""
    longest = min(LONGEST, first * 2.0 ** min(failures, 10))
    return random.uniform(longest / 2, longest)


class Gate:
    """Lets one caller ask at every turn while Redis refuses, and has the others wait: many cost no more than one.

    Open until `refused`. Then it lets one through whenever the backoff is over, until one has `passed`.
    """

    def __init__(self) -> None:
        self._waits: Iterator[float] | None = None
        self._next_turn = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nobody was refused lately: ask at once, and take no turn."""
        return self._waits is None

    def wait(self, now: float) -> float:
        """Return 0 when the caller may ask now, or the seconds to wait before the next question."""
        if self._waits is None:
            return 0.0
        if now < self._next_turn:
            return self._next_turn - now
        self._next_turn = now + next(self._waits)
        return 0.0

    def refused(self, now: float) -> float:
        """Note that a caller was refused; return the seconds until the next turn."""
        if self._waits is None:
            self._waits = delays()
            self._next_turn = now
        if now >= self._next_turn:  # the first refusal, or one that took longer than a turn
            self._next_turn = now + next(self._waits)
        return self._next_turn - now

    def passed(self) -> None:
        """Note that a caller was not refused."""
        self._waits = None
