"""The books: what the histories say, by event, by entry and by run of a handler. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import msgspec

from tests.chaos.history import Record
from tests.chaos.workload import is_poison

Entry = tuple[str, str]
"""A line's name and an entry id."""
End = Literal["", "handled", "failed", "cancelled"]
LOSES_WRITES = ("kill_primary", "freeze_primary", "order_sentinels")
"""A replica is promoted that may lack the last writes: acknowledgements too, so that their events come again."""
JUST_BEFORE = 1.0
"""Seconds that a replica may lag behind."""
_ENDS: dict[str, End] = {"handled": "handled", "failed": "failed", "cancelled": "cancelled"}


class Run(msgspec.Struct):
    """One call of a handler with one entry."""

    entry: Entry
    name: str
    process: str
    """With the number of its life: `team-1.3`."""
    detail: str
    """Its key, or its batch."""
    began: float
    ended: float = 0.0
    end: End = ""
    """How it ended; nothing: nobody has noted it."""

    @property
    def actor(self) -> str:
        """The process without the number of its life."""
        return actor_of(self.process)


def actor_of(process: str) -> str:
    """`team-1` of `team-1.3`."""
    return process.rpartition(".")[0] or process


class Books:
    """Keeps count of the events that were published and handled."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records: list[Record] = sorted(records, key=lambda record: record.at)
        self.attempted: set[str] = set()
        self.acknowledged: dict[Entry, str] = {}
        """The event's name."""
        self.acknowledged_by: list[Record] = []
        self.runs: defaultdict[Entry, list[Run]] = defaultdict(list)
        """In the order of their beginnings."""
        self.acknowledged_at: dict[Entry, list[float]] = defaultdict(list)
        """When publishers were told the id of an entry."""
        self.taken: dict[Entry, str] = {}
        self.letters: dict[Entry, set[str]] = defaultdict(set)
        """The ids of an entry's dead letters."""
        self.gave_up: dict[Entry, str] = {}
        """Entries that were dead-lettered, and why where that is known."""
        self.lost: dict[tuple[str, Entry], list[float]] = defaultdict(list)
        """When which process noted that it had lost which entry."""
        self.names: dict[Entry, str] = {}
        self.kept: set[Entry] | None = None
        """Entries that a set of servers has in the end; `None`: nobody has looked, and one server keeps them all."""
        self.faults: list[Record] = []
        """Also what happened to processes unbidden: `blocked`, `stalled`."""
        for record in self.records:
            self._enter(record)

    def _enter(self, record: Record) -> None:
        entry = (record.line, record.id)
        if record.id and record.name:
            self.names[entry] = record.name
        match record.what:
            case "attempted":
                self.attempted.add(record.name)
            case "acknowledged":
                self.acknowledged[entry] = record.name
                self.acknowledged_at[entry].append(record.at)
                self.acknowledged_by.append(record)
            case "begun":
                self.runs[entry].append(Run(entry, record.name, record.process, record.detail, record.at))
            case "handled" | "failed" | "cancelled":
                self._end(entry, record)
            case _:
                self._enter_loss(entry, record)

    def _enter_loss(self, entry: Entry, record: Record) -> None:
        match record.what:
            case "taken":
                self.taken[entry] = record.name
            case "kept":
                self.kept = self.kept or set()
                self.kept.add(entry)
            case "dead":
                self.letters[entry].add(record.detail)
                self.gave_up.setdefault(entry, "")
            case "lost":
                self.lost[record.process, entry].append(record.at)
            case "gave_up":
                self.gave_up[entry] = record.detail
            case "fault" | "blocked" | "stalled":
                self.faults.append(record)
            case _:
                pass

    def _end(self, entry: Entry, record: Record) -> None:
        for run in reversed(self.runs[entry]):
            if run.process == record.process and not run.end:
                run.ended, run.end = record.at, _ENDS[record.what]
                return

    @property
    def handled(self) -> set[Entry]:
        """Entries whose handler returned at least once."""
        return {entry for entry, runs in self.runs.items() if any(run.end == "handled" for run in runs)}

    def went_with_a_primary(self, entry: Entry) -> bool:
        """Whether Redis lost it: it is not there in the end, and was acknowledged while a primary was replaced."""
        if self.kept is None or entry in self.kept:
            return False
        return any(map(self._while_writes_were_lost, self.acknowledged_at[entry]))

    def may_have_lost_a_write(self, entry: Entry) -> bool:
        """Whether what was written at the end of one of its runs may have gone with a primary that was replaced."""
        return any(self._while_writes_were_lost(run.ended) for run in self.runs.get(entry, ()) if run.end)

    def _while_writes_were_lost(self, at: float) -> bool:
        losses = (fault for fault in self.faults if fault.name in LOSES_WRITES)
        return any(fault.at - JUST_BEFORE <= at <= fault.until for fault in losses)

    def finished(self, entry: Entry) -> float | None:
        """When its fate was first known: its handler returned, or failed for good."""
        if entry in self.gave_up:
            return max((run.ended for run in self.runs.get(entry, []) if run.end == "failed"), default=None)
        return min((run.ended for run in self.runs.get(entry, []) if run.end == "handled"), default=None)

    def expected_dead(self, entry: Entry) -> bool:
        """Whether it is one that always fails."""
        return is_poison(self.names.get(entry, ""))
