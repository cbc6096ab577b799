"""`SafeTrim` and the command `trim --safe`: what every group has settled goes, and is counted before (P21, P34)."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis

from redis_streams_aio import ConfigError, Connection, StreamNotFoundError
from redis_streams_aio.cli.app import app
from redis_streams_aio.monitoring import trimming
from redis_streams_aio.monitoring.trimming import SafeTrim


async def fill(redis: Redis, count: int) -> list[str]:
    pipeline = redis.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd("orders", {"number": number}, id=f"{1700 + number}-0")
    return list(await pipeline.execute())


async def settle(redis: Redis, group: str, count: int, *, but: int = -1) -> None:
    if not any(info["name"] == group for info in await redis.xinfo_groups("orders")):
        await redis.xgroup_create("orders", group, "0")
    [[_, entries]] = await redis.xreadgroup(group, "ann", {"orders": ">"}, count=count)
    await redis.xack("orders", group, *(each for index, (each, _) in enumerate(entries) if index != but))


async def left(redis: Redis) -> list[str]:
    return [entry_id for entry_id, _ in await redis.xrange("orders")]


async def cli(url: str, *arguments: str, answer: str | None = None) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["trim", "orders", *arguments, "--url", url], answer)


# -- the part -----------------------------------------------------------------------------------------------------


async def test_p21_a_plan_says_exactly_what_a_trim_deletes(connection: Connection, redis: Redis) -> None:
    ids = await fill(redis, 2_500)
    await settle(redis, "billing", 2_400)
    await settle(redis, "audit", 2_300, but=1_200)
    trim = SafeTrim(connection, "orders")
    plan = await trim.plan()
    assert (plan.count, plan.is_exact, plan.length, plan.before) == (1_200, True, 2_500, ids[1_200])
    assert plan.kept_for == ("audit",)
    assert await redis.xlen("orders") == 2_500, "a plan changes nothing"
    assert await trim.run() == 1_200
    assert await left(redis) == ids[1_200:]
    assert (await trim.plan()).count == await trim.run() == 0


@pytest.mark.parametrize("seed", range(20))
async def test_p21_a_plan_and_its_trim_agree_wherever_groups_are(
    seed: int, connection: Connection, redis: Redis
) -> None:
    chance = random.Random(seed)
    count = chance.randint(1, 700)
    ids = await fill(redis, count)
    for group in ("a", "b", "c")[: chance.randint(0, 3)]:
        await settle(redis, group, chance.randint(1, count), but=chance.randint(-1, count))
    trim = SafeTrim(connection, "orders", max_age=chance.choice([None, 0, 60, 10**8, 10**10]))
    plan = await trim.plan()
    assert await trim.run() == plan.count
    assert await left(redis) == ids[plan.count :]


async def test_p21_age_and_length_only_make_it_delete_less(connection: Connection, redis: Redis) -> None:
    await fill(redis, 1_000)
    await settle(redis, "billing", 900)
    assert (await SafeTrim(connection, "orders", max_age=10**10).plan()).count == 0, "older than 300 years"
    assert (await SafeTrim(connection, "orders", max_age=60).plan()).count == 900
    trim = SafeTrim(connection, "orders", max_length=400)
    assert (await trim.plan()).count == 600
    assert 400 <= 1_000 - await trim.run() <= 500


async def test_p21_groups_that_do_not_exist_keep_everything_if_they_are_named(
    connection: Connection, redis: Redis
) -> None:
    await fill(redis, 10)
    await settle(redis, "billing", 10)
    trim = SafeTrim(connection, "orders", groups=["audit"])
    plan = await trim.plan()
    assert (plan.count, plan.kept_for) == (0, ("audit",))
    assert await trim.run() == 0


async def test_a_long_count_stops(connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "COUNTED_AT_MOST", 1_000)
    await fill(redis, 2_500)
    await settle(redis, "billing", 2_400)
    plan = await SafeTrim(connection, "orders").plan()
    assert (plan.count, plan.is_exact) == (1_000, False)


async def test_wrong_arguments_are_refused(connection: Connection) -> None:
    for wrong in ({"max_age": -1}, {"max_age": "7d"}, {"max_length": -1}, {"max_length": 1.5}, {"groups": "billing"}):
        with pytest.raises(ConfigError):
            SafeTrim(connection, "orders", **wrong)  # type: ignore[arg-type]
    with pytest.raises(StreamNotFoundError, match="'orders'"):
        await SafeTrim(connection, "orders").plan()


# -- the command --------------------------------------------------------------------------------------------------


async def test_p34_a_dry_run_counts_and_shows_the_step(url: str, redis: Redis) -> None:
    ids = await fill(redis, 10)
    await settle(redis, "billing", 10)
    await settle(redis, "audit", 4)
    dry = await cli(url, "--safe", "--dry-run")
    assert dry.exit_code == 0
    first, *rest = dry.stdout.splitlines()
    assert first == f"4 of 10 entries would be deleted, those before {ids[4]}; the others are kept for audit"
    assert any("EVALSHA" in line for line in rest)
    assert any("XTRIM" in line for line in rest)
    assert await left(redis) == ids
    record = json.loads((await cli(url, "--safe", "--dry-run", "--json")).stdout)
    assert (record["act"], record["stream"], record["count"]) == ("trim", "orders", 4)


async def test_p34_a_trim_is_told_with_who_did_it(url: str, redis: Redis) -> None:
    ids = await fill(redis, 10)
    await settle(redis, "billing", 6)
    done = await cli(url, "--safe", "--yes", "--by", "ada")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "6 deleted\n", "ada: trim orders: 6 deleted\n")
    assert await left(redis) == ids[6:]
    again = await cli(url, "--safe", "--yes", "--by", "ada")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "0 deleted\n", "")


async def test_p34_without_safe_or_a_terminal_nothing_is_deleted(url: str, redis: Redis) -> None:
    ids = await fill(redis, 10)
    await settle(redis, "billing", 6)
    unsafe = await cli(url, "--yes")
    assert (unsafe.exit_code, "--safe" in unsafe.stderr) == (2, True)
    assert (await cli(url, "--safe")).exit_code == 2
    assert (await cli(url, "--safe", "--max-age", "soon", "--yes")).exit_code == 2
    assert await left(redis) == ids


async def test_p34_options_narrow_a_trim(url: str, redis: Redis, tmp_path) -> None:
    await fill(redis, 1_000)
    await settle(redis, "billing", 900)
    told = (await cli(url, "--safe", "--max-length", "950", "--max-age", "7d", "--dry-run")).stdout
    assert told.startswith("50 of 1,000 entries would be deleted")
    told = (await cli(url, "--safe", "--group", "audit", "--dry-run")).stdout
    assert told == "0 of 1,000 entries would be deleted; the others are kept for audit\n"
    config = tmp_path / "config.yaml"
    config.write_text(
        "redis_streams: {streams: {orders: {retention: {acknowledged: true, groups: [mail]}}}}", encoding="utf-8"
    )
    told = (await cli(url, "--safe", "--config", str(config), "--dry-run")).stdout
    assert told == "0 of 1,000 entries would be deleted; the others are kept for mail\n"


async def test_a_stream_that_does_not_exist_is_an_error(url: str) -> None:
    result = await cli(url, "--safe", "--yes")
    assert result.exit_code == 1
    assert result.stderr == "Error: there is no stream 'orders'\n"
