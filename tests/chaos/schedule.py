"""The schedule: which fault hits whom, when and for how long. Pure: a seed and a length give the same faults each time.

Kinds are dealt like cards: all of them, in random order, before any comes again. So a run that has room for one deal
has every kind of fault in it. In the end all consumers are killed at once, so that what they had in hand has to be
taken over, with nothing coming after it that would take it away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from tests.chaos.workload import CONSUMERS, LEASE, PROCESSES, PRODUCERS, PUBLISHED

SERVER = "server"
ALL = "all"
SETTLING_IN = 2.0
"""Seconds before the first fault."""
USUAL_PAUSE = 2.5
"""Seconds between faults, on average, where there is time."""

_PAUSE_IN_THE_END = 0.5
_ROUNDING = 1e-6

Room = Literal["process", "network", "server"]


class Kind(msgspec.Struct, frozen=True):
    """A kind of fault: where it happens, to whom, and how much of it."""

    room: Room
    targets: tuple[str, ...]
    least: float = 0.0
    most: float = 0.0
    """Seconds; of `clock_jump` by how many, of `cut_reply` after how many bytes."""
    times: int = 1
    """How often it is in a deal."""


_WIRES = (*PROCESSES, ALL)

KINDS: dict[str, Kind] = {
    "kill": Kind("process", CONSUMERS, 0.1, 1.0, times=3),
    "kill_producer": Kind("process", PRODUCERS, 0.1, 1.0),
    "drain": Kind("process", CONSUMERS, 0.1, 1.0),
    "freeze": Kind("process", CONSUMERS, 1.2 * LEASE, 2 * LEASE, times=2),
    "block": Kind("process", CONSUMERS, 1.2 * LEASE, 2 * LEASE),
    "clock_jump": Kind("process", CONSUMERS, -3600, 3600),
    "client_kill": Kind("server", (SERVER,)),
    "latency": Kind("network", _WIRES, 1.0, 3.0),
    "partition": Kind("network", _WIRES, 1.0, 2 * LEASE),
    "no_requests": Kind("network", _WIRES, 1.0, 2 * LEASE),
    "no_replies": Kind("network", _WIRES, 1.0, 2 * LEASE),
    "half_open": Kind("network", _WIRES, 1.0, 2 * LEASE),
    "refuse": Kind("network", _WIRES, 1.0, 3.0),
    "cut": Kind("network", _WIRES),
    "cut_reply": Kind("network", PROCESSES, 1, 400),
    "drip": Kind("network", _WIRES, 1.0, 3.0),
    "restart": Kind("server", (SERVER,), 0.0, 2.0),
    "wipe": Kind("server", (SERVER,), 0.0, 2.0),
    "stop_server": Kind("server", (SERVER,), 1.0, 2 * LEASE),
    "flushall": Kind("server", (SERVER,)),
    "trim": Kind("server", PUBLISHED),
    "remove_consumers": Kind("server", (SERVER,)),
    "failover": Kind("server", PUBLISHED),
    "order_sentinels": Kind("server", (SERVER,)),
    "kill_primary": Kind("server", PUBLISHED, 0.0, 1.0),
    "freeze_primary": Kind("server", PUBLISHED, 0.0, 1.0),
    "migrate": Kind("server", PUBLISHED, 0.1, 1.0, times=2),
    "reshard": Kind("server", PUBLISHED, 0.1, 1.0),
    "new_ports": Kind("server", (SERVER,)),
    "cut_node": Kind("server", PUBLISHED, 1.0, 2 * LEASE),
}
"""The target of those from `failover` on is the line whose shard they hit."""

Topology = Literal["one", "sentinel", "cluster"]
_OF_PROCESSES = tuple(name for name, kind in KINDS.items() if kind.room == "process")
_OF_ALL = (*_OF_PROCESSES, "client_kill", "trim", "remove_consumers")
_OF_SENTINELS = ("order_sentinels", "kill_primary", "freeze_primary")
_OF_CLUSTERS = ("failover", "kill_primary", "freeze_primary", "migrate", "reshard", "new_ports", "cut_node")
KINDS_ON: dict[Topology, tuple[str, ...]] = {
    "one": tuple(name for name in KINDS if name not in (*_OF_SENTINELS, *_OF_CLUSTERS)),
    "sentinel": (*_OF_ALL, *_OF_SENTINELS),
    "cluster": (*_OF_ALL, *_OF_CLUSTERS),
}
"""The kinds of faults that there are on each topology."""


def deal(topology: Topology) -> tuple[str, ...]:
    """All kinds of a topology, each as often as it is dealt at once."""
    return tuple(name for name in KINDS_ON[topology] for _ in range(KINDS[name].times))


class Fault(msgspec.Struct, frozen=True):
    """One fault of a schedule."""

    at: float
    """Seconds from the start."""
    kind: str
    target: str
    length: float
    """Seconds (see `Kind`)."""

    @property
    def room(self) -> Room:
        """Where it happens."""
        return KINDS[self.kind].room


def schedule(seed: int, minutes: float, topology: Topology = "one") -> list[Fault]:
    """The faults of a run, in the order of their times. Raises `ValueError` for no time."""
    if minutes * 60 <= SETTLING_IN:
        raise ValueError(f"minutes={minutes!r}: expected more than {SETTLING_IN / 60:.3f}")
    source = random.Random(seed)
    seconds = minutes * 60
    slot = min(USUAL_PAUSE, (seconds - SETTLING_IN) / len(deal(topology)))
    faults: list[Fault] = []
    for number, kind in enumerate(_dealt(source, deal(topology))):
        if SETTLING_IN + (number + 1) * slot > seconds + _ROUNDING:
            return faults + [Fault(seconds, "kill", name, _PAUSE_IN_THE_END) for name in CONSUMERS]
        about = KINDS[kind]
        at = SETTLING_IN + (number + source.random()) * slot
        length = round(source.uniform(about.least, about.most), 3)
        faults.append(Fault(min(round(at, 3), seconds), kind, source.choice(about.targets), length))
    raise AssertionError("the deals do not end")


def _dealt(source: random.Random, kinds: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from source.sample(kinds, len(kinds))
