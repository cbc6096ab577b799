"""The machine: rules that hypothesis puts in any order, and what must hold after each of them.

Two or three processes consume one stream in one or two groups, next to an operator who replays dead letters, and to
everything that befalls a Redis. Each rule is one step, and nothing runs between steps, so the interleaving is
hypothesis's choice, and a failing example can be made small. Time does not pass by itself: leases run out by the rule
`leases_run_out`, and a retry is handled early, as if it were due. The theory is in `books`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from redis import Redis

from redis_streams_aio import Connection, DeadLetters, RedisUnavailableError
from redis_streams_aio.checkpoint import current
from redis_streams_aio.consumer.entry import WAITING, Entry
from redis_streams_aio.consumer.groups import ConsumerGroupManager
from redis_streams_aio.consumer.settle.duplicates import begin
from redis_streams_aio.consumer.work.carrying import Decided, write_fates
from redis_streams_aio.events import keys
from redis_streams_aio.events.follow_ups import FollowUp
from redis_streams_aio.events.replays import FOR_ANOTHER_GROUP
from redis_streams_aio.events.wire_format import EVENT_ID, get
from redis_streams_aio.exceptions import StreamNotFoundError
from redis_streams_aio.handlers.fates import ABANDON, ACK, Ack, AwaitCopy, Complete, DeadLetter, Fate, Postpone, Retry
from tests.looks import look_at_everything
from tests.model import books as model
from tests.model.books import FOLLOW_UPS, GROUPS, STREAM, Books, GroupBook, May, Place, Published
from tests.model.invariants import Invariants, Step
from tests.model.processes import LEASE, Hurried, Process, launch

LETTERS = "abc"
picks = st.integers(0, 5)
rooms = st.integers(1, 4)
groups = st.sampled_from(GROUPS)


@dataclass(frozen=True)
class Action:
    """One kind of step: how likely it is, when it can be, and what is drawn for it."""

    name: str
    weight: int
    when: Callable[[Any], object]
    draws: dict[str, st.SearchStrategy[Any]]


ACTIONS: dict[str, Action] = {}


def action(
    weight: int, *, when: Callable[[Any], object] = lambda _: True, **draws: st.SearchStrategy[Any]
) -> Callable[[Any], Any]:
    """Makes a method one of the actions."""

    def register(method: Any) -> Any:
        ACTIONS[method.__name__] = Action(method.__name__, weight, when, draws)
        return method

    return register


class Machine(Invariants, RuleBasedStateMachine):
    """Moves processes by random steps and compares Redis with the books. `server_url`, `loop`: see `machine_on`."""

    server_url: str
    loop: Hurried
    redis: Redis
    steps = 0
    """Steps run so far, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.redis.flushall()
        self.desk = Connection(self.server_url)
        self.run(self.desk.open())
        self.processes: dict[str, Process] = {}
        self.starts = 0
        self.added = 0
        self.store = "redis"
        self.groups_of = dict.fromkeys(LETTERS, "g")
        self.books = Books({group: GroupBook("0") for group in GROUPS})
        self.done: dict[bytes, bytes] = {}
        self.now = model.look(self.redis, [])
        self.last = Step("nothing yet", self.now)
        self.broken = False
        self.checked = True

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    # -- one step -------------------------------------------------------------------------------------------------

    def step(
        self,
        text: str,
        work: Callable[[], Awaitable[Any]] | Callable[[], Any],
        may: May = model.nothing,
        *,
        actor: Process | None = None,
        kind: str = "",
        targets: tuple[bytes, ...] = (),
    ) -> Step:
        """Do it, look at Redis, and enter in the books what it did."""
        self.check()
        Machine.steps += 1
        self.checked = False
        known = set(self.books.entries)
        self.story.append(text)
        step = self.last = Step(text, self.now, actor, kind, targets=targets)
        strays: dict[bytes, Entry] = {}
        if actor is not None:
            actor.came, actor.vanished, actor.wires.hit = [], set(), False
            strays = dict(actor.member.holdings.strays)
        try:
            step.result = work()
            if asyncio.iscoroutine(step.result):
                step.result = self.run(step.result)
        except RedisUnavailableError as error:
            self.story[-1] += f"  -> {type(error).__name__}"
            step.result = error
        except BaseException as error:
            self.fail(f"{error!r} came out of it")
            raise AssertionError from error
        step.faulty = (actor is not None and actor.wires.hit) or isinstance(step.result, Exception)
        self.now = model.look(self.redis, list(self.done))
        if actor is None:
            step.moves = tuple(self.books.enter(step.before, self.now, known, may, lambda _: True))
        else:
            knew = actor.joined or (self.store == "redis" and step.before.groups[actor.group].checkpoint is not None)
            step.moves = tuple(self.books.enter(step.before, self.now, known, may, lambda _: knew))
            actor.regained = [one for entry_id, one in strays.items() if actor.held.get(entry_id) is one]
            if actor.regained:
                self.story[-1] += f"  -> back: {self.books.labels(one.raw_id for one in actor.regained)}"
            if any(actor.came):
                self.story[-1] += f"  -> {self.books.labels(d.raw_id for part in actor.came for d in part)}"
            if step.faulty and not isinstance(step.result, Exception):
                self.story[-1] += "  -> (a connection broke)"
        for move in step.moves:
            if move.after is not Place.PENDING:
                life = self.books.groups[move.group].lives[move.id]
                self.story[-1] += f"  -> {self.books.label(move.id)} is {life.place.value} in {move.group}"
        return step

    def up(self, pick: int) -> Process:
        running = list(self.processes.values())
        return running[pick % len(running)]

    def settling(self, pick: int, which: int) -> tuple[Process, Entry] | None:
        """A process that has something in hand, and one of these."""
        busy = [process for process in self.processes.values() if process.hand]
        if not busy:
            return None
        process = busy[pick % len(busy)]
        return process, process.hand[which % len(process.hand)]

    def either(self, group: str, has: Callable[[str], object]) -> str:
        """A group that has it: this one if it can be."""
        return group if has(group) else next(other for other in GROUPS if other != group)

    def ready_to_reclaim(self) -> list[Process]:
        """Processes that have all that is their own, and something to take over from others."""
        groups = {
            name
            for name, look in self.now.groups.items()
            for entry_id, pending in look.pending.items()
            if pending.owner == keys.RELEASED or pending.idle >= LEASE * 1000 or entry_id not in self.now.stream
        }
        return [
            process
            for process in self.processes.values()
            if process.member.has_all_own_entries and process.group in groups
        ]

    def has_work(self) -> bool:
        return any(process.hand for process in self.processes.values())

    # -- the stage ------------------------------------------------------------------------------------------------

    @initialize(
        starts=st.tuples(st.sampled_from(["0", "0", "$"]), st.sampled_from(["0", "$"])),
        store=st.sampled_from(["redis", "redis", "memory", "none"]),
        third=groups,
        before=st.integers(1, 3),
        names=st.tuples(st.booleans(), st.booleans()),
    )
    def begin(self, starts: tuple[str, str], store: str, third: str, before: int, names: tuple[bool, bool]) -> None:
        """Where groups start and what they remember; something published; two processes."""
        self.story.append(f"groups start at {dict(zip(GROUPS, starts, strict=True))}; checkpoints: {store}")
        self.store = store
        self.books.in_memory = store != "redis"
        self.groups_of = {"a": "g", "b": "g", "c": third}
        for group, start in zip(GROUPS, starts, strict=True):
            self.books.groups[group].start = start
        self.publish(before, None)
        self.start(0, names[0])
        self.start(0, names[1])

    def teardown(self) -> None:
        try:
            if not self.broken and any(book.exists for book in self.books.groups.values()):
                self.everything_comes_to_an_end()
        finally:
            for process in self.processes.values():
                self.run(process.crash())
            self.run(self.desk.close())

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """The one rule: hypothesis leaves whole rules out of an example, and few of these go without the others."""
        possible = [action for action in ACTIONS.values() if action.when(self)]
        likely = [action.name for action in possible for _ in range(action.weight)]
        name = data.draw(st.sampled_from([self.what_comes_next(), *likely]))
        drawn = {key: data.draw(strategy, label=key) for key, strategy in ACTIONS[name].draws.items()}
        getattr(self, name)(**drawn)

    def what_comes_next(self) -> str:
        """What would happen if all went well. Hypothesis takes it for the simplest, and so takes it often."""
        if any(process.acked for process in self.processes.values()):
            return "flush"
        if self.has_work():
            return "ack" if len(self.story) % 2 else "retry"
        unread = any(
            self.now.place(p.group, key) is Place.UNREAD for p in self.processes.values() for key in self.now.stream
        )
        return "fetch" if unread else "publish"

    # -- rules: publishing ----------------------------------------------------------------------------------------

    @action(4, count=st.integers(1, 3), event_id=st.sampled_from([None, None, b"x", b"y"]))
    def publish(self, count: int, event_id: bytes | None) -> None:
        labels = [f"e{self.added + number}" for number in range(1, count + 1)]
        self.added += count

        def add() -> list[bytes]:
            pipe = self.redis.pipeline(transaction=False)
            for label in labels:
                fields = [b"event_type", b"Order", b"payload", label, *([EVENT_ID, event_id] if event_id else [])]
                pipe.execute_command("XADD", STREAM, "*", *fields)
            ids = pipe.execute()
            for entry_id, label in zip(ids, labels, strict=True):
                self.books.published(entry_id, Published(label, event_id))
            if event_id:
                for group in GROUPS:
                    self.done.setdefault(keys.done(STREAM, group, event_id), b"")
            return ids

        self.step(f"publish {' '.join(labels)}{f', event_id {event_id.decode()}' if event_id else ''}", add)

    # -- rules: what processes do ---------------------------------------------------------------------------------

    @action(5, when=lambda self: len(self.processes) < len(LETTERS), pick=picks, stable=st.booleans())
    def start(self, pick: int, stable: bool) -> None:
        free = [title for title in LETTERS if title not in self.processes]
        title = free[pick % len(free)]
        group = self.groups_of[title]
        book = self.books.groups[group]
        self.starts += 1
        name = f"stable-{title}" if stable else None
        process = self.run(launch(self.server_url, title, group, name=name, start=book.start, store=self.store))
        if name is None:
            process.member.holdings.consumer = f"{title}-{self.starts}"  # made up, and readable
        self.processes[title] = process
        step = self.step(f"{process.name} starts in {group}", process.member.open, actor=process, kind="start")
        if isinstance(step.result, Exception):
            self.forget(process)
            return
        process.joined = True
        self.expect(self.now.groups[group].position is not None, "it joined, and there is no group")

    @action(8, when=lambda self: self.processes, pick=picks, room=rooms)
    def fetch(self, pick: int, room: int) -> None:
        process = self.up(pick)
        was = self.now.groups[process.group]
        room = min(room, process.member.handful.size)  # after a loss it asks for less
        interrupted, unheld = not process.member.has_all_own_entries, self.unheld(process)
        unread = [entry_id for entry_id in self.now.stream if self.now.place(process.group, entry_id) is Place.UNREAD]
        step = self.step(
            f"{process.name} fetches {room}",
            lambda: process.member.fetch(room),
            model.any_of(
                model.read_by(process.name),
                model.recovered_by(process.name, unheld, process.recovering()),
                model.settled_by(process.name, process.acked, "acknowledged with a read"),
            ),
            actor=process,
            kind="fetch",
        )
        if step.faulty:
            return
        if not process.member.settlement.acks:
            self._all_are_written(process)
        self.expect(self.now.groups[process.group].position is not None, "it read, and there is no group")
        read = sum(move.before is Place.UNREAD for move in step.moves)
        recovered = sum(entry.raw_id in unheld for part in process.came for entry in part)
        if was.position is None:
            return
        unheld -= {entry.raw_id for entry in process.regained}  # they take no room
        if interrupted and (there := sum(entry_id in self.now.stream for entry_id in unheld)):
            page = sorted(unheld, key=model.order)[:room]
            self.expect(
                recovered == sum(entry_id in self.now.stream for entry_id in page) or recovered == min(room, there),
                f"{recovered} of its {there} own pending entries were recovered, with room for {room}",
            )
        if recovered == 0:
            self.expect(read == min(room, len(unread)), f"{read} of {len(unread)} were read, with room for {room}")

    @action(1, when=lambda self: self.processes, pick=picks, room=rooms)
    def recover(self, pick: int, room: int) -> None:
        process = self.up(pick)
        self.step(
            f"{process.name} recovers up to {room}",
            lambda: process.member.recover(room),
            model.recovered_by(process.name, self.unheld(process), process.recovering()),
            actor=process,
            kind="recover",
        )

    @action(
        9,
        when=lambda self: self.ready_to_reclaim(),
        pick=picks,
        room=rooms,
    )
    def reclaim(self, pick: int, room: int) -> None:
        ready = self.ready_to_reclaim()
        self._reclaim(ready[pick % len(ready)], room)

    def _reclaim(self, process: Process, room: int) -> None:
        look_at_everything(process.member)  # else once a lease, which is longer than any example
        step = self.step(
            f"{process.name} reclaims up to {room}",
            lambda: process.member.reclaim(room),
            model.reclaimed_by(process.name, LEASE, process.reclaiming()),
            actor=process,
            kind="reclaim",
        )
        if not step.faulty:
            self.expect(step.result <= room, f"it took {step.result} with room for {room}")

    @action(
        8,
        when=lambda self: any(process.held for process in self.processes.values()) and len(self.processes) > 1,
        pick=picks,
        other=picks,
    )
    def freeze(self, pick: int, other: int) -> None:
        """A process stands still until its leases have run out and another one has taken over; then it goes on."""
        holding = [process for process in self.processes.values() if process.held]
        frozen = holding[pick % len(holding)]
        self._run_out(frozen.group, [key for key in frozen.held if key in self.now.groups[frozen.group].pending])
        ready = [process for process in self.ready_to_reclaim() if process is not frozen]
        if ready:
            self._reclaim(ready[other % len(ready)], 4)

    def with_neighbours(self) -> list[Process]:
        """Processes whose handlers go on when they lose an entry, and another one that would take it over."""
        groups = [process.group for process in self.processes.values()]
        return [p for p in self.processes.values() if p.goes_on and p.hand and p.held and groups.count(p.group) > 1]

    @action(6, when=with_neighbours, pick=picks, fails=st.booleans())
    def come_back(self, pick: int, fails: bool) -> None:
        """A process loses what it holds to another one, and has it again while its handlers go on."""
        having = self.with_neighbours()
        process = having[pick % len(having)]
        ids = list(process.held)
        self._run_out(process.group, [key for key in ids if key in self.now.groups[process.group].pending])
        ready = [other for other in self.ready_to_reclaim() if other is not process and other.group == process.group]
        if not ready:
            return
        self._reclaim(ready[0], 4)
        came = [one for key, one in ready[0].held.items() if key in ids and one in ready[0].hand]
        if fails and came and not self._is_decided(ready[0], came[0]):
            failed = Retry(0.0, came[0].failures + 1, "it failed")
            self._carry_out(ready[0], came[0], failed, "fails (again in 0 s)")
        self._renew(process)
        self._run_out(process.group, [key for key in ids if key in self.now.groups[process.group].pending])
        if process in self.ready_to_reclaim():
            self._reclaim(process, 4)

    @action(3, when=lambda self: self.processes, pick=picks)
    def renew(self, pick: int) -> None:
        self._renew(self.up(pick))

    def _renew(self, process: Process) -> None:
        self.step(
            f"{process.name} renews",
            process.member.renew,
            model.found_deleted_by(process.name, process.acked),
            actor=process,
            kind="renew",
        )

    @action(5, when=lambda self: self.processes, pick=picks)
    def save_checkpoint(self, pick: int) -> None:
        process = self.up(pick)
        step = self.step(f"{process.name} saves the checkpoint", process.member.save_checkpoint, actor=process)
        position = self.now.groups[process.group].position
        if step.faulty or process.store is None or position is None:
            return
        settled = process.member.holdings.settled_count
        if settled != process.saved_at:
            shown = self.now.groups[process.group].checkpoint
            stored = shown if self.store == "redis" else self.run(process.store.load(STREAM, process.group))
            known = self.run(current(self.desk, STREAM, process.group))
            self.expect(stored == known, f"the checkpoint is {known}, and {stored} was saved")
        process.saved_at = settled

    @action(1, when=lambda self: self.processes, pick=picks)
    def clean_up(self, pick: int) -> None:
        process = self.up(pick)
        was = self.now.groups[process.group]
        step = self.step(f"{process.name} cleans up", lambda: process.member.clean_up(0), actor=process)
        if not step.faulty:
            left = self.now.groups[process.group].names - {process.name, keys.RELEASED}
            idle = left - {pending.owner for pending in was.pending.values()}
            self.expect(not idle, f"{idle} have nothing pending and are still there")

    @action(1, pick=picks, group=groups)
    def delete_consumer(self, pick: int, group: str) -> None:
        names = sorted(self.now.groups[group].names)
        if names:
            name = names[pick % len(names)]
            manager = ConsumerGroupManager(self.desk)
            self.step(f"somebody deletes consumer {name}", lambda: manager.delete_consumer(STREAM, group, name))

    # -- rules: fates ---------------------------------------------------------------------------------------------

    def settle(self, process: Process, entry: Entry, fate: Fate, text: str, may: May, kind: str) -> Step:
        """Carry out a fate. The handler has ended with it, unless it is to be looked at again."""
        self.check()  # what it was told, before it is changed
        lost = "lost " if entry.lost else ""
        process.handled(entry)  # time has passed,
        process.member.holdings.backoff._next_turn = 0.0  # and it is our turn
        step = self.step(
            f"{process.name} {text} {lost}{self.books.label(entry.raw_id)}",
            lambda: write_fates(process.member.settlement, [Decided(entry, fate, fate)]),
            may,
            actor=process,
            kind=kind,
            targets=(entry.raw_id,),
        )
        step.result = entry in step.result
        if not step.result:
            process.hand.remove(entry)
        return step

    def _is_decided(self, process: Process, entry: Entry) -> bool:
        """A fate that Redis could not take stands, and is carried out; a copy for another group has but one."""
        if entry.fate is not None:
            self._carry_out(process, entry, entry.fate, "tries again with", fresh=False)
        elif entry.refusal is FOR_ANOTHER_GROUP:
            self._acknowledge(process, entry)
        else:
            return False
        return True

    @action(9, when=has_work, pick=picks, which=picks)
    def ack(self, pick: int, which: int) -> None:
        process, entry = self.settling(pick, which)
        if not self._is_decided(process, entry):
            self._acknowledge(process, entry)

    def _acknowledge(self, process: Process, entry: Entry) -> None:
        self.check()
        process.acked.add(entry.raw_id)
        self.settle(process, entry, ACK, "acks", model.nothing, "ack")

    @action(9, when=lambda self: any(process.acked for process in self.processes.values()), pick=picks)
    def flush(self, pick: int) -> None:
        waiting = [process for process in self.processes.values() if process.acked]
        self._flush(waiting[pick % len(waiting)])

    def _flush(self, process: Process) -> None:
        step = self.step(
            f"{process.name} flushes {self.books.labels(process.acked)}",
            process.member.settlement.acks.flush,
            model.settled_by(process.name, process.acked, "acknowledged"),
            actor=process,
            kind="flush",
        )
        if not step.faulty:
            self._all_are_written(process)

    def _all_are_written(self, process: Process) -> None:
        still = process.acked & set(self.now.groups[process.group].pending)
        self.expect(not still, f"{self.books.labels(still)} was acknowledged and is still pending")
        process.acked.clear()

    @action(6, when=has_work, pick=picks, which=picks, follow_ups=st.integers(0, 2), remember=st.booleans())
    def complete(self, pick: int, which: int, follow_ups: int, remember: bool) -> None:
        process, entry = self.settling(pick, which)
        command = ("XADD", FOLLOW_UPS, "*", "group", process.group, "for", entry.raw_id)
        lasting = 3600.0 if remember and get(entry.fields, EVENT_ID) else None
        fate = Complete((FollowUp(command, atomic=True),) * follow_ups, lasting)
        text = f"completes ({follow_ups} follow-ups{', remembered' if lasting else ''})"
        if not self._is_decided(process, entry):
            self._carry_out(process, entry, fate, text)

    @action(9, when=has_work, pick=picks, which=picks, delay=st.sampled_from([0.0, 60.0]), wish=st.booleans())
    def retry(self, pick: int, which: int, delay: float, wish: bool) -> None:
        process, entry = self.settling(pick, which)
        fate = Retry(delay, entry.failures + (not wish), "later" if wish else "it failed")
        if not self._is_decided(process, entry):
            self._carry_out(process, entry, fate, f"{'retries' if wish else 'fails'} (again in {delay:g} s)")

    @action(8, when=has_work, pick=picks, which=picks)
    def give_up(self, pick: int, which: int) -> None:
        process, entry = self.settling(pick, which)
        fate = DeadLetter("failures", "it failed for good", entry.failures + 1)
        if not self._is_decided(process, entry):
            self._carry_out(process, entry, fate, "gives up")

    def _carry_out(
        self,
        process: Process,
        entry: Entry,
        fate: Complete | Retry | DeadLetter,
        text: str,
        *,
        fresh: bool = True,
    ) -> None:
        owner, counts = self._is_owner(process, entry), getattr(fate, "failures", 0) > entry.failures
        may, kind = self._may_carry_out(process, entry.raw_id, fate), type(fate).__name__
        step = self.settle(process, entry, fate, text, may, kind)
        self.expect(entry.state is not WAITING or entry.fate is None or step.faulty, "its fate was not written")
        if isinstance(fate, Retry) and not step.faulty:
            self.expect(step.result is owner, f"it said {step.result}, and it is {'' if owner else 'not '}its owner")
        self._account(process, entry, fate, owner=owner, counts=counts, fresh=fresh)

    def _may_carry_out(self, process: Process, entry_id: bytes, fate: Complete | Retry | DeadLetter) -> May:
        match fate:
            case Complete():
                return model.settled_by(process.name, {entry_id}, "completed")
            case DeadLetter():
                return model.given_up_by(process.name, entry_id)
            case Retry():
                return model.nothing

    def _account(
        self,
        process: Process,
        entry: Entry,
        fate: Complete | Retry | DeadLetter,
        *,
        owner: bool,
        counts: bool,
        fresh: bool,
    ) -> None:
        """What must have come of a fate, and with it. Where the connection broke, it may or may not have."""
        match fate:
            case Complete():
                self._account_completion(process, entry, fate)
            case Retry():
                self._account_failure(process, entry, fate, owner=owner, counts=counts, fresh=fresh)
            case DeadLetter():
                self._account_letter(process, entry, fate, owner=owner, fresh=fresh)

    def _account_completion(self, process: Process, entry: Entry, fate: Complete) -> None:
        """Whoever has it now: the first to complete it is the one."""
        group, entry_id = process.group, entry.raw_id
        pending = self.now.place(group, entry_id) is Place.PENDING
        self.expect(not pending or self.last.faulty, "it was completed and is still pending")
        if pending or self.last.before.place(group, entry_id) is not Place.PENDING:
            return
        event_id = get(entry.fields, EVENT_ID)
        key = keys.done(STREAM, group, event_id) if fate.remember and event_id else None
        if key is not None and self.done[key] == b"done":
            return  # a copy came to its end before it
        self.life(process, entry).completed += len(fate.follow_ups)
        if key is not None:
            self.done[key] = b"done"

    def _account_failure(
        self, process: Process, entry: Entry, fate: Retry, *, owner: bool, counts: bool, fresh: bool
    ) -> None:
        life = self.life(process, entry)
        record = self.now.groups[process.group].records.get(entry.raw_id)
        before = self.last.before.groups[process.group].records.get(entry.raw_id)
        if not owner or (self.last.faulty and record == before):
            return
        self.expect(record is not None, "the failure was not written")
        counted = life.failures + counts if fresh else fate.failures
        self.expect(record.failures == counted, f"the record counts {record.failures} failures; there were {counted}")
        if life.failures and fresh:
            self.expect(record.first == life.first, "the time of the first failure changed")
        self.expect(record.due >= self.now.now + (fate.delay - 5) * 1000, "the retry is due too early")
        life.failures, life.first, life.due = record.failures, record.first, record.due

    def _account_letter(self, process: Process, entry: Entry, fate: DeadLetter, *, owner: bool, fresh: bool) -> None:
        group, entry_id = process.group, entry.raw_id
        book, life = self.books.groups[group], self.life(process, entry)
        letters = {key: letter for key, letter in self.now.groups[group].letters.items() if key not in book.letters}
        original = entry.history.id.encode() if entry.history else entry_id
        new = {key: letter for key, letter in letters.items() if letter[b"dead:id"] == original}
        fits = len(new) == owner or (self.last.faulty and not new)
        self.expect(fits, f"{len(new)} dead letters were written, and it is {'' if owner else 'not '}its owner")
        for key, letter in new.items():
            book.letters[key] = entry_id
            counted = life.failures + 1 if fresh else fate.failures
            counted += entry.history.failures if entry.history else 0
            self.expect(int(letter[b"dead:failures"]) == counted, f"the letter does not count {counted} failures")
            label = self.books.entries[entry_id].label.rstrip("'").encode()
            self.expect(letter[b"payload"] == label, f"the letter has the payload of {letter[b'payload']!r}")

    @action(3, when=has_work, pick=picks, which=picks)
    def ask_for_duplicates(self, pick: int, which: int) -> None:
        """What is done before an event with an event_id is handled, where duplicates are to be dropped."""
        process, entry = self.settling(pick, which)
        if get(entry.fields, EVENT_ID) is not None and not self._is_decided(process, entry):
            self._ask(process, entry)

    def _ask(self, process: Process, entry: Entry) -> Fate | None:
        """The fate of a copy, or `None`."""
        self.check()
        event_id = get(entry.fields, EVENT_ID)
        key, entry_id = keys.done(STREAM, process.group, event_id), entry.raw_id
        before, holder = self.done[key], self.done[key]
        if holder != b"done" and holder not in self.now.groups[process.group].pending:
            holder = entry_id  # nobody has begun it, or who had has given up
        self.done[key] = holder
        process.member.holdings.backoff._next_turn = 0.0
        step = self.step(
            f"{process.name} asks whether {event_id.decode()} ({self.books.label(entry_id)}) was handled",
            lambda: begin(process.member.holdings, [entry]),
            actor=process,
        )
        [fate] = step.result
        if step.faulty and isinstance(fate, Postpone):  # Redis was not asked, or its answer was lost
            self.done[key] = holder if self.now.done.get(key) == holder else before
        elif holder == entry_id:
            self.expect(fate is None, f"it is the first, and its fate is {fate}")
        elif holder == b"done":
            self.expect(isinstance(fate, Ack), f"a copy was handled, and its fate is {fate}")
            self._acknowledge(process, entry)
        else:
            self.expect(isinstance(fate, AwaitCopy), f"a copy is being handled, and its fate is {fate}")
        return fate

    def copies_that_wait(self) -> list[tuple[Process, Entry, bytes, Process]]:
        """Copies in hand whose original another process has begun: whose they are, the original, and its owner."""
        by_name = {process.name: process for process in self.processes.values()}
        found = []
        for process in self.processes.values():
            pending = self.now.groups[process.group].pending
            for entry in process.hand:
                event_id = get(entry.fields, EVENT_ID)
                original = self.done.get(keys.done(STREAM, process.group, event_id), b"") if event_id else b""
                if original in pending and self._is_owner(process, entry) and entry.fate is None:
                    owner = by_name.get(pending[original].owner)
                    if owner not in (None, process) and entry.refusal is None:
                        found.append((process, entry, original, owner))
        return found

    @action(6, when=copies_that_wait, pick=picks, drains=st.booleans())
    def who_has_the_original_leaves(self, pick: int, drains: bool) -> None:
        """A copy waits while the other process drains or crashes: the original comes and goes first."""
        waiting = self.copies_that_wait()
        process, copy, original, other = waiting[pick % len(waiting)]
        if not isinstance(self._ask(process, copy), AwaitCopy):
            return  # a connection broke
        place = list(self.processes.values()).index(other)
        if drains:
            self.stop(place, release=True)
        else:
            self.crash(place)
        self._run_out(process.group, [key for key in [original] if key in self.now.groups[process.group].pending])
        if process.member.has_all_own_entries:
            self._reclaim(process, 1000)
        came = process.held.get(original)
        if came is None or not self._is_owner(process, came) or came.refusal is not None:
            return
        if self._ask(process, came) is not None or not isinstance(self._ask(process, copy), AwaitCopy):
            return
        self._carry_out(process, came, Complete((), 3600.0), "completes (remembered)")
        if not self.last.faulty:
            fate = self._ask(process, copy)
            self.expect(self.last.faulty or isinstance(fate, Ack), f"its original is done, and its fate is {fate}")

    @action(5, when=has_work, pick=picks, delay=st.sampled_from([0.0, 60.0]), wish=st.booleans())
    def batch_asks_for_later(self, pick: int, delay: float, wish: bool) -> None:
        """All that a process has in hand is put off by one decision, and due at one time: here, and in the records."""
        process, _ = self.settling(pick, 0)
        batch = [one for one in process.hand if one.fate is None and one.refusal is None]
        if not batch:
            return
        self.check()
        failed = [(one, Retry(delay, one.failures + (not wish), "later" if wish else "it failed")) for one in batch]
        for one in batch:
            process.handled(one)
        owned = [one for one in batch if self._is_owner(process, one)]
        counts = dict.fromkeys(batch, not wish)
        process.member.holdings.backoff._next_turn = 0.0
        step = self.step(
            f"{process.name} puts off {self.books.labels(one.raw_id for one in batch)} for {delay:g} s",
            lambda: write_fates(process.member.settlement, [Decided(one, fate, fate) for one, fate in failed]),
            actor=process,
            kind="Retry",
            targets=tuple(one.raw_id for one in batch),
        )
        process.hand = [one for one in process.hand if one not in batch or one in step.result]
        for one, fate in failed:
            self._account_failure(process, one, fate, owner=one in owned, counts=counts[one], fresh=True)
        if not step.faulty:
            self.expect(step.result == owned, "those that are its own come again, in their order")
            dues = {one.until for one in owned}
            records = {self.now.groups[process.group].records[one.raw_id].due for one in owned}
            self.expect(len(dues) <= 1, f"they are due at {dues}")
            self.expect(len(records) <= 1, f"by their records they are due at {records}")

    @action(1, when=lambda self: any(d.lost for p in self.processes.values() for d in p.hand), pick=picks)
    def abandon(self, pick: int) -> None:
        lost = [(p, d) for p in self.processes.values() for d in p.hand if d.lost]
        process, entry = lost[pick % len(lost)]
        self.settle(process, entry, ABANDON, "abandons", model.nothing, "abandon")

    def _is_owner(self, process: Process, entry: Entry) -> bool:
        pending = self.now.groups[process.group].pending.get(entry.raw_id)
        return pending is not None and pending.owner == process.name and not entry.lost

    # -- rules: what befalls processes ----------------------------------------------------------------------------

    @action(2, when=lambda self: self.processes, pick=picks)
    def crash(self, pick: int) -> None:
        process = self.up(pick)
        self.step(f"{process.name} crashes", process.crash)
        self.forget(process)

    def forget(self, process: Process) -> None:
        del self.processes[process.title]
        self.run(process.crash())

    @action(3, when=lambda self: self.processes, pick=picks, release=st.sampled_from([True, True, False]))
    def stop(self, pick: int, release: bool) -> None:
        process = self.up(pick)
        name, unheld = process.name, self.unheld(process)
        kept = [
            (entry, entry.fate, self._is_owner(process, entry))
            for entry in process.held.values()
            if entry.fate is not None
        ]
        process.kept = {entry.raw_id for entry, _, _ in kept}
        step = self.step(
            f"{name} stops{'' if release else ', and releases nothing'}",
            lambda: process.member.close(release=release),
            model.any_of(
                model.settled_by(name, process.acked, "acknowledged"),
                model.recovered_by(name, unheld, process.recovering()),
                model.released_by(
                    name, {key: entry.deliveries for key, entry in process.held.items()}, process.recovering()
                ),
                model.found_deleted_by(name, process.acked),
                *(self._may_carry_out(process, entry.raw_id, fate) for entry, fate, _ in kept),
            ),
            actor=process,
            kind="stop",
        )
        for entry, fate, owner in kept:
            self._account(process, entry, fate, owner=owner, counts=True, fresh=False)
        self.forget(process)
        after = self.now.groups[process.group]
        if release and not step.faulty:
            left = [key for key, pending in after.pending.items() if pending.owner == name]
            self.expect(not left, f"{self.books.labels(left)} was not given back")
            for move in step.moves:
                if move.now is not None:
                    self.expect(
                        move.now.owner == keys.RELEASED, f"{self.books.label(move.id)} cannot be claimed at once"
                    )
            if process.member.consumer.name is None:
                self.expect(name not in after.names, "its name is still in the group")

    @action(
        9,
        when=lambda self: any(look.pending for look in self.now.groups.values()),
        group=groups,
        pick=picks,
        everything=st.booleans(),
    )
    def leases_run_out(self, group: str, pick: int, everything: bool) -> None:
        """Nobody renews for a long time. (Entries that were deleted stay as they are: XCLAIM drops them.)"""
        group = self.either(group, lambda group: self.now.groups[group].pending)
        pending = self.now.groups[group].pending
        ids = [entry_id for entry_id in pending if entry_id in self.now.stream]
        if ids:
            self._run_out(group, ids if everything else [ids[pick % len(ids)]])

    def _run_out(self, group: str, ids: list[bytes]) -> None:
        pending = self.now.groups[group].pending
        chosen = [entry_id for entry_id in ids if entry_id in self.now.stream]

        def age() -> None:
            pipe = self.redis.pipeline(transaction=False)
            for entry_id in chosen:
                owner = pending[entry_id].owner
                pipe.xclaim(STREAM, group, owner, 0, [entry_id], idle=3_600_000, justid=True)
            pipe.execute()

        self.step(f"leases of {self.books.labels(chosen)} in {group} run out", age)

    @action(
        4,
        when=lambda self: self.processes,
        pick=picks,
        kind=st.sampled_from(["unsent", "unanswered"]),
        after=st.sampled_from([0, 0, 1, 2, 3]),
    )
    def connection_will_break(self, pick: int, kind: str, after: int) -> None:
        wires = self.up(pick).wires
        wires.kind, wires.after = kind, after
        self.story.append(f"{self.up(pick).name} will have a command {kind} after {after} others")

    @action(1)
    def all_connections_break(self) -> None:
        self.step("all connections break", lambda: self.redis.execute_command("CLIENT KILL TYPE normal SKIPME yes"))

    # -- rules: what befalls the stream ---------------------------------------------------------------------------

    @action(
        2, when=lambda self: self.now.stream, pick=picks, how=st.sampled_from(["delete", "delete", "minid", "maxlen"])
    )
    def cut(self, pick: int, how: str) -> None:
        ids = list(self.now.stream)
        chosen = ids[pick % len(ids)]
        command, text = {
            "delete": (("XDEL", STREAM, chosen), f"{self.books.label(chosen)} is deleted"),
            "minid": (("XTRIM", STREAM, "MINID", "=", chosen), f"what is before {self.books.label(chosen)} is trimmed"),
            "maxlen": (("XTRIM", STREAM, "MAXLEN", "=", 0), "the stream is trimmed to nothing"),
        }[how]
        self.step(text, lambda: self.redis.execute_command(*command), model.cut_off)

    @action(1, what=st.sampled_from(["group", "group", "stream", "everything"]), group=groups)
    def disaster(self, what: str, group: str) -> None:
        if what == "group":
            if self.now.groups[group].position is not None:
                self.step(f"group {group} is destroyed", lambda: self.redis.xgroup_destroy(STREAM, group))
            return

        def strike() -> None:
            if what == "stream":
                self.redis.delete(STREAM)
                return
            self.redis.flushall()
            self.done = dict.fromkeys(self.done, b"")
            for book in self.books.groups.values():
                book.letters.clear()
                for life in book.lives.values():
                    life.completed = 0
                    if life.place is Place.DEAD:
                        life.place, life.how = Place.GONE, "flushed"

        self.step("the stream is deleted" if what == "stream" else "FLUSHALL", strike)
        newest = max(map(model.order, self.books.entries), default=(0, 0))
        while self.redis.time()[0] * 1000 + self.redis.time()[1] // 1000 <= newest[0] + 1:
            pass  # a new stream must not give the same ids again: the books go by them

    # -- rules: the operator --------------------------------------------------------------------------------------

    @action(
        10,
        when=lambda self: any(book.letters for book in self.books.groups.values()),
        group=groups,
        pick=picks,
        everything=st.booleans(),
    )
    def replay(self, group: str, pick: int, everything: bool) -> None:
        group = self.either(group, lambda group: self.books.groups[group].letters)
        letters = self._letters(group, pick, everything)
        book = self.books.groups[group]
        shown = self.now.groups[group].letters
        originals = {key: shown[key][b"dead:id"] for key in letters}
        in_place = {original for original in originals.values() if original in self.now.stream}

        async def work() -> Any:
            try:
                report = await DeadLetters(self.desk, STREAM, group).replay([key.decode() for key in letters])
            except StreamNotFoundError as error:
                return error
            copies = iter([key for key in self._stream_ids() if key not in self.books.entries])
            for key in letters:
                entry_id = book.letters.pop(key)
                if originals[key] not in in_place:
                    published = self.books.entries[entry_id]
                    self.books.published(next(copies), Published(f"{published.label}'", published.event_id, group))
                    if book.lives[entry_id].place is Place.DEAD:
                        book.lives[entry_id].place, book.lives[entry_id].how = Place.SETTLED, "replayed as a copy"
            return report

        had_group = self.now.groups[group].position is not None
        text = f"replay letters of {self.books.labels(book.letters[key] for key in letters)} in {group}"
        step = self.step(text, work, model.replayed(in_place), kind="replay")
        self.expect(isinstance(step.result, StreamNotFoundError) is not had_group, f"the replay said {step.result}")

    @action(
        1,
        when=lambda self: any(book.letters for book in self.books.groups.values()),
        group=groups,
        pick=picks,
        everything=st.booleans(),
    )
    def purge(self, group: str, pick: int, everything: bool) -> None:
        group = self.either(group, lambda group: self.books.groups[group].letters)
        letters = self._letters(group, pick, everything)
        book = self.books.groups[group]

        async def work() -> int:
            return await DeadLetters(self.desk, STREAM, group).purge([key.decode() for key in letters])

        text = f"purge letters of {self.books.labels(book.letters[key] for key in letters)} in {group}"
        for key in letters:
            entry_id = book.letters.pop(key)
            if book.lives[entry_id].place is Place.DEAD:
                book.lives[entry_id].place, book.lives[entry_id].how = Place.SETTLED, "purged"
        self.step(text, work)

    def _letters(self, group: str, pick: int, everything: bool) -> list[bytes]:
        letters = list(self.books.groups[group].letters)
        return letters if everything else [letters[pick % len(letters)]]

    def _stream_ids(self) -> list[bytes]:
        return [entry_id for entry_id, _ in self.redis.execute_command("XRANGE", STREAM, "-", "+")]

    # -- liveness -------------------------------------------------------------------------------------------------

    def everything_comes_to_an_end(self) -> None:
        """P2: whatever happened, one consumer of each group brings all that is owed to an end."""
        for process in list(self.processes.values()):
            self.step(f"{process.name} crashes", process.crash)
            self.forget(process)
        for title, group in zip(LETTERS, GROUPS, strict=False):
            self.groups_of[title] = group
            self.start(LETTERS.index(title) - len(self.processes), stable=False)
            for _ in range(3):
                self._handle_all(self.processes[title])
            left = {key for key, life in self.books.groups[group].lives.items() if life.owed}
            self.expect(not left, f"{self.books.labels(left)} of {group} never came to an end")
            self.expect(not self.now.groups[group].pending, f"{group} still has pending entries")
        self.check()

    def _handle_all(self, medic: Process) -> None:
        self.leases_run_out(medic.group, 0, everything=True)
        read, reclaimed = model.read_by(medic.name), model.reclaimed_by(medic.name, LEASE, medic.reclaiming())
        self.redis.delete(keys.leases(STREAM, medic.group))
        look_at_everything(medic.member)
        medic.member.holdings.lease = 0.0  # also entries that were deleted, which nobody can make older
        self.step(f"{medic.name} takes over all", lambda: medic.member.reclaim(1000), reclaimed, actor=medic)
        medic.member.holdings.lease = LEASE
        self.step(f"{medic.name} reads all", lambda: medic.member.fetch(1000), read, actor=medic, kind="fetch")
        for entry in list(medic.hand):
            self._acknowledge(medic, entry)
        self._flush(medic)


def machine_on(url: str, loop: Hurried, redis: Redis) -> type[Machine]:
    """The machine on a server of its own."""
    return type("MachineOnServer", (Machine,), {"server_url": url, "loop": loop, "redis": redis})
