"""`Entry`: the engine's record of one entry that this process holds. It has one state.

An entry is made when Redis delivers it to this consumer, and ends when it is settled, released or lost. Only the event
loop of its subscription touches it. Handlers never see it: they get a `Delivery`, which shows a part of it.

| state | meaning |
|---|---|
| `BUFFERED` | it waits for a worker, or behind another entry of its lane |
| `RUNNING` | a worker has it: it is admitted, decoded and handled |
| `WAITING` | it waits until `until`: for its retry, for a copy, or, with a `fate`, to be written again |
| `WRITING` | its fate, or its release, is on the way to Redis |
| `DONE` | settled: Redis has confirmed it, and it is no longer held |
| `LOST` | no longer ours to write: another consumer has it, it was deleted, or it was left to its lease |

| event | called by | when |
|---|---|---|
| `begin` | a worker | it takes the entry, to handle it or to write its known fate |
| `queue` | work, records, releasing | a worker may begin it, here or, once it is released, elsewhere |
| `wait` | work, records, writer | it must not begin before a time; with a fate: Redis could not accept it |
| `write` | work, writer | its fate is decided, and is sent |
| `settle` | acknowledgements, writer | Redis has written its fate |
| `lose` | leases, writer | another consumer has it, it is gone, or Redis refuses its fate for good |

`NEXT` has all transitions; any other one raises `StateError`, which is our bug.

When things fail: a write without an answer leaves the entry `WAITING` with its fate. A write that Redis refuses for
good loses the entry, so that it stays pending until its lease expires. When an entry is lost, its handler may still be
running. Its success may then be written, because acknowledging is harmless and completing checks; its failure writes
nothing. So a lost entry stays `LOST` through `write`, `wait` and `settle`. If Redis delivers it to this process again
while that handler runs, it is regained (`regain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ..events.wire_format import Fields
from ..models import History

if TYPE_CHECKING:
    from ..handlers.fates import Fate

State = Literal["buffered", "running", "waiting", "writing", "done", "lost"]
Event = Literal["begin", "queue", "wait", "write", "settle", "lose", "regain"]

BUFFERED: State = "buffered"
RUNNING: State = "running"
WAITING: State = "waiting"
WRITING: State = "writing"
DONE: State = "done"
LOST: State = "lost"

NEXT: Mapping[State, Mapping[Event, State]] = {
    BUFFERED: {"begin": RUNNING, "queue": BUFFERED, "wait": WAITING, "write": WRITING, "lose": LOST},
    RUNNING: {"queue": BUFFERED, "wait": WAITING, "write": WRITING, "lose": LOST},
    WAITING: {"begin": RUNNING, "queue": BUFFERED, "wait": WAITING, "write": WRITING, "lose": LOST},
    WRITING: {"queue": BUFFERED, "wait": WAITING, "write": WRITING, "settle": DONE, "lose": LOST},
    DONE: {},
    LOST: {"begin": LOST, "queue": LOST, "wait": LOST, "write": LOST, "settle": LOST, "lose": LOST, "regain": RUNNING},
}
"""The next state by state and event."""


class StateError(RuntimeError):
    """The engine asked for a transition that does not exist: a bug."""


class Entry:
    """One entry in the hands of this process."""

    __slots__ = (
        "deliveries",
        "failing_since",
        "failures",
        "fate",
        "fields",
        "first_failure",
        "history",
        "is_gone",
        "lane",
        "payload",
        "prepared",
        "raw_id",
        "recorded",
        "refusal",
        "state",
        "stream",
        "until",
    )

    def __init__(self, stream: str, raw_id: bytes, fields: Fields, deliveries: int = 1) -> None:
        self.stream: str = stream
        self.raw_id: bytes = raw_id
        """The entry id as Redis sent it."""
        self.fields: Fields = fields
        """The entry's field names and values in turn, as they are in Redis."""
        self.state: State = BUFFERED
        self.until: float = 0.0
        """When a waiting entry is due, on the broker's clock; 0: now."""
        self.fate: Fate | None = None
        """The decided fate that is being written, or could not be written yet."""
        self.deliveries: int = deliveries
        """How often Redis has delivered the entry, this time included."""
        self.failures: int = 0
        """How often handlers failed on the event, over all consumers and restarts; 0 again after a replay."""
        self.first_failure: float = 0.0
        """When a handler first failed on the event, in epoch seconds of Redis's clock; 0 if none did."""
        self.failing_since: float = 0.0
        """The same moment on the broker's clock; 0 before that."""
        self.history: History | None = None
        """The event's history before it was replayed from the dead letters; `None` if it was not replayed."""
        self.is_gone: bool = False
        """Whether it was deleted or trimmed while we held it, so that nobody else handles it."""
        self.recorded: bool = False
        """Whether Redis has a failure record of the entry."""
        self.lane: object = None
        """Entries of one lane are handled one after another; with `None` it waits for no other entry."""
        self.prepared: bool = False
        """Whether decoding was tried: then `payload` or `refusal` is set."""
        self.payload: object = None
        """The decoded payload."""
        self.refusal: BaseException | None = None
        """The error of the decoder or of the key function."""

    @property
    def lost(self) -> bool:
        """Whether it is no longer ours."""
        return self.state is LOST

    @property
    def settled(self) -> bool:
        """Whether its fate or its release is being written, or is written: then nobody else decides on it."""
        return self.state is WRITING or self.state is DONE

    @property
    def may_harm_others(self) -> bool:
        """Whether it may harm others: it was delivered or failed before, is lost, or has an unwritten fate."""
        return self.deliveries > 1 or self.failures > 0 or self.fate is not None or self.state is LOST

    def begin(self) -> None:
        """Note that a worker has it."""
        self._go("begin")
        self.until = 0.0

    def queue(self) -> None:
        """Let it be handled as soon as its turn comes."""
        self._go("queue")
        self.until = 0.0

    def wait(self, until: float, fate: Fate | None = None) -> None:
        """Let it wait until a time on the broker's clock, with the fate that is still to be written."""
        self._go("wait")
        self.until = until
        self.fate = fate

    def write(self, fate: Fate | None = None) -> None:
        """Note that a fate is being written; `None`: that it is being released, and keeps its unwritten fate."""
        self._go("write")
        if fate is not None:
            self.fate = fate

    def settle(self) -> None:
        """Note that Redis has written its fate."""
        self._go("settle")

    def lose(self) -> None:
        """Note that it is no longer ours to write."""
        self._go("lose")

    def regain(self) -> None:
        """Note that it came back to this process while its handler was still running."""
        self._go("regain")
        self.until = 0.0

    def _go(self, event: Event) -> None:
        try:
            self.state = NEXT[self.state][event]
        except KeyError:
            raise StateError(f"{self}: cannot {event} while {self.state}") from None

    def __repr__(self) -> str:
        return f"<Entry {self.stream} {self.raw_id.decode()}: {self.state}, delivery {self.deliveries}>"
