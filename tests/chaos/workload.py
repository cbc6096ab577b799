"""What is published and handled: lines, each a stream with one group, and what is promised of it.

`solo` is one process with a stable name: the order of its lines holds across crashes (docs/ordering.md). `team` is
several processes with names made up for one run.
"""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from redis_streams_aio.events import keys

LEASE = 2.0
"""Seconds, for all lines."""
COMMAND_TIMEOUT = 2.0
SOLO = "solo"
TEAM = ("team-1", "team-2")
CONSUMERS = (SOLO, *TEAM)
PRODUCERS = ("producer-1", "producer-2")
PROCESSES = (*CONSUMERS, *PRODUCERS)
WITH_LEASE_THREAD = ("team-2",)
"""Those that a blocked event loop costs no lease."""
POISON = "!"
"""The end of the names of events whose handler always fails."""


class Line(msgspec.Struct, frozen=True):
    """A stream, and its group."""

    stream: str
    group: str
    order: Literal["stream", "key", "none"]
    by: Literal["solo", "team"]

    @property
    def dead_letters(self) -> str:
        """The stream of its dead letters."""
        return keys.dead_letters(self.stream, self.group)


LINES = {
    "ledger": Line("ledger", "audit", "stream", "solo"),
    "accounts": Line("accounts", "balance", "key", "solo"),
    "loads": Line("loads", "warehouse", "stream", "solo"),
    "clicks": Line("clicks", "statistics", "none", "team"),
    "mails": Line("mails", "post", "key", "team"),
    "orders": Line("orders", "billing", "none", "team"),
    "invoices": Line("{orders}:invoices", "books", "none", "team"),
    "payments": Line("payments", "bank", "none", "team"),
}
"""`loads` is handled in batches; each of `orders` has a follow-up in `invoices`; `payments` are deduplicated."""

PUBLISHED = tuple(name for name in LINES if name != "invoices")
NAME_OF_STREAM = {line.stream: name for name, line in LINES.items()}


class Work(msgspec.Struct, frozen=True):
    """An event."""

    name: str
    key: str = ""
    seconds: float = 0.0
    """How long its handler takes."""
    fails: int = 0
    """How often its handler fails."""

    @property
    def poison(self) -> bool:
        """Whether its handler always fails."""
        return is_poison(self.name)


def is_poison(name: str) -> bool:
    """Whether the event of this name always fails."""
    return name.endswith(POISON)


def invoice(order_id: str) -> Work:
    """The follow-up of an order, which names the order's entry."""
    return Work(f"invoices/{order_id}")


def order_of(name: str) -> str:
    """The entry of the order that a follow-up is of."""
    return name.removeprefix("invoices/")


def make_work(line: str, process: str, number: int, random: random.Random) -> Work:
    """The next event of a line: most are quick and fine, some fail once or twice, take long, or are poison."""
    luck = random.random()
    key = f"key-{random.randrange(8)}"
    name = f"{line}/{process}/{number}"
    seconds = random.uniform(0.0, 0.01)
    if luck < 0.01:
        return Work(name + POISON, key, seconds)
    if luck < 0.05:
        return Work(name, key, seconds, fails=1 + (luck < 0.02))
    if luck < 0.08:
        longest = 1.5 * LEASE if LINES[line].by == "team" else 0.3
        return Work(name, key, random.uniform(0.1, longest))
    return Work(name, key, seconds)
