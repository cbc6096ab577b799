"""The books: what a group owes to whom, kept beside Redis and compared with it after every step.

**Theory.** For one group, an entry of the stream is at any moment in exactly one *place*:

    unread      behind the group's position, still in the stream
    pending     in the hands of a consumer: in the group's pending list
    settled     a fate was carried out (acknowledged, completed, discarded), or a dead letter of it was purged
    dead        among the dead letters
    gone        the stream lost it (trimmed, deleted, `FLUSHALL`) before a fate was carried out
    passed      it was there before a group that starts at `$`

Redis can tell only four of them apart, and says so in `place_in_redis`: *unread*, *pending*, *behind* (delivered and
not pending: settled, dead, gone or passed, or lost by a fault of ours), and *no group*. So the books remember why an
entry went behind. Entries move between places in a few ways only:

    unread  -> pending   a consumer reads it                          pending -> pending  recovered, reclaimed, released
    pending -> settled   a fate that settles, of any consumer         pending -> dead     its owner gives it up
    dead    -> pending   replayed in place                            dead    -> settled  replayed as a copy, or purged
    unread, pending -> gone  the stream loses it                      anything -> unread  the group was made again

Each step of the test names the moves that it may make (`May`). Everything that Redis shows to have moved in another
way is a fault: that is what "nothing settled that no fate settled" comes to. A step that may make a move need not make
it; what must happen is said by the rules.

*Owed* is an entry that no fate has settled yet, in any life of the group, and that the stream has not lost. A group
that is lost and made again may hand out more than what is owed (at least once), never less (P17, P18). Counters
(deliveries, failures) are of one *life* of an entry: a group that was made again, and a replay, begin a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from redis import Redis

from redis_streams_aio.events import entry_ids, keys

STREAM = "orders"
GROUPS = ("g", "h")
FOLLOW_UPS = "{orders}:invoices"


class Place(Enum):
    UNREAD = "unread"
    PENDING = "pending"
    SETTLED = "settled"
    DEAD = "dead"
    GONE = "gone"
    PASSED = "passed"
    BEHIND = "behind"
    NO_GROUP = "no group"


OUT_OF_SIGHT = {Place.SETTLED, Place.DEAD, Place.GONE, Place.PASSED}
"""What Redis shows as `BEHIND`."""


def order(entry_id: bytes | str) -> tuple[int, int]:
    """An id as Redis compares it."""
    return entry_ids.parse(entry_id if isinstance(entry_id, str) else entry_id.decode())


# -- what Redis shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pending:
    """An entry in the group's pending list."""

    owner: str
    idle: int
    deliveries: int


@dataclass(frozen=True)
class Record:
    """A failure record: `failures first_ms due_ms error`."""

    failures: int
    first: int
    due: int


@dataclass(frozen=True)
class GroupLook:
    """All that Redis has of one group."""

    position: str | None
    """The last delivered id; `None`: there is no such group."""
    pending: Mapping[bytes, Pending]
    names: frozenset[str]
    letters: Mapping[bytes, Mapping[bytes, bytes]]
    records: Mapping[bytes, Record]
    histories: frozenset[bytes]
    checkpoint: str | None


@dataclass(frozen=True)
class Look:
    """All that Redis has, at one moment between two steps."""

    now: int
    stream: Mapping[bytes, Mapping[bytes, bytes]]
    groups: Mapping[str, GroupLook]
    follow_ups: Counter[tuple[str, bytes]]
    done: Mapping[bytes, bytes]

    def place(self, group: str, entry_id: bytes) -> Place:
        """Where Redis says that the entry is."""
        look = self.groups[group]
        if look.position is None:
            return Place.NO_GROUP
        if entry_id in look.pending:
            return Place.PENDING
        if entry_id in self.stream and order(entry_id) > order(look.position):
            return Place.UNREAD
        return Place.BEHIND


