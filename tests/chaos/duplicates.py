"""Events that were handled twice, each with its cause. Pure.

At least once is what is promised, so a second run is no violation; but it has to have a cause. That is a fault between
the beginnings of the two runs that hit the server, or the process of the first run: what it did is not written. Or the
process of the second run: frozen or cut off, it lost the entry that it had buffered, and did not know yet. What a
process does not notice at once (a connection that went silent) counts for a while longer. A second run without a cause
is a violation. So is one in the same life of a process that has not noted the loss of its lease: it knows what it did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from tests.chaos.books import LOSES_WRITES, Books, Run, actor_of
from tests.chaos.history import Record
from tests.chaos.schedule import ALL, KINDS
from tests.chaos.workload import COMMAND_TIMEOUT, LEASE, WITH_LEASE_THREAD

AFTERMATH = COMMAND_TIMEOUT + LEASE
"""Seconds: until a command on a connection that is dead fails, and then a lease may have run out."""
_MOMENTARY = ("kill", "drain")
"""They end a process, and with it all that it had."""
_HARMLESS = ("clock_jump", "remove_consumers", "trim")
"""No reason to handle anything twice."""
_DATA_LOSS = ("flushall", "wipe")
NO_CAUSE = ""


class Duplicate(msgspec.Struct, frozen=True):
    """An event that was handled once more."""

    name: str
    first: Run
    again: Run
    cause: str
    """The kind of fault; nothing: there is none."""


def find(books: Books) -> list[Duplicate]:
    """All second runs that came to an end after a first one had."""
    found = []
    for runs in _of_one_event(books):
        handled = sorted((run for run in runs if run.end == "handled"), key=lambda run: run.began)
        found += [Duplicate(again.name, first, again, cause(books, first, again)) for first, again in pairwise(handled)]
    return found


def _of_one_event(books: Books) -> Iterator[list[Run]]:
    """Runs by entry; where copies are dropped, by event."""
    payments: defaultdict[str, list[Run]] = defaultdict(list)
    for (line, _), runs in books.runs.items():
        if line != "payments":
            yield runs
            continue
        for run in runs:
            payments[run.name].append(run)
    yield from payments.values()


def cause(books: Books, first: Run, again: Run) -> str:
    """The kind of fault that had it handled again."""
    possible = [fault for fault in books.faults if _explains(fault, first, again)]
    if first.process == again.process and first.entry == again.entry and not _lost_between(books, first, again):
        possible = [fault for fault in possible if fault.name in LOSES_WRITES]
    return _kind(min(possible, key=_vagueness)) if possible else NO_CAUSE


def _lost_between(books: Books, first: Run, again: Run) -> bool:
    """Whether the process of both runs noted that another one had the entry in between."""
    noted = books.lost.get((first.process, first.entry), ())
    return any(first.began <= at <= again.began for at in noted)


def _kind(fault: Record) -> str:
    return fault.name if fault.what == "fault" else fault.what


def _explains(fault: Record, first: Run, again: Run) -> bool:
    kind = _kind(fault)
    process_hit = _hits(fault, first) or (_hits(fault, again) and kind not in _MOMENTARY)
    if kind in _HARMLESS or not process_hit:
        return False
    if kind in _DATA_LOSS and first.entry == again.entry:
        return False  # what was taken away with its stream cannot come again
    if kind in _MOMENTARY:
        return fault.at <= again.began and fault.until >= first.began
    return fault.at <= again.began and fault.until + AFTERMATH >= first.began


def _hits(fault: Record, run: Run) -> bool:
    if fault.what == "fault":
        keeps_leases = fault.name == "block" and run.actor in WITH_LEASE_THREAD
        of_all = KINDS[fault.name].room == "server" or fault.detail == ALL
        return (of_all or fault.detail == run.actor) and not keeps_leases
    if fault.what == "blocked" and run.actor in WITH_LEASE_THREAD:
        return False
    return actor_of(fault.process) in (run.actor, "nemesis")


def _vagueness(fault: Record) -> tuple[int, float]:
    """The surest causes first: the process, its wire, the server, a busy machine."""
    if fault.what == "stalled":
        return 4, fault.at
    if fault.what == "blocked":
        return 0, fault.at
    return ("process", "network", "server").index(KINDS[fault.name].room), fault.at


def unexplained(found: Sequence[Duplicate]) -> list[str]:
    """Those without a cause."""
    return [
        f"{one.name}: {one.first.entry[1]} in {one.first.process}, then {one.again.entry[1]} in {one.again.process}"
        for one in found
        if one.cause == NO_CAUSE
    ]
