"""Parking: entries wait in Redis until they are due, and one consumer of the group takes each of them then."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TypeVar

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Connection,
    ConsumerGroupManager,
    Delivery,
    GroupNotFoundError,
    PermissionDeniedError,
    ServerError,
    StreamTypeError,
)
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.claims import Claim, claim
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.histories import History, recall
from redis_streams_aio.connection.steps.parking import (
    Due,
    Parked,
    Parking,
    due,
    due_times,
    park,
    parked,
    sweep_parked,
    take_due,
    unlisted,
)
from redis_streams_aio.connection.steps.retrying import Failed, failures
from redis_streams_aio.connection.steps.script import Step
from redis_streams_aio.connection.steps.sending import send_one
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.abandoned import Reclaimer
from redis_streams_aio.consumer.intake.cleaner import Cleaner
from redis_streams_aio.events import keys
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT
from tests.integration.steps.conftest import WHO, Deliver, pending

T = TypeVar("T")
PARKED, FAILURES = "{orders}:billing:parked", "{orders}:billing:failures"
BOB = WHO._replace(name="bob")
PAST, LATER = 1_700_000_000_000, 99_000_000_000_000
"""Times of the server's clock: long ago, and in a thousand years."""


async def run(connection: Connection, step: Step[T]) -> T:
    return await send_one(connection.link("settle"), step)


async def parks(connection: Connection, *entries: Parking, who: Consumer = WHO) -> Parked:
    return await run(connection, park(who, entries))


async def takes(connection: Connection, room: int = 100, who: Consumer = BOB) -> Due:
    return await run(connection, take_due(who, room))


def holdings(connection: Connection, who: Consumer = BOB) -> Holdings:
    return Holdings(Shared(connection, SILENT), SubscriptionOptions(stream=who.stream, group=who.group), who.name)


async def reclaimed(connection: Connection) -> list[bytes]:
    """The entries that a consumer which has just started would take over."""
    found: list[bytes] = []

    class Noting(Reclaimer):
        async def _take(self, claims: Sequence[Claim]) -> list[Delivery]:
            found.extend(one.id for one in claims)
            return []

    async for _ in Noting(holdings(connection)).run(1000):
        pass
    return found


# -- parking ------------------------------------------------------------------------------------------------------


