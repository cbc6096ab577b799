"""`TimedSteps`: steps that are due at intervals, for a consumer that has no tasks of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Step = Callable[[], Awaitable[object]]


class TimedSteps:
    """Does each step when it is due: at first at once, then `interval` seconds after it began."""

    def __init__(self, *steps: tuple[float, Step]) -> None:
        self._steps = steps
        self._due = [0.0] * len(steps)

    async def do_due(self, now: float) -> None:
        """Do the steps that are due. Raises the error of a step, which stays due."""
        for index, (interval, step) in enumerate(self._steps):
            if now >= self._due[index]:
                await step()
                self._due[index] = now + interval
