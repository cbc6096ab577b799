"""Targets: replies and error replies, in the one place that reads them and in the roles that use what it read.

A server that answers what Redis never would is told of with a `ServerError`, or what it said is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from random import Random

from redis import exceptions as redis_errors

from redis_streams_aio import DeadLetters, LagWatcher, RedisStreamsError, StreamManager
from redis_streams_aio.checkpoint import RedisCheckpointStore, current
from redis_streams_aio.connection import errors, replies
from redis_streams_aio.connection.replies import RawEntry, Reply
from redis_streams_aio.connection.steps import (
    checkpoints,
    claims,
    completing,
    dead_letters,
    describing,
    groups,
    histories,
    leases,
    parking,
    pending,
    releasing,
    replaying,
    retrying,
    returning,
    seeking,
    sweeping,
)
from redis_streams_aio.connection.steps import duplicates as duplicate_steps
from redis_streams_aio.connection.steps.dead_letters import DeadLetterOptions
from redis_streams_aio.consumer import ConsumerGroupManager
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.abandoned import Reclaimer
from redis_streams_aio.consumer.intake.cleaner import Cleaner
from redis_streams_aio.consumer.intake.leases import LeaseKeeper
from redis_streams_aio.consumer.intake.own import recover_own
from redis_streams_aio.consumer.intake.records import take_pending
from redis_streams_aio.consumer.settle import duplicates
from redis_streams_aio.consumer.settle.plans import Write
from redis_streams_aio.consumer.settle.settlement import Settlement
from redis_streams_aio.handlers.fates import DeadLetter, Retry
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import Telemetry
from tests.fuzz import inputs
from tests.fuzz.running import Target

PARSERS: tuple[Callable[[Reply], object], ...] = (
    replies.entries,
    replies.new_entries,
    replies.integer,
    replies.mapping,
    pending.pending_messages,
    lambda reply: describing.stream_info("orders", reply),
    describing.group_infos,
    describing.consumer_infos,
    replies.server,
    leases.leases,
    leases.renewed,
    checkpoints.checkpoint_read,
    claims.claimed,
    completing.completed,
    dead_letters.dead_lettered,
    lambda reply: duplicate_steps.begun([b"5-0", b"6-0"], reply),
    groups.created,
    groups.deleted,
    groups.copied,
    groups.used,
    seeking.sought,
    seeking.counted,
    lambda reply: histories.recalled(1, reply),
    releasing.released,
    replaying.replayed,
    lambda reply: retrying.failures_written(2, reply),
    sweeping.swept,
    returning.located,
    parking.parked,
    parking.due,
    lambda reply: parking.unlisted([b"5-0", b"6-0"], reply),
)

ENTRY: Reply = [b"1700000000000-0", [b"event_type", b"Order", b"payload", b"{}"]]
GROUP: Reply = [b"name", b"billing", b"consumers", 1, b"pending", 2, b"last-delivered-id", b"5-0", b"lag", None]
CONSUMER: Reply = [b"name", b"c", b"pending", 0, b"idle", 5, b"inactive", -1]
STREAM: Reply = [
    *(b"length", 1, b"groups", 1, b"first-entry", ENTRY, b"last-entry", ENTRY, b"last-generated-id", b"5-0"),
    *(b"entries-added", 1),
]
VALID: tuple[Reply, ...] = (
    [ENTRY, ENTRY],
    [[b"orders", [ENTRY]]],
    [[b"1-0", b"c", 10, 1]],
    STREAM,
    [GROUP],
    [CONSUMER],
    [b"server", b"valkey", b"version", b"9.1.2", b"id", 7],
    [b"c", b"30000"],
    [b"5-0", 1],
    [b"1700000000000", [2, b"1 1700000000000 1700000001000 1000 ValueError: no", None]],
    [[b"1700000000000-0"], []],
    [1, [b"1-0"]],
    [b"5-0", b"6-0"],
    [b"1700000000000", b"1700000001000", [ENTRY]],
    [b"0", [[b"5-0", b"1700000001000", b"tenant"]]],
    [b"1700000000", b"5"],
    b"done",
    1,
    None,
    [],
)
RECORDS = (
    b"1 1700000000000 1700000001000 1000 ValueError: no",
    *(b"1 2 3", b"-5 0 0 0 x", b"1 -1 %s 5 x" % (b"9" * 400), b"\xff"),
)


def leaf(rng: Random) -> Reply:
    kinds: tuple[Callable[[], Reply], ...] = (
        lambda: inputs.integer(rng),
        lambda: None,
        list,
        lambda: inputs.utf8(rng),
        lambda: inputs.entry_id(rng).encode("utf-8", "replace"),
        lambda: inputs.number(rng).encode(),
        lambda: rng.choice(RECORDS),
        lambda: list(ENTRY),  # type: ignore[arg-type]
    )
    return rng.choice(kinds)()


def bent(rng: Random, reply: Reply, chance: float) -> Reply:
    """The reply with something in it that is not what it should be."""
    if rng.random() < chance:
        return leaf(rng)
    if not isinstance(reply, list):
        return inputs.mutated(rng, reply) if isinstance(reply, bytes) and rng.random() < chance else reply
    made = [bent(rng, part, chance) for part in reply]
    if rng.random() < chance:
        made.insert(rng.randrange(len(made) + 1), leaf(rng))
    if made and rng.random() < chance:
        del made[rng.randrange(len(made))]
    return made


def a_reply(rng: Random) -> Reply:
    return bent(rng, rng.choice(VALID), rng.choice((0.05, 0.15, 0.5)))


def parsed(given: tuple[int, Reply]) -> None:
    which, reply = given
    with contextlib.suppress(RedisStreamsError):
        found = PARSERS[which](reply)
        if which < 2:
            assert isinstance(found, list)
            for entry_id, fields in found:
                assert isinstance(entry_id, bytes)
                assert fields is None or all(isinstance(field, bytes) for field in fields)


class Answering:
    """A connection, and a link, that answers in turn."""

    shown = "nowhere"

    def __init__(self, answers: list[Reply]) -> None:
        self.answers = answers

    async def run(self, *_: object, **__: object) -> Reply:
        return self.answers.pop() if self.answers else None

    call = run

    async def call_many(self, commands: list[object]) -> list[Reply]:
        return [await self.run() for _ in commands]

    async def send(self, _: bytes, expected: int) -> list[Reply]:
        return [await self.run() for _ in range(expected)]

    async def close(self) -> None: ...

    def link(self, *_: object) -> Answering:
        return self

    of = new_links = node_of = link


def holding(connection: object) -> Holdings:
    holdings = Holdings(
        Shared(connection, Telemetry([lambda _: None])),  # type: ignore[arg-type]
        SubscriptionOptions(stream="orders", group="billing", lease=1),
        "c",
    )
    holdings.take([RawEntry(b"1-0", [b"event_id", b"e"]), RawEntry(b"2-0", [b"x", b"y"])])
    return holdings


async def _each(parts: object) -> None:
    async for _ in parts:  # type: ignore[attr-defined]
        pass


async def _pending(holdings: Holdings) -> None:
    for entry in await take_pending(holdings, [RawEntry(b"3-0", [b"x", b"y"])], counts=True):
        assert entry.failures >= 0
        assert entry.deliveries >= 0
        assert entry.until - asyncio.get_running_loop().time() < 400 * 86_400


async def _settle(holdings: Holdings) -> None:
    settlement = Settlement(holdings, DeadLetterOptions("dead"))
    first, second = holdings.by_id.values()
    for write in (Write(first, Retry(1.0, 1, "why")), Write(second, DeadLetter("failures", "why", 1))):
        settlement.writer.apply([write], await settlement.writer.send([write]))
    await settlement.release()
    settlement = Settlement(holdings, DeadLetterOptions("dead", 5, 5.0))
    await settlement.trim_dead_letters()


async def _letters(holdings: Holdings) -> None:
    letters = DeadLetters(holdings.connection, "orders", "billing")
    await letters.list()
    await letters.replay(dry_run=True)
    await letters.replay()
    await letters.purge("5-0")


async def _groups(holdings: Holdings) -> None:
    manager = ConsumerGroupManager(holdings.connection)
    await manager.join("orders", "billing", "0", "5-0")
    await manager.get_group_info("orders", "billing")
    await manager.usage("orders", "billing")
    await manager.seek("orders", "billing", "0")
    await manager.copy_group("orders", "mail", source="billing")
    await manager.delete_group("orders", "billing")


async def _streams(holdings: Holdings) -> None:
    manager = StreamManager(holdings.connection)
    await manager.get_stream_info("orders")
    await manager.trim("orders", maxlen=5)


ROLES: tuple[Callable[[Holdings], object], ...] = (
    lambda holdings: _each(Reclaimer(holdings).run(5)),
    lambda holdings: _each(recover_own(holdings, 5, counts=True)),
    _pending,
    _settle,
    _letters,
    _groups,
    _streams,
    lambda holdings: LeaseKeeper(holdings.connection, holdings.lease, lambda: [holdings]).run_once(),
    lambda holdings: current(holdings.connection, "orders", "billing"),
    lambda holdings: RedisCheckpointStore(holdings.connection).load("orders", "billing"),
    lambda holdings: LagWatcher(holdings.connection, [("orders", "billing")]).run_once(),
    lambda holdings: duplicates.begin(holdings, list(holdings.by_id.values())),
    lambda holdings: Cleaner(holdings).run_once(0.0),
)


async def used(given: tuple[int, list[Reply]]) -> None:
    which, answers = given
    with contextlib.suppress(RedisStreamsError):
        await ROLES[which](holding(Answering(list(answers))))  # type: ignore[misc]


ERRORS: tuple[type[Exception], ...] = (
    *(redis_errors.ResponseError, redis_errors.BusyLoadingError, redis_errors.AuthenticationError),
    *(redis_errors.NoScriptError, redis_errors.ReadOnlyError, redis_errors.MovedError, redis_errors.AskError),
    *(redis_errors.OutOfMemoryError, redis_errors.NoPermissionError, redis_errors.ConnectionError, OSError),
    *(redis_errors.InvalidResponse, redis_errors.TimeoutError, TimeoutError),
)
WORDS = (*errors._BY_FIRST_WORD, "ERR", "MOVED 1 127.0.0.1:1", "", "ERR no such key", "EXECABORT", "UNKNOWN")


def an_error(rng: Random) -> Exception:
    said = f"{rng.choice(WORDS)} {inputs.text(rng, 40)}"
    kind = rng.choice(ERRORS)
    if kind in (redis_errors.MovedError, redis_errors.AskError):
        said = f"{rng.randrange(16384)} 127.0.0.1:{rng.randrange(70_000)}"
    return kind(said)


def translated(error: Exception) -> None:
    for ours in (errors.from_reply(error), errors.from_connecting(error, "there"), errors.from_lost(error, "there")):
        assert isinstance(ours, RedisStreamsError)


TARGETS = (
    Target("replies", 15, lambda rng: (rng.randrange(len(PARSERS)), a_reply(rng)), parsed),
    Target(
        "roles given replies",
        15,
        lambda rng: (rng.randrange(len(ROLES)), [a_reply(rng) for _ in range(rng.randrange(1, 6))]),
        used,
    ),
    Target("error replies", 5, an_error, translated),
)
