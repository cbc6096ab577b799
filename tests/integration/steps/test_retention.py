"""Retention: no step deletes what a group has not settled, unless a bound says so; and then it is counted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, StreamTypeError
from redis_streams_aio.connection.steps import retention
from redis_streams_aio.connection.steps.retention import GONE_FOR_MS, MOST, GroupState, Rules, Swept, sweep, sweeping
from redis_streams_aio.testing.servers import Server

NOTES = "{orders}:redis_streams_aio:retention"
SETTLED = Rules(keep_settled=0)


async def step(connection: Connection, rules: Rules, who: str = "", turn: float = 15.0) -> Swept:
    found = await sweep(connection, sweeping("orders", rules, who, turn))
    assert found is not None
    return found


async def all_steps(connection: Connection, rules: Rules, who: str = "") -> Swept:
    """As many steps as there are to do; the last result."""
    while (found := await step(connection, rules, who)).more:
        pass
    return found


async def add(redis: Redis, count: int, size: int = 1) -> list[str]:
    pipeline = redis.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd("orders", {"payload": "x" * size})
    return list(await pipeline.execute())


async def read(redis: Redis, group: str, count: int) -> list[str]:
    found = await redis.xreadgroup(group, "ann", {"orders": ">"}, count=count)
    return [entry_id for _, entries in found for entry_id, _ in entries]


async def settle(redis: Redis, group: str, count: int) -> list[str]:
    ids = await read(redis, group, count)
    await redis.xack("orders", group, *ids)
    return ids


async def left(redis: Redis) -> list[str]:
    return [entry_id for entry_id, _ in await redis.xrange("orders")]


def named(found: Swept, name: str) -> GroupState:
    return next(group for group in found.groups if group.name == name)


# -- what all groups have settled ---------------------------------------------------------------------------------


async def test_p21_what_all_groups_have_settled_goes_and_nothing_else(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 250)
    for group in ("billing", "mail"):
        await redis.xgroup_create("orders", group, "0")
    await settle(redis, "billing", 240)
    await settle(redis, "mail", 130)
    assert (await all_steps(connection, SETTLED)).length == 120
    assert await left(redis) == ids[130:]


async def test_p21_a_pending_entry_keeps_all_that_came_after_it(connection: Connection, redis: Redis) -> None:
    """Also if it is parked, or in the hands of somebody who iterates: both are pending."""
    ids = await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "0")
    await read(redis, "billing", 10)
    await redis.xack("orders", "billing", *ids[:3], *ids[4:])
    await redis.xclaim("orders", "billing", "redis_streams_aio:parked", 0, [ids[3]])
    await all_steps(connection, SETTLED)
    assert await left(redis) == ids[3:]
    await redis.xack("orders", "billing", ids[3])
    await all_steps(connection, SETTLED)
    assert await left(redis) == []


async def test_p21_a_group_that_was_just_made_gets_everything_from_its_start(
    connection: Connection, redis: Redis
) -> None:
    ids = await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "$")
    await redis.xgroup_create("orders", "audit", "0")
    await all_steps(connection, SETTLED)
    assert await left(redis) == ids
    await redis.xgroup_setid("orders", "audit", ids[5])
    await all_steps(connection, SETTLED)
    assert await left(redis) == ids[6:]


async def test_p21_a_group_that_was_moved_back_gets_what_is_left(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "0")
    await settle(redis, "billing", 10)
    await redis.xgroup_setid("orders", "billing", ids[4])
    await all_steps(connection, SETTLED)
    assert await left(redis) == ids[5:]


async def test_p21_without_a_group_nothing_goes(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 10)
    await all_steps(connection, SETTLED, "me")
    assert await left(redis) == ids


async def test_p21_a_group_that_does_not_exist_yet_counts_if_it_is_named(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "$")
    found = await all_steps(connection, Rules(keep_settled=0, groups=["billing", "audit"]))
    assert named(found, "audit").read == "-"
    assert await left(redis) == ids
    await redis.xgroup_create("orders", "audit", ids[3])
    await all_steps(connection, Rules(keep_settled=0, groups=["billing", "audit"]))
    assert await left(redis) == ids[4:]


async def test_p21_a_lost_group_counts_until_it_can_be_recreated(connection: Connection, redis: Redis) -> None:
    """Its consumers recreate it at its checkpoint."""
    ids = await add(redis, 10)
    for group in ("billing", "audit"):
        await redis.xgroup_create("orders", group, "0")
    await step(connection, SETTLED, "me")
    await settle(redis, "billing", 10)
    await redis.xgroup_destroy("orders", "audit")
    await step(connection, SETTLED, "me")
    await age(redis, GONE_FOR_MS - 5_000)
    await step(connection, SETTLED, "me")
    assert await left(redis) == ids
    await age(redis, 5_001)
    await all_steps(connection, SETTLED, "me")
    assert await left(redis) == []
    assert "group:audit" not in await redis.hkeys(NOTES)


async def age(redis: Redis, by_ms: int, *groups: str) -> None:
    """Make older what is remembered of these groups, or of all."""
    for name, value in (await redis.hgetall(NOTES)).items():
        if name.startswith("group:") and (not groups or name.removeprefix("group:") in groups):
            place, placed, last, stood = value.split()
            await redis.hset(NOTES, name, f"{place} {int(placed) - by_ms} {last} {int(stood) - by_ms}")


async def test_p21_settled_entries_stay_for_as_long_as_they_shall(connection: Connection, redis: Redis) -> None:
    await redis.xadd("orders", {"a": "b"}, id="1700-0")
    [young] = await add(redis, 1)
    await redis.xgroup_create("orders", "billing", "$")
    await all_steps(connection, Rules(keep_settled=3600))
    assert await left(redis) == [young]


async def test_p21_deleting_settled_entries_leaves_as_many_as_it_shall(connection: Connection, redis: Redis) -> None:
    await add(redis, 1_000)
    await redis.xgroup_create("orders", "billing", "$")
    assert 250 <= (await all_steps(connection, Rules(keep_settled=0, leave=250))).length <= 350


async def test_p21_an_abandoned_group_counts_no_more_if_that_is_said(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 10)
    for group in ("billing", "gone"):
        await redis.xgroup_create("orders", group, "0")
    await settle(redis, "billing", 5)
    await settle(redis, "gone", 2)
    await read(redis, "gone", 1)
    rules = Rules(keep_settled=0, abandoned_after=3600)
    await all_steps(connection, rules, "me")
    await age(redis, 3_500_000, "gone")
    await all_steps(connection, rules, "me")
    assert await left(redis) == ids[2:]
    await age(redis, 100_001, "gone")
    found = await all_steps(connection, rules, "me")
    assert await left(redis) == ids[5:]
    assert (named(found, "gone").counts, named(found, "gone").taken_abandoned) == (False, 3)
    assert named(found, "billing").taken_abandoned == 0
    await read(redis, "gone", 1)
    await settle(redis, "billing", 5)
    assert named(await all_steps(connection, rules, "me"), "gone").counts, "it reads again, so it counts again"
    assert (await left(redis))[-1] == ids[-1]


async def test_p21_time_in_which_nobody_swept_makes_no_group_abandoned(connection: Connection, redis: Redis) -> None:
    """All processes were down, and start again: the group had nobody to read for it."""
    ids = await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xgroup_create("orders", "quick", "$")
    rules = Rules(keep_settled=0, abandoned_after=3600)
    await step(connection, rules, "me")
    await age(redis, 7_200_000)
    await redis.hincrby(NOTES, "until", -7_200_000)
    assert named(await step(connection, rules, "other"), "billing").counts
    assert await left(redis) == ids


# -- bounds -------------------------------------------------------------------------------------------------------


async def test_p21_an_age_takes_what_is_older_and_counts_what_was_not_settled(
    connection: Connection, redis: Redis
) -> None:
    for number in range(1, 301):
        await redis.xadd("orders", {"a": "b"}, id=f"{number}-0")
    for group in ("billing", "mail", "idle", "done"):
        await redis.xgroup_create("orders", group, "0")
    await settle(redis, "billing", 150)
    mail = await read(redis, "mail", 200)
    await redis.xack("orders", "mail", *mail[:180], *mail[190:])
    await settle(redis, "done", 300)
    [young] = await add(redis, 1)
    lost = dict.fromkeys(("billing", "mail", "idle", "done"), 0)
    for _ in range(20):
        found = await step(connection, Rules(max_age=3600))
        for group in found.groups:
            lost[group.name] += group.taken_by_age
    assert await left(redis) == [young]
    assert lost == {"billing": 150, "mail": 10 + 100, "idle": 300, "done": 0}


@pytest.mark.parametrize("seed", range(30))
async def test_p21_what_is_taken_is_counted_exactly(seed: int, connection: Connection, redis: Redis) -> None:
    """With any places of any groups, for the settled, the abandoned and the old: counted against what is left."""
    chance = random.Random(seed)
    ids = [f"{number}-{chance.randint(0, 3)}" for number in range(1, chance.randint(50, 400))]
    for entry_id in ids:
        await redis.xadd("orders", {"a": "b" * chance.choice([1, 50])}, id=entry_id)
    settled: dict[str, set[str]] = {}
    for group in ("a", "b", "c")[: chance.randint(1, 3)]:
        await redis.xgroup_create("orders", group, chance.choice(["0", "0", chance.choice(ids)]))
        read_ids = await read(redis, group, chance.randint(1, len(ids)))
        acked = {each for each in read_ids if chance.random() < chance.choice([0.5, 0.99])}
        if acked:
            await redis.xack("orders", group, *acked)
        [info] = [each for each in await redis.xinfo_groups("orders") if each["name"] == group]
        pending = {each["message_id"] for each in await redis.xpending_range("orders", group, "-", "+", 1000)}
        place = tuple(map(int, info["last-delivered-id"].split("-")))
        settled[group] = {each for each in ids if tuple(map(int, each.split("-"))) <= place} - pending
    safe = ids.index(next((each for each in ids if any(each not in by for by in settled.values())), ids[-1]))
    if all(ids[-1] in by for by in settled.values()) and safe == len(ids) - 1:
        safe = len(ids)
    await all_steps(connection, SETTLED)
    assert await left(redis) == ids[safe:]
    lost = dict.fromkeys(settled, 0)
    while True:
        found = await step(connection, Rules(max_age=60))
        for group in found.groups:
            lost[group.name] += group.taken_by_age
        if not found.more:
            break
    assert await left(redis) == []
    assert lost == {group: len(set(ids[safe:]) - by) for group, by in settled.items()}


async def test_p21_what_publishers_trim_is_counted_at_the_next_step(connection: Connection, redis: Redis) -> None:
    ids = await add(redis, 500)
    for group in ("billing", "mail", "done"):
        await redis.xgroup_create("orders", group, "0")
    await settle(redis, "billing", 100)
    await read(redis, "mail", 150)
    await settle(redis, "done", 500)
    assert [group.taken_before for group in (await step(connection, Rules(max_length=500), "me")).groups] == [0, 0, 0]
    await redis.xtrim("orders", minid=ids[200], approximate=False)
    found = await step(connection, Rules(max_length=500), "me")
    assert {group.name: group.taken_before for group in found.groups} == {"billing": 100, "mail": 200, "done": 0}
    await redis.xtrim("orders", minid=ids[300], approximate=False)
    found = await step(connection, Rules(max_length=500), "me")
    assert {group.name: group.taken_before for group in found.groups} == {"billing": 100, "mail": 100, "done": 0}
    found = await step(connection, Rules(max_length=500), "me")
    assert {group.taken_before for group in found.groups} == {0}, "once"


async def test_p21_a_stream_to_which_others_publish_keeps_its_length_too(connection: Connection, redis: Redis) -> None:
    await add(redis, 5_000)
    for _ in range(6):
        await step(connection, Rules(max_length=700), "me")
    assert 700 <= await redis.xlen("orders") <= 800


# -- turns --------------------------------------------------------------------------------------------------------


async def test_p21_one_process_sweeps_at_a_time_and_another_goes_on(connection: Connection, redis: Redis) -> None:
    await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "$")
    await step(connection, Rules(max_age=3600), "ann")
    assert await sweep(connection, sweeping("orders", SETTLED, "bob", 15)) is None
    assert await redis.xlen("orders") == 10
    await redis.hincrby(NOTES, "until", -16_000)
    await step(connection, SETTLED, "bob")
    assert await redis.xlen("orders") == 0
    assert await sweep(connection, sweeping("orders", SETTLED, "ann", 15)) is None


async def test_p21_what_is_remembered_goes_with_the_sweeps(connection: Connection, redis: Redis) -> None:
    await add(redis, 1)
    await step(connection, SETTLED, "me")
    assert 0 < await redis.pttl(NOTES) <= retention.REMEMBERED_MS
    await redis.delete(NOTES)
    await step(connection, SETTLED)
    assert not await redis.exists(NOTES), "by hand nothing is remembered"


async def test_a_stream_that_does_not_exist_is_nothing_to_sweep(connection: Connection, redis: Redis) -> None:
    assert await sweep(connection, sweeping("orders", SETTLED, "me", 15)) is None
    await redis.set("orders", "text")
    with pytest.raises(StreamTypeError):
        await sweep(connection, sweeping("orders", SETTLED, "me", 15))


async def test_p21_a_stream_that_was_recreated_is_another_one(connection: Connection, redis: Redis) -> None:
    await add(redis, 100)
    await redis.xgroup_create("orders", "billing", "0")
    await step(connection, Rules(max_length=500), "me")
    await redis.delete("orders")
    await add(redis, 10)
    await redis.xgroup_create("orders", "billing", "0")
    assert named(await step(connection, Rules(max_length=500), "me"), "billing").taken_before == 0


async def test_p21_sequences_beyond_what_lua_can_count_lose_nothing(connection: Connection, redis: Redis) -> None:
    largest = 2**64 - 1
    for sequence in (largest - 2, largest - 1, largest):
        await redis.xadd("orders", {"a": "b"}, id=f"5-{sequence}")
    await redis.xgroup_create("orders", "billing", f"5-{largest - 2}")
    await all_steps(connection, SETTLED)
    assert (await left(redis))[-2:] == [f"5-{largest - 1}", f"5-{largest}"]


# -- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "most"), [(10, MOST), (100_000, 40), (1_000_000, 8)])
async def test_p21_a_step_is_small_also_where_entries_are_large(
    size: int, most: int, connection: Connection, redis: Redis
) -> None:
    await add(redis, 1_500 if size < 1_000 else 60, size)
    await redis.xgroup_create("orders", "billing", "$")
    first = await step(connection, SETTLED)
    assert (first.more, 0 < first.trimmed <= most) == (True, True)


async def test_p21_a_step_is_small_also_where_nodes_have_many_large_entries(new_server: Callable[..., Server]) -> None:
    server = new_server("--stream-node-max-bytes", "0")
    async with Connection(server.url) as connection, Redis.from_url(server.url, decode_responses=True) as redis:
        await add(redis, 350, 100_000)
        await redis.xgroup_create("orders", "billing", "$")
        steps = [await step(connection, SETTLED) for _ in range(5)]
        assert [each.trimmed for each in steps] == [100, 100, 100, 50, 0]
        assert [each.more for each in steps] == [True, True, True, True, False]


async def test_p21_a_full_redis_can_be_swept(new_server: Callable[..., Server]) -> None:
    server = new_server("--maxmemory-policy", "noeviction")
    async with Connection(server.url) as connection, Redis.from_url(server.url, decode_responses=True) as redis:
        await add(redis, 300)
        await redis.xgroup_create("orders", "billing", "$")
        await redis.config_set("maxmemory", 1)
        await all_steps(connection, SETTLED, "me")
        assert await redis.xlen("orders") == 0