def look(redis: Redis, done_keys: list[bytes]) -> Look:
    """Look at everything in one round trip. The client answers raw bytes."""
    pipe = redis.pipeline(transaction=False)
    pipe.execute_command("TIME")
    pipe.execute_command("XRANGE", STREAM, "-", "+")
    pipe.execute_command("XINFO GROUPS", STREAM)
    pipe.execute_command("XRANGE", FOLLOW_UPS, "-", "+")
    for group in GROUPS:
        pipe.execute_command("XPENDING", STREAM, group, "-", "+", 100_000, parse_detail=True)
        pipe.execute_command("XINFO CONSUMERS", STREAM, group)
        pipe.execute_command("XRANGE", keys.dead_letters(STREAM, group), "-", "+")
        pipe.execute_command("HGETALL", keys.failures(STREAM, group))
        pipe.execute_command("GET", keys.checkpoint(STREAM, group))
    for key in done_keys:
        pipe.execute_command("GET", key)
    now, entries, groups, follow_ups, *rest = pipe.execute(raise_on_error=False)
    positions = {} if isinstance(groups, Exception) else {g["name"].decode(): g["last-delivered-id"] for g in groups}
    of_group, of_done = rest[: 5 * len(GROUPS)], rest[5 * len(GROUPS) :]
    return Look(
        now[0] * 1000 + now[1] // 1000,
        dict(entries),
        {group: _group(positions.get(group), *of_group[5 * at : 5 * at + 5]) for at, group in enumerate(GROUPS)},
        Counter((fields[b"group"].decode(), fields[b"for"]) for _, fields in follow_ups),
        {key: value for key, value in zip(done_keys, of_done, strict=True) if value is not None},
    )


def _group(position, pending, consumers, letters, records, checkpoint) -> GroupLook:
    return GroupLook(
        None if position is None else position.decode(),
        {
            item["message_id"]: Pending(
                item["consumer"].decode(), item["time_since_delivered"], item["times_delivered"]
            )
            for item in ([] if position is None else pending)
        },
        frozenset(() if position is None else (consumer["name"].decode() for consumer in consumers)),
        dict(letters),
        {key: _record(value) for key, value in records.items() if b":" not in key},
        frozenset(key.removesuffix(b":history") for key in records if key.endswith(b":history")),
        None if checkpoint is None else checkpoint.decode(),
    )


def _record(value: bytes) -> Record:
    failures, first, due, _ = value.split(b" ", 3)
    return Record(int(failures), int(first), int(due))


# -- moves ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """That an entry changed its place, its owner or its number of deliveries."""

    group: str
    id: bytes
    before: Place
    after: Place
    was: Pending | None
    """In the pending list before; with `now` after."""
    now: Pending | None
    content: bool
    """Whether the entry was still in the stream, before the step."""
    kept: bool
    """And after it."""

    def grew(self) -> int:
        """By how much the number of deliveries grew."""
        return (self.now.deliveries if self.now else 0) - (self.was.deliveries if self.was else 0)


LATE = ", whose it was not any more"
Verdict = tuple[Place, str] | None
"""Where an entry is now by the books, and why; `None`: it may not move so."""
May = Callable[[Move], Verdict]


def nothing(_: Move) -> Verdict:
    """A step that moves no entry."""
    return None


def any_of(*ways: May) -> May:
    """A step that may move entries in several ways."""
    return lambda move: next((verdict for way in ways if (verdict := way(move))), None)


def read_by(name: str) -> May:
    """A consumer reads it."""

    def may(move: Move) -> Verdict:
        first = move.before is Place.UNREAD and move.now is not None and move.now.deliveries == 1
        return (Place.PENDING, f"read by {name}") if first and move.now.owner == name else None

    return may


Grows = Callable[[Move], set[int]]
"""By how much the number of deliveries may grow."""


def recovered_by(name: str, unheld: set[bytes], grows: Grows) -> May:
    """A consumer takes what is pending for it and not held, or finds it deleted."""

    def may(move: Move) -> Verdict:
        if move.was is None or move.was.owner != name or move.id not in unheld:
            return None
        if move.after is Place.BEHIND and not move.content:
            return Place.GONE, f"found deleted by {name}"
        taken = move.now is not None and move.now.owner == name and move.grew() in grows(move)
        return (Place.PENDING, f"recovered by {name}") if taken else None

    return may


