"""Groups that are moved, copied, and deleted only if nobody uses them."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupExistsError, GroupNotFoundError, StreamTypeError
from redis_streams_aio.connection.steps.checkpoints import checkpoint
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.groups import Copied, copying, delete_group, use_of
from redis_streams_aio.connection.steps.parking import Parking, park
from redis_streams_aio.connection.steps.seeking import Sought, count_between, seeking
from redis_streams_aio.connection.steps.sending import run_step
from redis_streams_aio.events import keys
from redis_streams_aio.models import GroupUse
from tests.integration.steps.conftest import WHO, Deliver, pending

STREAM, GROUP = WHO.stream, WHO.group
CHECKPOINT, FAILURES, PARKED = (f"{{orders}}:billing:{name}" for name in ("checkpoint", "failures", "parked"))


async def move(connection: Connection, position: str, entries_read: int | None = None) -> Sought:
    return await run_step(connection, seeking(STREAM, GROUP, position, entries_read))


async def new_ones(redis: Redis, consumer: str = "bob") -> list[str]:
    """What the group delivers now."""
    found = await redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=100)
    return [entry_id for _, entries in found for entry_id, _ in entries]


async def group(redis: Redis, name: str = GROUP) -> dict[str, object]:
    [found] = [one for one in await redis.xinfo_groups(STREAM) if one["name"] == name]
    return dict(found)


# -- seek -------------------------------------------------------------------------------------------------------


async def test_a_move_back_releases_what_is_pending_behind_it(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    one, two, three, four = (entry.decode() for entry in await deliver(4))
    await redis.xack(STREAM, GROUP, three)
    await redis.hset(FAILURES, mapping={one: "a", two: "b", f"{two}:history": "c", f"{two}:finished": ""})
    await run_step(connection, park(WHO, [Parking(four.encode(), 9_000_000_000_000, 1)]))
    assert await move(connection, one) == Sought(before=four, position=one, released=2)
    assert await pending(redis) == {one.encode(): WHO.name}, "it is not behind the position"
    assert await redis.hkeys(FAILURES) == [one]
    assert await redis.zcard(PARKED) == 0
    assert await new_ones(redis) == [two, three, four]


async def test_p18_the_stored_checkpoint_moves_with_the_group(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    one, two, three = (entry.decode() for entry in await deliver(3))
    await redis.xack(STREAM, GROUP, one, two, three)
    await move(connection, "0-0")
    assert not await redis.exists(CHECKPOINT), "there was none"
    await redis.set(CHECKPOINT, three)
    for position, pending_now, expected in (("0-0", [], "0-0"), (two, [], two), ("$", [], three)):
        await move(connection, position)
        assert await redis.get(CHECKPOINT) == expected, pending_now
        assert (await checkpoint(connection, STREAM, GROUP)).id == expected
    await move(connection, one)
    assert await new_ones(redis) == [two, three]
    await redis.xack(STREAM, GROUP, three)
    await move(connection, "$")
    assert await redis.get(CHECKPOINT) == (await checkpoint(connection, STREAM, GROUP)).id < two


async def test_a_full_redis_loses_the_checkpoint_and_does_not_leave_it_ahead(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    one, two = (entry.decode() for entry in await deliver(2))
    await redis.set(CHECKPOINT, two)
    await redis.config_set("maxmemory", "1")
    try:
        assert (await move(connection, "0-0")).position == "0-0"
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.get(CHECKPOINT) in (None, "0-0")
    assert await new_ones(redis) == [one, two]


@pytest.mark.parametrize("beyond", ["$", "99999999999999-0", "18446744073709551615-18446744073709551615"])
async def test_nothing_that_is_yet_to_come_is_skipped(
    connection: Connection, redis: Redis, deliver: Deliver, beyond: str
) -> None:
    await deliver(1)
    last = await redis.xadd(STREAM, {"a": "b"})
    assert (await move(connection, beyond)).position == last
    assert (await group(redis))["lag"] == 0
    came = await redis.xadd(STREAM, {"a": "b"})
    assert (await group(redis))["lag"] == 1
    assert await new_ones(redis) == [came]


async def test_the_lag_is_known_where_the_number_of_entries_read_is(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    one, _, _ = (entry.decode() for entry in await deliver(3))
    await move(connection, one, 1)
    assert (await group(redis))["lag"] == 2


async def test_thousands_of_pending_entries_are_released(connection: Connection, redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(2500):
            pipe.xadd(STREAM, {"a": number}, f"{number + 1}-0")
        pipe.xgroup_create(STREAM, GROUP, "0")
        pipe.xreadgroup(GROUP, "ann", {STREAM: ">"}, count=2500)
        await pipe.execute()
    assert (await move(connection, "100-0")).released == 2400
    assert len(await pending(redis)) == 100
    assert await count_between(connection, STREAM, "100-0", "2500-0", 10_000) == 2400
    assert await count_between(connection, STREAM, "0-0", "2500-0", 10_000) == 2500
    assert await count_between(connection, STREAM, "2500-0", "2500-0", 10_000) == 0
    assert await count_between(connection, STREAM, "0-0", "2500-0", 1000) == 1000, "as many as were asked for"


async def test_p1_a_replay_behind_the_position_comes_again(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """An entry that a drain released, and that nobody has taken over yet."""
    [entry] = await deliver(1)
    await redis.xclaim(STREAM, GROUP, keys.RELEASED, 0, [entry])
    assert (await move(connection, "0-0")).released == 1
    assert await new_ones(redis) == [entry.decode()]


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (WHO._replace(group="gone"), GroupNotFoundError),
        (WHO._replace(stream="nowhere"), GroupNotFoundError),
        (WHO._replace(stream="text"), StreamTypeError),
    ],
)
async def test_where_there_is_no_group_or_another_key(
    connection: Connection, redis: Redis, deliver: Deliver, who: Consumer, error: type[Exception]
) -> None:
    await deliver(1)
    await redis.set("text", "no stream")
    with pytest.raises((error, GroupNotFoundError.__base__ or error)):
        await run_step(connection, seeking(who.stream, who.group, "0-0", None))
    with pytest.raises((error, GroupNotFoundError.__base__ or error)):
        await run_step(connection, copying(who.stream, "new", who.group))


# -- copy -------------------------------------------------------------------------------------------------------


async def test_a_copy_has_the_same_entries_before_it(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    one, two, three = await deliver(3)
    await redis.xack(STREAM, GROUP, two)
    await redis.set("{orders}:mail:checkpoint", "99-0")
    late = await redis.xadd(STREAM, {"a": "b"})
    assert await run_step(connection, copying(STREAM, "mail", GROUP)) == Copied(three.decode(), 2)
    held = await redis.xpending_range(STREAM, "mail", "-", "+", 10)
    assert [entry["message_id"].encode() for entry in held] == [one, three]
    assert {entry["consumer"] for entry in held} == {keys.RELEASED}
    assert await redis.xreadgroup("mail", "m", {STREAM: ">"}) == [[STREAM, [(late, {"a": "b"})]]]
    assert (await group(redis, "mail"))["lag"] == 0
    assert await pending(redis) == {one: WHO.name, three: WHO.name}, "the other group is as it was"
    assert not await redis.exists("{orders}:mail:checkpoint")
    with pytest.raises(GroupExistsError):
        await run_step(connection, copying(STREAM, "mail", GROUP))


async def test_a_copy_leaves_out_entries_that_are_gone(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    one, two = await deliver(2)
    await redis.xdel(STREAM, one)
    assert (await run_step(connection, copying(STREAM, "mail", GROUP))).pending == 1
    [held] = await redis.xpending_range(STREAM, "mail", "-", "+", 10)
    assert held["message_id"].encode() == two


async def test_a_copy_of_thousands_of_pending_entries(connection: Connection, redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(2500):
            pipe.xadd(STREAM, {"a": number}, f"{number + 1}-0")
        pipe.xgroup_create(STREAM, GROUP, "0")
        pipe.xreadgroup(GROUP, "ann", {STREAM: ">"}, count=2400)
        await pipe.execute()
    assert await run_step(connection, copying(STREAM, "mail", GROUP)) == Copied("2400-0", 2400)


# -- use --------------------------------------------------------------------------------------------------------


async def test_p34_a_group_in_use_is_not_deleted(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    assert (await use_of(connection, STREAM, GROUP)).pending == 1
    assert await delete_group(connection, STREAM, GROUP, 1000, only_unused=True) is False, "an entry is pending"
    await redis.xack(STREAM, GROUP, held)
    await redis.hset("{orders}:billing:leases", WHO.name, "60000")
    assert await use_of(connection, STREAM, GROUP) == GroupUse(0, (WHO.name,))
    assert await delete_group(connection, STREAM, GROUP, 1000, only_unused=True) is False, "a consumer lives"
    await redis.xgroup_delconsumer(STREAM, GROUP, WHO.name)
    assert await use_of(connection, STREAM, GROUP) == GroupUse(0, ())
    assert await delete_group(connection, STREAM, GROUP, 1000, only_unused=True) is True
    with pytest.raises(GroupNotFoundError):
        await use_of(connection, STREAM, GROUP)


async def test_the_names_of_released_and_parked_entries_are_not_consumers(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.xclaim(STREAM, GROUP, keys.RELEASED, 0, [held])
    await redis.xgroup_delconsumer(STREAM, GROUP, WHO.name)
    assert await use_of(connection, STREAM, GROUP) == GroupUse(1, ())


async def test_a_consumer_of_another_program_lives_for_half_a_minute(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.xack(STREAM, GROUP, held)
    assert (await use_of(connection, STREAM, GROUP)).living == (WHO.name,)
