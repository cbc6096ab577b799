"""The books of a play: what was published, each call of a handler, and what Redis said in the end. Plain records."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from redis_streams_aio.telemetry import Fact

Outcome = Literal["ok", "raise", "later", "reject", "cut", "cleanup"]
"""How an attempt ended. `cut`: cancelled; `cleanup`: cancelled, and it raised an error of its own."""
SAID = ("raise", "later", "reject")


class Item(msgspec.Struct):
    """The event. Copies of one event have one number."""

    number: int
    pad: str = ""


class Followed(msgspec.Struct):
    """What a handler publishes with an acknowledgement."""

    entry: str


class At(NamedTuple):
    """Where an event is handled."""

    stream: str
    group: str


class Entry(NamedTuple):
    """An entry as one group sees it."""

    at: At
    id: str


@dataclass
class Attempt:
    """One event in one call of a handler."""

    who: str
    entry: Entry
    number: int
    call: int
    """Which call it was: events of one batch share it."""
    failures: int
    """As the delivery said."""
    replayed: bool
    foreign: object
    """What a handler before it had left in the context."""
    began: float
    ended: float = 0.0
    outcome: Outcome | None = None
    again: float = 0.0
    """Seconds before it may be tried again."""
    own: bool = False
    """Whether its own script said so, and not that of another event of its batch."""


class Letter(NamedTuple):
    """A dead letter."""

    entry: Entry
    reason: str
    failures: int
    replays: int


@dataclass
class Books:
    """What happened, in order."""

    attempts: list[Attempt] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    published: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Numbers by entry id, of each stream: what `publish` returned."""
    moved: set[Entry] = field(default_factory=set)
    """What was in the hands of a broker that drained, crashed or lost its group: it may come later than what is
    behind it."""
    excused: set[Entry] = field(default_factory=set)
    """What a crash or a lost group explains if it was handled twice."""
    # in the end
    entries: dict[Entry, int] = field(default_factory=dict)
    """The number of each entry that is in the streams, for each group."""
    letters: list[Letter] = field(default_factory=list)
    follow_ups: list[Entry] = field(default_factory=list)

    def of(self, entry: Entry) -> list[Attempt]:
        """The attempts at an entry."""
        return [attempt for attempt in self.attempts if attempt.entry == entry]

    def at(self, at: At, number: int) -> list[Attempt]:
        """The attempts at an event and its copies."""
        return [attempt for attempt in self.attempts if attempt.number == number and attempt.entry.at == at]

    def copies(self) -> set[Entry]:
        """Entries whose event is in the stream before them."""
        seen: set[tuple[At, int]] = set()
        copies: set[Entry] = set()
        for entry, number in self.entries.items():
            if (entry.at, number) in seen:
                copies.add(entry)
            seen.add((entry.at, number))
        return copies

    def said(self, entry: Entry) -> int:
        """How many words of its script an entry has had."""
        return sum(attempt.own and attempt.outcome in SAID for attempt in self.of(entry))

    def end(self, attempt: Attempt, outcome: Outcome, *, own: bool = False, again: float = 0.0) -> None:
        """An attempt has ended."""
        attempt.ended, attempt.outcome, attempt.own, attempt.again = time.monotonic(), outcome, own, again

    def story(self) -> str:
        """All of it, for a test that fails."""
        return "\n".join(
            f"{attempt.began % 1000:9.3f} {attempt.who} {attempt.entry.at.stream}/{attempt.entry.at.group} "
            f"{attempt.number:3} {attempt.entry.id} call {attempt.call} failures {attempt.failures} "
            f"-> {attempt.outcome or 'runs'} {f'after {attempt.ended - attempt.began:.3f}' if attempt.ended else ''}"
            for attempt in self.attempts
        )