def reclaimed_by(name: str, lease: float, grows: Grows) -> May:
    """A consumer takes over what was idle for a lease, or finds it deleted."""

    def may(move: Move) -> Verdict:
        if move.was is None:
            return None
        if move.after is Place.BEHIND and not move.content:
            return Place.GONE, f"found deleted by {name}"
        expired = move.was.owner == keys.RELEASED or move.was.idle >= lease * 1000
        taken = move.now is not None and move.now.owner == name and move.grew() in grows(move)
        return (Place.PENDING, f"reclaimed by {name}") if expired and taken else None

    return may


def found_deleted_by(name: str, acked: set[bytes]) -> May:
    """A consumer finds what it holds deleted; what it has acknowledged, though that is not written yet, is settled."""

    def may(move: Move) -> Verdict:
        lost = move.was is not None and move.was.owner == name and move.after is Place.BEHIND and not move.content
        if lost and move.id in acked:
            return Place.SETTLED, f"acknowledged by {name}, and deleted"
        return (Place.GONE, f"found deleted by {name}") if lost else None

    return may


def released_by(name: str, deliveries: Mapping[bytes, int], grows: Grows) -> May:
    """A consumer gives back what it holds; the delivery is not counted, which is `deliveries` less one."""

    def may(move: Move) -> Verdict:
        if move.was is None or move.was.owner != name or move.now is None or move.now.owner != keys.RELEASED:
            return None
        # else it was recovered while closing
        held = {deliveries[move.id]} if move.id in deliveries else {move.was.deliveries + by for by in grows(move)}
        left = {max(0, count - 1) for count in held}
        return (Place.PENDING, f"released by {name}") if move.now.deliveries in left else None

    return may


def settled_by(name: str, ids: set[bytes], how: str, place: Place = Place.SETTLED) -> May:
    """A fate is carried out."""

    def may(move: Move) -> Verdict:
        fits = move.id in ids and move.before is Place.PENDING and move.after is Place.BEHIND
        late = LATE if move.was is not None and move.was.owner != name else ""
        return (place, f"{how} by {name}{late}") if fits else None

    return may


def given_up_by(name: str, entry_id: bytes) -> May:
    """The owner, and nobody else, gives an entry up."""
    settle = settled_by(name, {entry_id}, "given up", Place.DEAD)
    return lambda move: settle(move) if move.was is not None and move.was.owner == name else None


def replayed(ids: set[bytes]) -> May:
    """An operator hands a dead letter to its group again, in place."""

    def may(move: Move) -> Verdict:
        fresh = move.now is not None and move.now.owner == keys.RELEASED and move.now.deliveries == 0
        return (Place.PENDING, "replayed") if move.id in ids and move.before is Place.BEHIND and fresh else None

    return may


def cut_off(move: Move) -> Verdict:
    """The stream loses what the group has not read."""
    lost = move.before is Place.UNREAD and move.after is Place.BEHIND and not move.kept
    return (Place.GONE, "cut off unread") if lost else None


# -- the books ------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """One entry in one group."""

    place: Place
    how: str
    owed: bool
    """No fate has settled it, nor has the stream lost it."""
    failures: int = 0
    """Failures that were counted in this life."""
    first: int | None = None
    """The first failure of this life, in ms of Redis's clock."""
    due: int = 0
    """When its retry is due, in ms of Redis's clock."""
    completed: int = 0
    """Follow-ups that were written for it."""
    replayed: bool = False
    """It is owed because it was replayed: what processes remember may be ahead of it."""
    begun_again: bool = False
    """The group was made again since; a failure record may be left over from before."""


@dataclass
class Published:
    """One entry of the stream."""

    label: str
    event_id: bytes | None
    copy_for: str | None = None
    """The group that it was replayed for, if it is a copy."""


