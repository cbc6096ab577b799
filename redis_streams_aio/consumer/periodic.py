"""How a periodic duty is repeated: a step, an interval, and patience when Redis is away (P16)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from ..connection.backoff import LONGEST, delays
from ..exceptions import RedisStreamsError
from ..telemetry import Fact, StepFailed

JITTER = 0.1
"""Part of the interval that is left to chance, so that the processes of a fleet do not act in step."""


async def repeat(
    duty: str,
    step: Callable[[], Awaitable[object]],
    interval: float,
    emit: Callable[[Fact], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Do the step now and then every `interval` seconds (0: again at once), until `stop`.

    A step that has begun is done to its end. What Redis refuses is told and tried again with backoff, never later than
    the next turn; any other error is a bug of ours and ends the broker (P14).
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
    """Wait until the event is set, at most so long; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
