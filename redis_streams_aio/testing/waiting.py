"""Awaiting facts with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(fact: Callable[[], object | Awaitable[object]], seconds: float = 10.0, what: str = "") -> object:
    """Wait until `fact()` is true, and return it; fail with the last value when it is not within `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = fact()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or fact} (last: {value!r})")
        await asyncio.sleep(0.005)
