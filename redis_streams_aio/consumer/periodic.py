"""Repeat a periodic duty: a step, an interval, and a backoff while Redis is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from ..connection.backoff import LONGEST, delays
from ..exceptions import RedisStreamsError
from ..telemetry import Fact, StepFailed

JITTER = 0.1
"""The random part of the interval, so that many processes do not act at the same moment."""


async def repeat(
    duty: str,
    step: Callable[[], Awaitable[object]],
    interval: float,
    emit: Callable[[Fact], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Run the step now and then every `interval` seconds (0: again at once), until `stop` is set.

    A step that has begun runs to its end. If Redis refuses, the step is repeated with backoff, at the latest at the
    next turn, and each failure is emitted as a fact. Any other error is a bug in this library, and ends the broker.
    """
    stop = stop or asyncio.Event()
    longest = max(LONGEST, interval / 10)
    waits = delays(longest=longest)
    while not stop.is_set():
        try:
            await step()
        except RedisStreamsError as error:
            wait = min(next(waits), interval or LONGEST)
            emit(StepFailed.of(duty, error, wait))
        else:
            waits = delays(longest=longest)
            wait = interval * random.uniform(1 - JITTER, 1)
        if wait:
            await wait_for(stop, wait)


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, for at most `seconds`, and return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