async def test_p7_an_entry_is_parked_and_taken_when_it_is_due(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    soon, later = await deliver(2)
    await run(connection, failures(WHO, [Failed(soon, 1000, 1, 0, "x")]))
    assert await parks(connection, Parking(soon, PAST, 0), Parking(later, LATER, 3)) == Parked([soon, later], [])
    assert await pending(redis) == {soon: keys.PARKED, later: keys.PARKED}
    found = await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 2)
    assert [one["times_delivered"] for one in found] == [0, 3]
    taken = await takes(connection)
    assert [(one.id, one.fields) for one in taken.entries] == [(soon, [b"number", b"0"])]
    assert (taken.gone, taken.next_ms) == ([], LATER)
    now, micros = await redis.time()
    assert abs(taken.now_ms - now * 1000 - micros // 1000) < 60_000
    assert await pending(redis) == {soon: "bob", later: keys.PARKED}
    assert (await takes(connection)).entries == []
    [history] = (await recall(connection, BOB, [(soon, True)])).histories
    assert isinstance(history, History)
    assert (history.deliveries, history.failures is not None) == (1, True), "counted once it has arrived"


async def test_p5_due_entries_come_in_the_order_of_due_time_and_id(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    await deliver(1)
    ids = [f"{10**15}-{number}".encode() for number in (1, 2, 9, 10, 11, 100)]
    for entry_id in ids:
        await redis.xadd(WHO.stream, {"a": "b"}, id=entry_id)
    await redis.xreadgroup(WHO.group, WHO.name, {WHO.stream: ">"})
    await parks(connection, *(Parking(entry_id, PAST, 0) for entry_id in reversed(ids[1:])))
    await parks(connection, Parking(ids[0], PAST + 1, 0))
    came: list[bytes] = []
    while (taken := await takes(connection, 2)).entries:
        assert len(taken.entries) <= 2
        came += [one.id for one in taken.entries]
    assert came == [*ids[1:], ids[0]]
    assert taken.next_ms is None


async def test_p4_nothing_is_parked_that_is_not_ours(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    held, lost, settled = await deliver(3)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.xack(WHO.stream, WHO.group, settled)
    entries = [Parking(entry_id, LATER, 0) for entry_id in (held, lost, settled)]
    assert await parks(connection, *entries) == Parked([held], [])
    assert await pending(redis) == {held: keys.PARKED, lost: "bob"}
    assert await redis.zcard(PARKED) == 1
    again = [one._replace(due_ms=PAST, deliveries=7) for one in entries]
    assert await parks(connection, *again) == Parked([held], []), "its answer was lost"
    assert (await takes(connection)).next_ms == LATER, "another consumer may have parked it anew meanwhile"


async def test_p20_parking_tells_of_deleted_entries(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    gone, held, vanishes = await deliver(3)
    await redis.xdel(WHO.stream, gone)
    entries = [Parking(entry_id, PAST, 0) for entry_id in (gone, held, vanishes)]
    assert await parks(connection, *entries) == Parked([held, vanishes], [gone])
    await redis.xdel(WHO.stream, vanishes)
    await redis.hset(FAILURES, vanishes.decode(), "x")
    taken = await takes(connection)
    assert ([one.id for one in taken.entries], taken.gone) == ([held], [vanishes])
    assert await pending(redis) == {held: "bob"}
    assert (await redis.exists(PARKED), await redis.exists(FAILURES)) == (0, 0)


async def test_each_parked_entry_is_taken_by_one_consumer(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    ids = await deliver(300)
    await parks(connection, *(Parking(entry_id, PAST, 0) for entry_id in ids))
    who = [WHO._replace(name=f"c{number}") for number in range(10)]
    taken = await asyncio.gather(*(takes(connection, 20, each) for each in who for _ in range(3)))
    came = [one.id for each in taken for one in each.entries]
    assert sorted(came) == sorted(ids)
    assert keys.PARKED not in (await pending(redis)).values()


async def test_members_that_say_nothing_are_dropped_when_due(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    settled, taken_over, held = await deliver(3)
    await parks(connection, *(Parking(entry_id, PAST, 0) for entry_id in (settled, taken_over, held)))
    await redis.xack(WHO.stream, WHO.group, settled)
    await redis.xclaim(WHO.stream, WHO.group, "cat", 0, [taken_over])
    await redis.zadd(PARKED, {"mine": 1, "99999999999999999999-1": 1, "1-1": 1})
    await redis.zadd(PARKED, {"far": "+inf"})
    taken = await takes(connection)
    assert [one.id for one in taken.entries] == [held]
    assert (await redis.zrange(PARKED, 0, -1), taken.next_ms) == (["far"], 2**53)
    assert await pending(redis) == {taken_over: "cat", held: "bob"}


async def test_parking_that_is_refused_changes_nothing(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(PARKED, "no set")
    with pytest.raises(StreamTypeError):
        await parks(connection, Parking(held, LATER, 0))
    await redis.delete(PARKED)
    await redis.execute_command("ACL", "SETUSER", "default", "-zadd")
    try:
        with pytest.raises(PermissionDeniedError, match=re.escape(PARKED)):
            await parks(connection, Parking(held, LATER, 0))
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+@all")
    assert await pending(redis) == {held: "ann"}


@pytest.mark.parametrize("who", [WHO._replace(group="gone"), WHO._replace(stream="nowhere")])
async def test_parking_where_nothing_is(connection: Connection, redis: Redis, deliver: Deliver, who: Consumer) -> None:
    await deliver(1)
    with pytest.raises(GroupNotFoundError):
        await parks(connection, Parking(b"1-0", LATER, 0), who=who)
    await redis.zadd(keys.parked(who.stream, who.group), {"1-0": 1})
    with pytest.raises(GroupNotFoundError):
        await takes(connection, who=who)
    assert await redis.zcard(keys.parked(who.stream, who.group)) == 1, "the group may come again"
    with pytest.raises(GroupNotFoundError):
        await run(connection, sweep_parked(who))


# -- what others do with parked entries ---------------------------------------------------------------------------


async def test_p2_parked_entries_are_nobodys_to_take_over(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    held, abandoned = await deliver(2)
    await parks(connection, Parking(held, LATER, 0))
    for owner, entry_id in ((keys.PARKED, held), ("dead", abandoned)):
        await redis.xclaim(WHO.stream, WHO.group, owner, 0, [entry_id], idle=86_400_000, justid=True)
    assert await reclaimed(connection) == [abandoned]
    reclaimer = Reclaimer(holdings(connection))
    async for _ in reclaimer.run(100):
        pass
    assert await pending(redis) == {held: keys.PARKED, abandoned: "bob"}
    assert reclaimer.next_look > asyncio.get_running_loop().time() + 1, "it is not looked for again and again"


async def test_p2_parked_entries_whose_set_was_deleted_are_found(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    listed, missing = await deliver(2)
    await parks(connection, Parking(listed, LATER, 0), Parking(missing, LATER, 0))
    await redis.xclaim(WHO.stream, WHO.group, keys.PARKED, 0, [listed, missing], idle=86_400_000, justid=True)
    ms, seq = missing.split(b"-")
    assert await redis.zrem(PARKED, b"%020d-%020d" % (int(ms), int(seq))) == 1
    assert await reclaimed(connection) == [missing]
    assert [one.id for one in (await claim(connection, BOB, [Claim(keys.PARKED, 0, missing)])).entries] == [missing]
    await redis.delete(PARKED)
    assert await reclaimed(connection) == [listed]
    await redis.set(PARKED, "no set")
    assert await reclaimed(connection) == [listed]


async def test_p2_members_that_a_lost_group_left_are_swept(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    first, second = await deliver(2)
    await parks(connection, Parking(first, LATER, 0), Parking(second, LATER, 0))
    cleaner = Cleaner(holdings(connection))
    await cleaner.run_once(0.0)
    assert await redis.zcard(PARKED) == 2
    assert keys.PARKED in {one["name"] for one in await redis.xinfo_consumers(WHO.stream, WHO.group)}
    await redis.xgroup_destroy(WHO.stream, WHO.group)
    await cleaner.run_once(0.0)
    assert await redis.zcard(PARKED) == 2
    await redis.xgroup_create(WHO.stream, WHO.group, "0")
    await redis.xreadgroup(WHO.group, WHO.name, {WHO.stream: ">"}, count=1)
    await parks(connection, Parking(first, LATER, 0))
    await cleaner.run_once(0.0)
    assert await redis.zcard(PARKED) == 1
    assert await redis.zrange(PARKED, 0, -1) == ["{:020d}-{:020d}".format(*map(int, first.decode().split("-")))]
    await redis.set(PARKED, "no set")
    await cleaner.run_once(0.0)


async def test_the_set_goes_with_a_group_that_is_deleted(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await parks(connection, Parking(held, LATER, 0))
    await ConsumerGroupManager(connection).delete_group(WHO.stream, WHO.group)
    assert await redis.exists(PARKED) == 0


# -- replies ------------------------------------------------------------------------------------------------------

WRONG: list[Reply] = [None, b"OK", 1, [], [1], [b"no id"], [[]], [[], [], [], []], [b"x", b"y"], [[b"no id"], []]]


@pytest.mark.parametrize("reply", [*WRONG, [[], 1], [[None], []]])
def test_another_form_of_reply_to_parking_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        parked(reply)


@pytest.mark.parametrize("reply", [*WRONG, [b"1", b"", [[]]], [b"1", b"", [[b"no id", []]]], [b"-1", b"", []]])
def test_another_form_of_reply_to_due_entries_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        due(reply)


@pytest.mark.parametrize("reply", [None, b"OK", [], [b"1"], [b"1", b"2", b"3"], [1, 2]])
def test_another_form_of_reply_to_due_times_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        unlisted([b"1-0", b"2-0"], reply)


def test_the_replies() -> None:
    assert parked([[b"1-0"], None]) == Parked([b"1-0"], [])
    assert due([b"5", b"", None]) == Due(5, None, [], [])
    assert due([b"5", b"7", [[b"1-0", [b"a", b"b"]], [b"2-0"]]]).gone == [b"2-0"]
    assert unlisted([b"1-0", b"2-0"], [b"5", None]) == [b"2-0"]
    assert due_times(WHO, [b"17-3"]) == ("ZMSCORE", PARKED, b"%020d-%020d" % (17, 3))
