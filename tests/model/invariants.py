"""What holds after every step, whatever the steps were: one method for each, in `ALWAYS`. The theory is in `books`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.stateful import invariant

from redis_streams_aio import Connection
from redis_streams_aio.checkpoint import current
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events.replays import FOR_ANOTHER_GROUP
from tests.model import books as model
from tests.model.books import GROUPS, OUT_OF_SIGHT, STREAM, Books, Life, Look, Move, Place
from tests.model.processes import LEASE, Hurried, Process

ALWAYS: list[Callable[[Any], None]] = []


def always(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """An invariant: what holds after every step."""
    ALWAYS.append(method)
    return method


@dataclass
class Step:
    """The last step: what was to be done, and what came of it."""

    text: str
    before: Look
    actor: Process | None = None
    kind: str = ""
    moves: tuple[Move, ...] = ()
    faulty: bool = False
    """Whether a connection broke in it."""
    targets: tuple[bytes, ...] = ()
    result: Any = None


class Invariants:
    """What the machine knows, and what must be so."""

    loop: Hurried
    desk: Connection
    books: Books
    processes: dict[str, Process]
    story: list[str]
    store: str
    now: Look
    last: Step
    broken: bool
    checked: bool
    run: Callable[[Awaitable[Any]], Any]

    def fail(self, problem: str) -> None:
        """Fail with everything that was done."""
        self.broken = True
        steps = "\n".join(f"{number:4} {text}" for number, text in enumerate(self.story, 1))
        raise AssertionError(f"{problem}\nThe steps:\n{steps}\n{self.describe()}")

    def expect(self, holds: object, problem: str) -> None:
        """What must be so."""
        if not holds:
            self.fail(problem)

    def describe(self) -> str:
        """What the books and Redis say now."""
        lines = []
        for group, book in self.books.groups.items():
            shown = self.now.groups[group]
            lines.append(f"{group} (start {book.start}) at {shown.position}, checkpoint {shown.checkpoint}:")
            for entry_id, life in book.lives.items():
                seen = self.now.place(group, entry_id).value
                at = shown.pending.get(entry_id)
                lines.append(
                    f"  {self.books.label(entry_id)} {entry_id.decode()}: {life.place.value} ({life.how}"
                    f"{', owed' if life.owed else ''}), in Redis {seen} {at or ''} {shown.records.get(entry_id, '')}"
                )
        lines += [f"{p.title} = {p.name}: {p.member!r}, hand {p.hand}" for p in self.processes.values()]
        return "\n".join(lines)

    def unheld(self, process: Process) -> set[bytes]:
        """What is pending for a process that does not hold it."""
        pending = self.now.groups[process.group].pending
        return {key for key, value in pending.items() if value.owner == process.name and key not in process.held}

    def life(self, process: Process, entry: Entry) -> Life:
        """What the books know of an entry in the process's group."""
        return self.books.groups[process.group].lives[entry.raw_id]

    @invariant()
    def check(self) -> None:
        """All of them, in the order in which they stand here, once after each step."""
        if not self.checked:
            self.checked = True
            for one in ALWAYS:
                one(self)

    @always
    def every_move_has_a_reason(self) -> None:
        """Nothing is settled that no fate settled, taken that was not to be had, given back by who has it not."""
        for move in self.books.unforeseen:
            self.fail(
                f"{self.books.label(move.id)} of {move.group} moved from {move.before.value} {move.was or ''} to "
                f"{move.after.value} {move.now or ''}, which {self.last.text!r} may not do"
            )

    @always
    def every_entry_is_in_one_place(self) -> None:
        """Published = settled + pending + unread + dead + gone + passed, by the books and by Redis."""
        for group, book in self.books.groups.items():
            shown = self.now.groups[group]
            self.expect(set(shown.pending) <= set(book.lives), f"{group} has pending what was never published")
            for entry_id, life in book.lives.items():
                seen = self.now.place(group, entry_id)
                if seen is Place.NO_GROUP:
                    continue
                fits = life.place in OUT_OF_SIGHT if seen is Place.BEHIND else life.place is seen
                self.expect(
                    fits,
                    f"{self.books.label(entry_id)} of {group} is {life.place.value} ({life.how}); "
                    f"Redis says {seen.value}",
                )
        self.expect(set(self.now.stream) <= set(self.books.entries), "the stream has what was never published")

    @always
    def a_group_made_again_skips_nothing_that_is_owed(self) -> None:
        """P17."""
        for group, book in self.books.groups.items():
            self.expect(
                not book.skipped, f"{group} was made again behind {self.books.labels(book.skipped)}, still owed"
            )

    @always
    def dead_letters_are_what_was_given_up(self) -> None:
        """P12: and nothing that is among them is pending in the same life."""
        for group, book in self.books.groups.items():
            self.expect(
                set(self.now.groups[group].letters) == set(book.letters), f"dead letters of {group} came or went"
            )
            dead = {entry_id for entry_id, life in book.lives.items() if life.place is Place.DEAD}
            self.expect(dead <= set(book.letters.values()), f"{dead} are dead, and have no letter")
            both = dead & set(self.now.groups[group].pending)
            self.expect(not both, f"{self.books.labels(both)} are dead and pending")

    @always
    def follow_ups_are_those_of_completed_entries(self) -> None:
        """Once for each completed entry, none for others."""
        for group, book in self.books.groups.items():
            for entry_id, life in book.lives.items():
                found = self.now.follow_ups[group, entry_id]
                self.expect(
                    found == life.completed,
                    f"{self.books.label(entry_id)} of {group} has {found} follow-ups, and should have {life.completed}",
                )

    @always
    def events_that_are_done_are_remembered(self) -> None:
        """P25: the keys of events say how far each has come."""
        expected = {key: holder for key, holder in self.done.items() if holder}
        self.expect(self.now.done == expected, f"events: {self.now.done}, and it should be {expected}")

    @always
    def counters_never_fall(self) -> None:
        """P10: deliveries fall by a release and a replay alone; failures never, in one life."""
        for move in self.last.moves:
            if move.was and move.now and self.last.kind != "stop":
                self.expect(move.grew() >= 0, f"deliveries of {self.books.label(move.id)} fell by {-move.grew()}")
        for group, book in self.books.groups.items():
            for entry_id, record in self.now.groups[group].records.items():
                before = self.last.before.groups[group].records.get(entry_id)
                fell = before is not None and record.failures < before.failures
                self.expect(
                    not fell or book.lives[entry_id].begun_again, f"failures of {self.books.label(entry_id)} fell"
                )

    @always
    def only_owners_write_failures(self) -> None:
        """P4: a failure record comes or changes by a retry of its owner; it goes when the entry is settled."""
        step, actor = self.last, self.last.actor
        for group in GROUPS:
            old, new = step.before.groups[group], self.now.groups[group]
            for entry_id in {
                key for key in (*old.records, *new.records) if old.records.get(key) != new.records.get(key)
            }:
                label = self.books.label(entry_id)
                if entry_id not in new.records:
                    self.expect(
                        entry_id not in new.pending or step.kind == "replay",
                        f"the failure record of {label} is gone, and it is pending",
                    )
                    continue
                owner = old.pending[entry_id].owner if entry_id in old.pending else None
                self.expect(
                    actor is not None
                    and owner == actor.name
                    and (entry_id in step.targets if step.kind == "Retry" else entry_id in actor.kept),
                    f"the failure record of {label}, which is {owner}'s, was written",
                )

    @always
    def records_are_of_entries_that_are_pending(self) -> None:
        """Nothing is left behind in the hash of failures, where no group and no stream was lost."""
        for group, book in self.books.groups.items():
            shown = self.now.groups[group]
            for entry_id in {*shown.records, *shown.histories}:
                life = book.lives.get(entry_id)
                if life is None or life.begun_again or not book.exists or life.how == "lost with the stream":
                    continue
                if life.how.endswith("and deleted"):
                    continue  # the acknowledgement that removes it is still to be written
                if life.how.startswith("acknowledged") and life.how.endswith(model.LATE):
                    continue  # who acknowledged it too late did not know that another one had failed on it
                if entry_id in shown.pending or entry_id in book.left_over:
                    continue
                if self.last.faulty:  # the step that was to remove it was cut short after Redis had the entry settled
                    book.left_over.add(entry_id)
                    continue
                self.fail(f"{self.books.label(entry_id)} of {group} is not pending and has a failure record")

    @always
    def what_was_renewed_is_owned(self) -> None:
        """P3, P4: after it renewed, a consumer holds nothing that is not its own."""
        step = self.last
        if step.kind != "renew" or step.faulty or self.now.groups[step.actor.group].position is None:
            return
        pending = self.now.groups[step.actor.group].pending
        for entry_id, entry in step.actor.held.items():
            if entry.settled:
                continue
            mine = entry_id in pending and pending[entry_id].owner == step.actor.name
            self.expect(mine, f"{self.books.label(entry_id)} was renewed by {step.actor.name}, whose it is not")
            self.expect(pending[entry_id].idle < LEASE * 1000, f"{self.books.label(entry_id)} was not renewed")

    @always
    def what_vanished_is_reported(self) -> None:
        """P20: an entry that was deleted while pending is told of by who finds it."""
        step = self.last
        for move in step.moves:
            life = self.books.groups[move.group].lives[move.id]
            if move.before is Place.PENDING and life.how.startswith("found deleted") and not step.faulty:
                self.expect(
                    step.actor is not None and move.id in step.actor.vanished,
                    f"{self.books.label(move.id)} was deleted while it was pending, and nobody said so",
                )

    @always
    def checkpoints_are_behind_what_is_owed(self) -> None:
        """P18: the checkpoint, and each copy that is kept of it."""
        for group, book in self.books.groups.items():
            owed = [entry_id for entry_id, life in book.lives.items() if life.owed]
            if self.now.groups[group].position is not None:
                known = self.run(current(self.desk, STREAM, group))
                there = [key for key in book.lives if self.now.place(group, key) in (Place.PENDING, Place.UNREAD)]
                self._is_behind(f"the checkpoint of {group}", known, there)
            self._is_behind(f"the stored checkpoint of {group}", self.now.groups[group].checkpoint, owed)
            for process in self.processes.values():
                if process.group == group and self.store == "memory":
                    stored = self.run(process.store.load(STREAM, group))
                    never_settled = [entry_id for entry_id in owed if not book.lives[entry_id].replayed]
                    self._is_behind(f"the checkpoint of {group} that {process.name} keeps", stored, never_settled)

    def _is_behind(self, what: str, checkpoint: str | None, ids: list[bytes]) -> None:
        ahead = [] if checkpoint is None else [key for key in ids if model.order(key) <= model.order(checkpoint)]
        self.expect(not ahead, f"{what} is {checkpoint}, and {self.books.labels(ahead)} is not settled")

    @always
    def names_with_pending_entries_stay(self) -> None:
        """P22."""
        for group in GROUPS:
            old, new = self.last.before.groups[group], self.now.groups[group]
            if new.position is None:
                continue
            for entry_id, pending in old.pending.items():
                if pending.owner not in new.names and pending.owner in old.names:
                    moved = any(move.id == entry_id and move.group == group for move in self.last.moves)
                    self.expect(moved, f"{pending.owner} was removed with {self.books.label(entry_id)} pending")
            owners = {pending.owner for pending in new.pending.values()}
            self.expect(owners <= new.names, f"{owners - new.names} own entries and are not in the group")

    @always
    def who_is_caught_up_holds_all_that_is_its_own(self) -> None:
        """P5: otherwise something would be pending for it that it does not know of."""
        for process in self.processes.values():
            if process.member.has_all_own_entries:
                missing = self.unheld(process)
                self.expect(not missing, f"{process.name} does not know of its {self.books.labels(missing)}")

    @always
    def what_is_held_will_get_a_fate(self) -> None:
        """A entry that is held, and so renewed, is with a handler, or waits for its acknowledgement."""
        for process in self.processes.values():
            for entry_id, entry in process.held.items():
                known = any(entry is one for one in process.hand) or (entry.settled and entry_id in process.acked)
                self.expect(known, f"{process.name} holds {self.books.label(entry_id)}, and nobody handles it")
            settled, waiting = sum(d.settled for d in process.held.values()), len(process.member.settlement.acks)
            self.expect(settled <= waiting, f"{process.name} holds {settled} settled entries, and writes {waiting}")

    @always
    def deliveries_say_what_is_so(self) -> None:
        """What a handler is told: deliveries, failures, when it is due, its history, and whether it is for it."""
        process = self.last.actor
        if process is None:
            return
        shown, moves = (
            self.now.groups[process.group],
            {move.id: move for move in self.last.moves if move.group == process.group},
        )
        for part in process.came:
            ids = [entry.raw_id for entry in part]
            self.expect(ids == sorted(ids, key=model.order), f"{self.books.labels(ids)} came out of order")
            for entry in part:
                if self.last.kind != "stop":
                    self._says_what_is_so(process, entry, shown, moves.get(entry.raw_id))
                    self._is_not_early(process, entry)
        for entry in process.regained:
            if self.last.kind != "stop" and not self.last.faulty:
                self._says_what_is_so(process, entry, shown, moves.get(entry.raw_id))
        process.came, process.regained = [], []

    def _is_not_early(self, process: Process, entry: Entry) -> None:
        life = self.life(process, entry)
        early = (life.due - self.now.now) / 1000 - (entry.until - self.loop.time())
        self.expect(
            life.due <= self.now.now or early < 5,
            f"{self.books.label(entry.raw_id)} would be retried {early:.0f} s early",
        )

    def _says_what_is_so(self, process: Process, entry: Entry, shown: model.GroupLook, move: Move | None) -> None:
        label, life = self.books.label(entry.raw_id), self.life(process, entry)
        published = self.books.entries[entry.raw_id]
        twice = sum(one.raw_id == entry.raw_id and not one.lost for one in process.hand)
        self.expect(twice <= 1, f"{label} is in {twice} handlers of {process.name} at once")
        refused = published.copy_for not in (None, process.group)
        self.expect(
            (entry.refusal is FOR_ANOTHER_GROUP) is refused, f"{label} is {'not ' * refused}for {process.group}"
        )
        self.expect(
            entry.deliveries == shown.pending[entry.raw_id].deliveries,
            f"{label} says it was delivered {entry.deliveries} times: {shown.pending[entry.raw_id]}",
        )
        if life.begun_again:  # what Redis knows of it outlives a group that was lost
            record = shown.records.get(entry.raw_id)
            known = record.failures if record else 0
            self.expect(entry.failures == known, f"{label} says it failed {entry.failures} times, not {known}")
            life.failures, life.first, life.due = entry.failures, round(entry.first_failure * 1000), 0
            return
        self.expect(
            entry.failures == life.failures, f"{label} says it failed {entry.failures} times, not {life.failures}"
        )
        if move is None or move.was is not None:
            history = entry.raw_id in shown.histories or (published.copy_for == process.group)
            self.expect((entry.history is not None) is history, f"{label} has the history {entry.history}")
