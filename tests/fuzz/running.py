"""Runs targets: each makes an input from a `Random` and judges what becomes of it.

A target's check returns when the input was read or refused as it should be, and raises otherwise. Input n of a target
under a seed is always the same, whatever ran before it. An input may take `SLOWEST` seconds of the processor.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

SLOWEST = 5.0


class Target(NamedTuple):
    """One reader of what others wrote."""

    name: str
    share: int
    """How many of all inputs it gets, beside the shares of the others."""
    make: Callable[[Random], Any]
    check: Callable[[Any], Any]


class FoundError(AssertionError):
    """An input that was not read as it should be."""


def run(target: Target, seed: int, numbers: range) -> float:
    """Try the inputs of these numbers; how many seconds the slowest one took. Raises `FoundError`."""
    if inspect.iscoroutinefunction(target.check):
        return asyncio.run(_run(target, seed, numbers))
    slowest = 0.0
    for number in numbers:
        given = target.make(_random(target, seed, number))
        began = time.process_time()
        try:
            target.check(given)
        except Exception as error:
            raise _found(target, seed, number, given) from error
        slowest = max(slowest, _time_taken(target, seed, number, given, began))
    return slowest


async def _run(target: Target, seed: int, numbers: range) -> float:
    slowest = 0.0
    for number in numbers:
        given = target.make(_random(target, seed, number))
        began = time.process_time()
        try:
            async with asyncio.timeout(SLOWEST * 4):
                await target.check(given)
        except Exception as error:
            raise _found(target, seed, number, given) from error
        slowest = max(slowest, _time_taken(target, seed, number, given, began))
    return slowest


def _random(target: Target, seed: int, number: int) -> Random:
    return Random(f"{seed}/{target.name}/{number}")


def _time_taken(target: Target, seed: int, number: int, given: object, began: float) -> float:
    taken = time.process_time() - began
    if taken > SLOWEST:
        raise _found(target, seed, number, given, f" took {taken:.1f} s")
    return taken


def _found(target: Target, seed: int, number: int, given: object, what: str = "") -> FoundError:
    return FoundError(f"{target.name}, seed {seed}, input {number}{what}: {given!r:.1000}")
