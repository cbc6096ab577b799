"""Who is compared. Each is a module with a class `Contender` that does what `Contender` here asks for.

`raw` is the floor: a loop written by hand on redis-py, which leaves out all that a library is there for.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ..workload import Order

NAMES = ("raw", "ours", "faststream")
BASELINE = "raw"
SLOWER = {"faststream": 20}
"""Who gets so many times fewer events, so that a round ends soon: its rate does not depend on it."""


class Way(msgspec.Struct, frozen=True):
    """How events are handled."""

    concurrency: int = 1
    keyed: bool = False
    batch: int = 0
    observed: bool = False
    lease: float | None = None
    """Seconds after which what a dead process held is taken over; where nothing is said, as each does it by itself."""


class Handlers(NamedTuple):
    """What is called with events: one at a time, or a list where the way has a `batch`."""

    one: Callable[[Order], Awaitable[None]]
    many: Callable[[list[Order]], Awaitable[None]]


class Contender(Protocol):
    """Publishes and handles orders."""

    IMPORTS: str
    """The statement that a program of its users begins with."""

    async def open(self, url: str) -> None:
        """Connect; called first."""

    async def publish(self, stream: str, order: Order) -> None:
        """Add one order, and wait for its entry id."""

    async def publish_many(self, stream: str, orders: Sequence[Order]) -> None:
        """Add many at once."""

    async def consume(self, streams: Sequence[str], handlers: Handlers, way: Way) -> None:
        """Begin to handle what is in the streams from their beginning; returns when it has begun."""

    async def close(self) -> None:
        """End what was begun: what is handled is acknowledged."""


def make(name: str) -> Contender:
    """The contender of this name. Raises `ImportError` where its library is not installed."""
    made: Contender = importlib.import_module(f".{name}", __name__).Contender()
    return made
