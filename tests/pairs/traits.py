"""The traits: features that handlers use, and circumstances that befall them, each as one small value.

A trait says what it adds to the play: options of the handlers and settings of the brokers; what becomes of the event
in question, attempt by attempt (`script`); what the line to Redis is like; and what happens in the middle (`act`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.pairs import acts
from tests.pairs.times import LEASE, LONG_LEASE

if TYPE_CHECKING:
    from tests.pairs.stage import Stage

Word = Literal["raise", "later", "reject"]
"""What a handler does with an attempt: it raises, asks for later, or rejects. After its script it returns."""
Order = Literal["stream", "key", "none"]
Act = Callable[["Stage"], Awaitable[None]]


@dataclass(frozen=True)
class Line:
    """The way to Redis."""

    latency: float = 0.0
    """Seconds, each way."""
    drip: int = 0
    """Bytes in a hundredth of a second, for each connection; 0: as fast as it goes."""
    of_both: bool = True
    """Whether broker B has it too."""


@dataclass(frozen=True)
class Trait:
    """One row, and one column, of the table."""

    name: str
    promises: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    """Of the handlers."""
    orders: tuple[Order, ...] = ()
    """The orders that handlers are declared with, each for a stream of its own, in place of `stream` and `none`."""
    settings: Mapping[str, object] = field(default_factory=dict)
    script: tuple[Word, ...] = ()
    begin: Act | None = None
    """What happens in the middle; of two, the one on the left begins, and ends, first."""
    end: Act | None = None
    line: Line | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    """Of the server, while the play goes on."""
    copies: bool = False
    """Each event is published twice, under one `event_id`."""
    follows: bool = False
    """Handlers publish an event with each acknowledgement."""
    fills: bool = False
    """More events wait than a subscription may hold."""
    replays: bool = False
    """Dead letters are replayed: the first before the act, the others in the end."""
    groups: int = 1
    bytes: int = 0
    """Size of a payload."""
    gives_out: bool = False
    """One event fails until it is given up."""
    cleans_up_badly: bool = False
    """A handler that is cancelled raises an error of its own."""
    loses_leases: bool = False
    """What is in hand may come to others, and may be handled twice."""


BYTES_IN_A_REPLY = 150_000

DEDUPLICATE = Trait("deduplicate", ("P25",), options={"deduplicate": 3600.0}, copies=True)
BATCH = Trait("batch", ("P15",), options={"batch": 4, "within": 0.05})
KEY_ORDER = Trait("key order", ("P7",), orders=("key",))
RETRY_LATER = Trait("RetryLater", ("P11",), script=("later",))
RETRY = Trait("retry", ("P10", "P11"), script=("raise",), cleans_up_badly=True)
DRAIN = Trait("drain", ("P27",), begin=acts.begin_to_drain, end=acts.end_of_drain)
CRASH = Trait("crash", ("P2",), begin=acts.crash)
LOST_GROUP = Trait("lost group", ("P17",), begin=acts.lose_group, loses_leases=True)
FULL_CAP = Trait("full cap", ("P6", "P7"), fills=True)
MANY_GROUPS = Trait("many groups", ("P4",), groups=15, begin=acts.outlast_a_lease)
FAR_REDIS = Trait("far Redis", ("P3",), line=Line(latency=0.03, of_both=False), begin=acts.outlast_a_lease)
BIG_ENTRIES = Trait(
    "big entries",
    ("P6",),
    bytes=50_000,
    settings={"count": 50},
    limits={"client-output-buffer-limit": f"normal {BYTES_IN_A_REPLY} 0 0"},  # a client that asks for more is cut off
)
SLOW_LINE = Trait("slow line", ("P6",), line=Line(drip=5_000), settings={"command_timeout": 0.6})
FAILOVER = Trait("failover", ("P16",), begin=acts.fail_over, end=acts.outlast_a_lease)
DEAD_LETTER = Trait("dead letter", ("P12",), script=("raise", "reject"), gives_out=True, cleans_up_badly=True)
REPLAY = Trait("replay", ("P12",), script=("reject",), replays=True)
FOLLOW_UP = Trait("follow-up", ("P1",), follows=True)

TRAITS = (
    DEDUPLICATE,
    BATCH,
    KEY_ORDER,
    RETRY_LATER,
    RETRY,
    DRAIN,
    CRASH,
    LOST_GROUP,
    FULL_CAP,
    MANY_GROUPS,
    FAR_REDIS,
    BIG_ENTRIES,
    SLOW_LINE,
    FAILOVER,
    DEAD_LETTER,
    REPLAY,
    FOLLOW_UP,
)


def lease_of(traits: Collection[Trait]) -> float:
    """Seconds: enough for two renewals, and a connection that is made between them."""
    return LONG_LEASE if FAILOVER in traits and any(trait.line for trait in traits) else LEASE
