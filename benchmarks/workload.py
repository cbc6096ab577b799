"""What is published and handled: an order of 200 bytes of JSON, told apart by its number.

Every number has as many digits as any other, so that an entry with one of them is an entry with another one after a
plain replacement: this is how a server is filled with a million entries in the format of any contender.
"""

from __future__ import annotations

import msgspec

GROUP = "bench"
FIRST = 1_000_000
"""The number of the first order; there are never more than nine million."""
_SIZE = 200


class Line(msgspec.Struct):
    """A part of an order."""

    sku: str
    quantity: int


class Order(msgspec.Struct):
    """The payload."""

    number: int
    sent: int
    """When it was published, by `time.monotonic_ns`; nothing where nobody asks."""
    kind: str
    customer: str
    amount: float
    paid: bool
    lines: list[Line]
    note: str


_LINES = [Line("A-1", 2), Line("B-7", 1)]


def order(number: int = FIRST, sent: int = 0) -> Order:
    """One order."""
    return Order(number, sent, "order.created", f"c-{number}", 129.95, True, _LINES, _NOTE)  # noqa: FBT003  # data


def key(placed: Order) -> str:
    """What orders are kept in order by: one of a thousand."""
    return placed.customer[-3:]


def stream(index: int) -> str:
    """The names of the streams."""
    return f"orders:{index}"


_NOTE = ""
_NOTE = "x" * (_SIZE - len(msgspec.json.encode(order())))
