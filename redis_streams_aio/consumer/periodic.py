"""Repeat a periodic duty: a step, an interval, and a backoff while Redis is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

from ..connection.backoff import LONGEST, delays
from ..exceptions import RedisStreamsError
from ..telemetry import Fact, StepFailed

Interval = float | Callable[[], float]
"""Seconds, or a function that returns them after each step."""

JITTER = 0.1
"""The random part of the interval, so that many processes do not act at the same moment."""


async def repeat(
    duty: str,
    step: Callable[[], Awaitable[object]],
    interval: Interval,
    emit: Callable[[Fact], None],
    stop: asyncio.Event | None = None,
    *,
    longest: float = LONGEST,
) -> None:
    """Run the step now and then every `interval` seconds (0: again at once), until `stop` is set.

    A step that has begun runs to its end. If Redis refuses, the step is repeated with backoff (of `longest` seconds in
    the end), at the latest at the next turn, and each failure is emitted as a fact. Any other error is a bug in this
    library, and ends the broker.
    """
    stop = stop or asyncio.Event()
    waits: Iterator[float] | None = None
    while not stop.is_set():
        try:
            await step()
        except RedisStreamsError as error:
            seconds = _seconds(interval)
            waits = waits or delays(longest=max(longest, seconds / 10))
            wait = min(next(waits), seconds or LONGEST)
            emit(StepFailed.of(duty, error, wait))
        else:
            waits = None
            wait = _seconds(interval) * random.uniform(1 - JITTER, 1)
        if wait:
            await wait_for(stop, wait)


def _seconds(interval: Interval) -> float:
    return interval() if callable(interval) else interval


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, for at most `seconds`, and return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
