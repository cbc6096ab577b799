"""`timeout`: a time limit for handlers, as middleware of a router or a broker."""

from __future__ import annotations

import asyncio

from ..checks import values
from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..handlers.options import CallNext, Middleware


def timeout(seconds: float) -> Middleware:
    """Return a middleware that cancels handlers after `seconds`: a failure, on which the retry policy decides.

    The option `timeout` of a handler does the same for one handler; of two limits the shorter one counts. Raises
    `ConfigError` for wrong seconds.
    """
    limit = values.seconds("seconds", seconds)

    async def limited(delivery: Delivery | BatchDelivery, call_next: CallNext) -> None:  # noqa: ARG001  # the middleware's call
        async with asyncio.timeout(limit):
            await call_next()

    return limited
