"""How long to wait before the next try: exponential backoff with jitter, by the package `backoff`. Pure.

`delays` is for one who tries alone, `longer` and `jittered` for one who keeps the last pause; a `SharedBackoff` is for
many who would try at the same time.
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


def longer(pause: float, first: float = SHORTEST) -> float:
    """Return the pause that follows a pause; the first one follows 0."""
    return min(LONGEST, 2 * pause) or first


def jittered(pause: float) -> float:
    """Return the seconds to wait in a pause: half of it at random, as `delays` has it."""
    return random.uniform(pause / 2, pause)


class SharedBackoff:
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