@dataclass
class GroupBook:
    """One group."""

    start: str
    lives: dict[bytes, Life] = field(default_factory=dict)
    letters: dict[bytes, bytes] = field(default_factory=dict)
    """Published ids by the ids of their dead letters."""
    exists: bool = False
    left_over: set[bytes] = field(default_factory=set)
    """Entries whose failure records stay, as a connection broke before they could be removed."""
    skipped: list[bytes] = field(default_factory=list)
    """What was owed, and a group that was made again passed over. Always empty."""

    def enter(self, entry_id: bytes, place: Place, how: str) -> None:
        life = self.lives[entry_id]
        if how == "replayed":
            life.owed, life.failures, life.first, life.due, life.begun_again = True, 0, None, 0, False
            life.replayed = True
        elif place is not Place.UNREAD:
            life.owed = life.owed and place is Place.PENDING
        life.place, life.how = place, how

    def born(
        self, position: str, stream: Mapping[bytes, object], *, from_the_end: bool, from_memory: bool = False
    ) -> None:
        """The group was made at a position.

        `from_the_end`: at `$`, by one who cannot know that it was there before. `from_memory`: at what a process
        remembers, which a replay of something older does not change.
        """
        self.exists = True
        for entry_id, life in self.lives.items():
            if order(entry_id) > order(position):
                if life.place is not Place.UNREAD and entry_id in stream:
                    life.place, life.how, life.begun_again = Place.UNREAD, "brought again", True
                    life.failures, life.first, life.due = 0, None, 0
            elif life.place in (Place.UNREAD, Place.PENDING):
                if life.owed and not from_the_end and not (life.replayed and from_memory):
                    self.skipped.append(entry_id)
                life.place, life.owed = Place.PASSED, False

    def died(self, stream: Mapping[bytes, object]) -> None:
        """The group is not there any more; what is owed waits for it."""
        self.exists = False
        for life in self.lives.values():
            life.begun_again = life.begun_again or life.place is not Place.UNREAD
        self.cut(stream)

    def cut(self, stream: Mapping[bytes, object]) -> None:
        """The stream lost entries while the group was not there."""
        for entry_id, life in self.lives.items():
            if life.place in (Place.UNREAD, Place.PENDING) and entry_id not in stream:
                life.place, life.owed, life.how = Place.GONE, False, "lost with the stream"


@dataclass
class Books:
    """The whole model."""

    groups: dict[str, GroupBook]
    entries: dict[bytes, Published] = field(default_factory=dict)
    in_memory: bool = False
    """Whether checkpoints are kept by processes, and not in Redis."""
    unforeseen: list[Move] = field(default_factory=list)
    """Moves that no step had named. Always empty."""

    def published(self, entry_id: bytes, entry: Published) -> None:
        self.entries[entry_id] = entry
        for book in self.groups.values():
            book.lives[entry_id] = Life(Place.UNREAD, "published", owed=True)

    def moves(self, before: Look, after: Look, known: set[bytes]) -> Iterator[Move]:
        """What Redis shows to have moved of the entries `known` before, in groups that were there before and after."""
        for group in self.groups:
            was, now = before.groups[group].pending, after.groups[group].pending
            for entry_id in known:
                old, new = before.place(group, entry_id), after.place(group, entry_id)
                pending, since = was.get(entry_id), now.get(entry_id)
                if Place.NO_GROUP in (old, new):
                    continue
                if old is not new or (
                    pending and since and (pending.owner, pending.deliveries) != (since.owner, since.deliveries)
                ):
                    content, kept = entry_id in before.stream, entry_id in after.stream
                    yield Move(group, entry_id, old, new, pending, since, content, kept)

    def enter(self, before: Look, after: Look, known: set[bytes], may: May, knows: Callable[[str], bool]) -> list[Move]:
        """Write down what a step did. `knows`: whether the one that acts knows where a group was."""
        moves = list(self.moves(before, after, known))
        for move in moves:
            verdict = may(move)
            if verdict is None:
                self.unforeseen.append(move)
            else:
                self.groups[move.group].enter(move.id, *verdict)
        for name, book in self.groups.items():
            position = after.groups[name].position
            if position is None and book.exists:
                book.died(after.stream)
            elif position is None:
                book.cut(after.stream)
            elif not book.exists:
                book.born(
                    position,
                    after.stream,
                    from_the_end=book.start == "$" and not knows(name),
                    from_memory=self.in_memory,
                )
        return moves

    def label(self, entry_id: bytes) -> str:
        return self.entries[entry_id].label if entry_id in self.entries else entry_id.decode()

    def labels(self, ids) -> str:
        return " ".join(self.label(entry_id) for entry_id in sorted(ids, key=order)) or "nothing"
