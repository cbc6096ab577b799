"""The verdict: set algebra over what was attempted, acknowledged, handled, given up and taken away. Pure.

Every event whose publishing was acknowledged is accounted for in one of these ways, or it is lost:

* its handler returned,
* it always fails, and is among the dead letters,
* its entry was taken out of Redis by the nemesis, which has noted it, before its group was done with it,
* Redis lost it with a primary that the nemesis had replaced, and does not have it in the end.

Beside that nothing unexpected may come (an event that nobody published, a dead letter of one that would have gone
well), nothing may be done twice that is promised to be done once (follow-ups, dead letters), order holds where it is
promised, no retry is early, duplicates have causes, no process ends by itself, and in the end everything comes to rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from tests.chaos import duplicates, ordering, retries
from tests.chaos.books import Books, Entry
from tests.chaos.duplicates import Duplicate
from tests.chaos.history import Record
from tests.chaos.workload import order_of

LATEST = 30.0
"""Seconds in which an event has to come to its end: several outages one after another, and the leases after them."""


class Gap(msgspec.Struct, frozen=True):
    """The longest time in which nothing was handled."""

    began: float = 0.0
    ended: float = 0.0
    line: str = ""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


class Verdict(msgspec.Struct, frozen=True):
    """What is to be said of a run."""

    counts: dict[str, int]
    violations: dict[str, list[str]]
    """By kind; kinds without any are there too."""
    duplicates: Counter[str]
    """By cause."""
    gap: Gap
    """Of all lines together."""
    gaps: list[Gap]
    """Of each line."""

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.violations.values())


def judge(records: Iterable[Record]) -> Verdict:
    """The verdict over the histories of a run."""
    books = Books(records)
    again = duplicates.find(books)
    return Verdict(
        counts=_counts(books, again),
        violations={
            "lost": list(_lost(books)),
            "unexpected": [*_unexpected(books), *_published_twice(books)],
            "follow-ups": list(_follow_ups(books)),
            "dead letters": list(_letters(books)),
            "order": ordering.violations(books),
            "early retries": list(retries.early(books)),
            "unexplained duplicates": duplicates.unexplained(again),
            "stuck": [*_late(books), *_never_settled(books)],
            "crashed": [f"{one.name}: {one.detail}" for one in books.records if one.what == "crashed"],
        },
        duplicates=Counter(one.cause or "no cause" for one in again),
        gap=longest_gap(books),
        gaps=[longest_gap(books, line) for line in sorted({line for line, _ in books.runs})],
    )


def _counts(books: Books, again: list[Duplicate]) -> dict[str, int]:
    by_kind = Counter(record.what for record in books.records)
    return {
        "attempted": len(books.attempted),
        "acknowledged": len(books.acknowledged),
        "unanswered": by_kind["unanswered"],
        "handled": len(books.handled),
        "given up": len(books.gave_up),
        "taken away": len(books.taken),
        "copies dropped": by_kind["dropped"],
        "leases lost": by_kind["lost"],
        "groups made again": by_kind["recreated"],
        "duplicates": len(again),
        "faults": by_kind["fault"],
    }


def _lost(books: Books) -> Iterator[str]:
    handled = books.handled
    paid = {books.names[entry] for entry in handled if entry[0] == "payments"}
    for entry, name in books.acknowledged.items():
        if entry in books.taken or (name in paid and entry[0] == "payments") or books.went_with_a_primary(entry):
            continue
        if entry not in (books.gave_up if books.expected_dead(entry) else handled):
            yield f"{entry[0]} {entry[1]} {name}"


def _unexpected(books: Books) -> Iterator[str]:
    handled = books.handled
    for entry, runs in books.runs.items():
        name = runs[0].name
        if not _was_published(name, entry[0], books, handled):
            yield f"{entry[0]} {entry[1]}: {name} was never published there"
        if books.expected_dead(entry) and entry in handled:
            yield f"{entry[0]} {entry[1]}: {name} always fails, and was handled"
    for entry, reason in books.gave_up.items():
        if not books.expected_dead(entry):
            yield f"{entry[0]} {entry[1]}: became a dead letter ({reason or 'by a process that died then'})"


def _published_twice(books: Books) -> Iterator[str]:
    """Publishing is not repeated by itself (P25): but for payments, an event is one entry."""
    entries: defaultdict[str, set[str]] = defaultdict(set)
    for (line, entry_id), name in books.names.items():
        if line not in ("payments", "invoices"):
            entries[name].add(entry_id)
    for name, ids in entries.items():
        if len(ids) > 1:
            yield f"{name} was published once, and is in {len(ids)} entries: {sorted(ids)}"


def _was_published(name: str, line: str, books: Books, handled: set[Entry]) -> bool:
    if line == "invoices":
        return ("orders", order_of(name)) in handled
    return name in books.attempted and name.startswith(f"{line}/")


def _follow_ups(books: Books) -> Iterator[str]:
    """One for each order that was handled; where its entry was taken away, one at most.

    Where Redis may have lost that it was handled, there may be none, or one for each time that it was handled.
    """
    handled = books.handled
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for line, entry_id in (*books.runs, *books.taken):
        if line == "invoices":
            seen[order_of(books.names[line, entry_id])].add(entry_id)
    for entry in handled:
        count = len(seen.get(entry[1], ()))
        least = 0 if entry in books.taken else 1
        if entry[0] == "orders" and not least <= count <= 1 and not books.may_have_lost_a_write(entry):
            yield f"order {entry[1]} has {count} follow-ups: {sorted(seen.get(entry[1], ()))}"


def _letters(books: Books) -> Iterator[str]:
    for (line, entry_id), ids in books.letters.items():
        if len(ids) > 1:
            yield f"{line} {entry_id} has {len(ids)} dead letters: {sorted(ids)}"


def _late(books: Books) -> Iterator[str]:
    """Events that waited for too long, though they were handled, or taken away, in the end (P2)."""
    taken = {(record.line, record.id): record.at for record in books.records if record.what == "taken"}
    for record in books.acknowledged_by:
        entry = (record.line, record.id)
        ends = [at for at in (books.finished(entry), taken.get(entry)) if at is not None]
        if ends and min(ends) - record.at > LATEST:
            yield f"{record.line} {record.id} {record.name}: {min(ends) - record.at:.1f} s"


def _never_settled(books: Books) -> Iterator[str]:
    for record in books.records:
        if record.what == "stuck":
            yield f"{record.line} {record.id} {record.name}{record.detail}"


def longest_gap(books: Books, line: str = "") -> Gap:
    """The longest time in which no handler of the line returned, or of any, while there was something to publish."""
    began = next((record.at for record in books.records if record.what == "started"), 0.0)
    longest = Gap(line=line)
    for record in books.records:
        if record.what == "handled" and line in ("", record.line):
            gap = Gap(began, record.at, line)
            longest = max(longest, gap, key=_seconds)
            began = record.at
    return longest


def _seconds(gap: Gap) -> float:
    return gap.seconds
