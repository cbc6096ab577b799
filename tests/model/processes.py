"""What the rules move about: processes with a `Member` each, whose connections can be made to break at a given answer.

Nothing runs by itself: a process does something only while a rule awaits one of its steps. A pause of the product (its
backoff) takes a millisecond here, see `Hurried`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from redis_streams_aio import Connection
from redis_streams_aio.checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.entry import RUNNING, Entry
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import EntriesVanished, Fact, Telemetry
from tests.members import Member
from tests.model.books import STREAM, Move

LEASE = 300.0
"""Longer than any example runs: leases run out when a rule says so."""


class Hurried(asyncio.SelectorEventLoop):
    """An event loop in which `asyncio.sleep` takes a millisecond at most; deadlines (`asyncio.timeout`) are kept."""

    def call_later(self, delay: float, *args: Any, **named: Any) -> asyncio.TimerHandle:
        return super().call_later(min(delay, 0.001), *args, **named)


class Wires:
    """The sockets of one process, and the fault that the next of them will have."""

    def __init__(self) -> None:
        self.kind = ""
        """`unsent`: the command does not reach Redis; `unanswered`: Redis carries it out, and the answer is lost."""
        self.after = 0
        """How many commands go well before that."""
        self.hit = False
        """Whether there was one since the last look."""

    def wrap(self, make: Any) -> Any:
        """The factory of connections, with the fault in what it makes."""

        def made() -> Any:
            connection = make()
            send, read = connection.send_packed_command, connection.read_response

            async def send_or_fail(*args: Any, **named: Any) -> None:
                if self.kind == "unsent" and self._is_now():
                    raise RedisConnectionError("the test had it not sent")
                await send(*args, **named)

            async def read_or_fail(*args: Any, **named: Any) -> Any:
                try:
                    return await read(*args, **named)
                finally:
                    if self.kind == "unanswered" and self._is_now():
                        raise RedisConnectionError("the test had the answer lost")

            connection.send_packed_command, connection.read_response = send_or_fail, read_or_fail
            return connection

        return made

    def _is_now(self) -> bool:
        self.after -= 1
        if self.after >= 0:
            return False
        self.kind, self.hit = "", True
        return True


@dataclass
class Process:
    """One process with one consumer."""

    title: str
    group: str
    connection: Connection
    wires: Wires
    store: CheckpointStore | None
    member: Member = field(init=False)
    joined: bool = False
    hand: list[Entry] = field(default_factory=list)
    """What handlers are at, or will be: each is to get a fate. Some may be lost by now."""
    acked: set[bytes] = field(default_factory=set)
    """Acknowledged, and perhaps not yet written."""
    kept: set[bytes] = field(default_factory=set)
    """What it had fates for, when it stopped, that Redis could not take before."""
    came: list[list[Entry]] = field(default_factory=list)
    """What the sink was given in this step, part by part."""
    goes_on: bool = False
    """Whether a handler goes on when its lease is lost (`on_lost="continue"`), so that it may have the entry again."""
    ended: set[Entry] = field(default_factory=set)
    """Whose handlers have ended: nothing comes back to them."""
    regained: list[Entry] = field(default_factory=list)
    """What came back in this step to handlers that had lost it."""
    vanished: set[bytes] = field(default_factory=set)
    """What was reported in this step to have been deleted while pending."""
    saved_at: int = 0
    """How much was settled when the checkpoint was saved last."""

    @property
    def name(self) -> str:
        return self.member.holdings.consumer

    @property
    def held(self) -> dict[bytes, Entry]:
        return self.member.holdings.by_id

    def recovering(self) -> Callable[[Move], set[int]]:
        """By how much the deliveries grow of what it recovers: a restart is a delivery, a lost answer is none."""
        first, uncertain = self.member.source._first_time, bool(self.member.holdings.uncertain)
        strays = set(self.member.holdings.strays)

        def grows(move: Move) -> set[int]:
            if move.id in strays and move.was is not None and move.was.deliveries > 0:
                return {0}
            if uncertain or (self.wires.hit and first):
                return {0, 1}
            return {1} if first or (move.was is not None and move.was.deliveries == 0) else {0}

        return grows

    def reclaiming(self) -> Callable[[Move], set[int]]:
        """The same of what it takes over: counted when it has arrived, but for what its handlers had all along."""
        held = {*self.held, *self.member.holdings.strays}

        def grows(move: Move) -> set[int]:
            if self.wires.hit:
                return {0, 1}
            undelivered = move.was is not None and move.was.deliveries == 0  # released with none: it has one now
            return {0} if move.id in held and not undelivered else {1}

        return grows

    def take(self, entries: Any) -> None:
        self.came.append(list(entries))
        self.hand.extend(entries)

    def lost(self, entry: Entry) -> None:
        """A lease was lost: a handler that is at it may go on."""
        if self.goes_on and not entry.until and entry in self.hand and entry not in self.ended:
            self.member.holdings.strays[entry.raw_id] = entry

    def handled(self, entry: Entry) -> None:
        """The handler of an entry has ended, or a worker takes the entry to write its known fate."""
        self.ended.add(entry)
        if self.member.holdings.strays.get(entry.raw_id) is entry:
            del self.member.holdings.strays[entry.raw_id]
        if entry.state != RUNNING:
            entry.begin()

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, EntriesVanished):
            self.vanished |= {entry_id.encode() for entry_id in fact.ids}

    async def crash(self) -> None:
        """Its sockets are closed, as the kernel does; nothing else happens."""
        await self.member.keeper.close()
        await self.connection.close()


async def launch(url: str, title: str, group: str, *, name: str | None, start: str, store: str) -> Process:
    """A process that is connected and has not joined its group yet."""
    connection = Connection(f"{url}?socket_keepalive=yes")  # by redis-py, whose sending and reading are wrapped below
    await connection.open()
    wires = Wires()
    places = connection._places
    assert places is not None
    connection._places = places._replace(to=lambda host: wires.wrap(places.to(host)))
    checkpoints: CheckpointStore | None = None
    if store == "redis":
        checkpoints = RedisCheckpointStore(connection)
    elif store == "memory":
        checkpoints = InMemoryCheckpointStore()
    options = (
        SubscriptionOptions(stream=STREAM, group=group, start=start, lease=LEASE),
        ConsumerOptions(name=name, block=0.001),
    )
    process = Process(title, group, connection, wires, checkpoints, goes_on=title != "a")
    process.member = Member(Shared(connection, Telemetry([process.observe])), *options, checkpoints, process.take)
    process.member.holdings.on_lost = process.lost
    return process
