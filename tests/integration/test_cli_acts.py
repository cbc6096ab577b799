"""`seek` and `group`: commands that move, create, copy and delete groups (P34)."""

from __future__ import annotations

import asyncio
import json
import shlex
import time

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, ConsumerGroupManager, RetryPolicy, Settings
from redis_streams_aio.connection.steps.groups import COPY_GROUP, CREATE_GROUP, DELETE_GROUP
from redis_streams_aio.connection.steps.seeking import SEEK
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_cli import Process, invoke, is_one_error_line, process

OF = ("orders", "billing")


async def command(*arguments: str, url: str) -> Process:
    """An act that ends well, as a process: its result, and the line that says who did it."""
    done = await process(*arguments, "--yes", "--by", "ada", "--url", url)
    assert await done.ended() == 0, done.err
    return done


async def filled(redis: Redis, *numbers: int, read: int = 0) -> list[str]:
    """A stream of these events, and the group `billing` that has read and settled the first of them."""
    ids = [str(await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{n}}}'})) for n in numbers]
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)
    if read:
        await redis.xreadgroup("billing", "ann", {"orders": ">"}, count=read)
        await redis.xack("orders", "billing", *ids[:read])
    return ids


async def left(redis: Redis, group: str = "billing") -> list[str]:
    """What the group delivers now."""
    found = await redis.xreadgroup(group, "bob", {"orders": ">"}, count=100)
    return [entry_id for _, entries in found for entry_id, _ in entries]


async def info(redis: Redis, group: str = "billing") -> dict[str, object]:
    [found] = [one for one in await redis.xinfo_groups("orders") if one["name"] == group]
    return dict(found)


# -- seek -------------------------------------------------------------------------------------------------------


async def test_seek_to_an_id_delivers_what_is_behind_it_again(url: str, redis: Redis) -> None:
    ids = await filled(redis, *range(5), read=5)
    done = await command("seek", *OF, "--to", ids[1], url=url)
    assert done.out[0].startswith(f"orders / billing went back from {ids[4]} (20")
    assert done.out[0].endswith("): 3 entries delivered again")
    assert done.err == [f"ada: seek orders/billing: {done.out[0]}"]
    assert (await info(redis))["lag"] == 3
    assert await left(redis) == ids[2:]


async def test_seek_to_the_start_and_to_the_end(url: str, redis: Redis) -> None:
    ids = await filled(redis, *range(5), read=2)
    done = await command("seek", *OF, "--to", "end", url=url)
    assert " went forward from " in done.out[0]
    assert done.out[0].endswith(": 3 entries skipped")
    assert (await info(redis))["lag"] == 0
    done = await command("seek", *OF, "--to", "start", url=url)
    assert done.out[0].endswith("to the beginning: 5 entries delivered again")
    assert (await info(redis))["lag"] == 5
    assert await left(redis) == ids


async def test_seek_to_a_time(url: str, redis: Redis) -> None:
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)
    now = int(time.time())
    for hours in (48, 3, 2, 1):
        await redis.xadd("orders", {"a": "b"}, f"{now - hours * 3600}000-0")
    await left(redis)
    done = await command("seek", *OF, "--to", "150min", url=url)
    assert " right before " in done.out[0]
    assert await left(redis) == [f"{now - hours * 3600}000-0" for hours in (2, 1)]


async def test_seek_tells_of_pending_entries_and_of_living_consumers(url: str, redis: Redis) -> None:
    ids = await filled(redis, *range(4), read=1)
    await redis.xreadgroup("billing", "ann", {"orders": ">"}, count=2)
    done = await process("seek", *OF, "--to", ids[1], "--dry-run", "--url", url)
    said, *_ = done.out
    assert ": 1 entry delivered again, 1 of them pending until now (1 consumer is alive, and may handle" in said
    assert said.startswith("orders / billing would go back from ")
    assert len(await redis.xpending_range("orders", "billing", "-", "+", 10)) == 2, "nothing was changed"
    assert done.err == []
    done = await command("seek", *OF, "--to", ids[1], url=url)
    [pending] = await redis.xpending_range("orders", "billing", "-", "+", 10)
    assert pending["message_id"] == ids[1]
    assert await left(redis) == ids[2:]


async def test_p34_a_dry_run_of_seek_prints_the_command_that_it_would_send(url: str, redis: Redis) -> None:
    ids = await filled(redis, *range(5), read=5)
    result = await invoke("seek", *OF, "--to", ids[2], "--dry-run", "--json", "--url", url)
    record = json.loads(result.stdout)
    assert (record["act"], record["count"], record["dry_run"]) == ("seek", 2, True)
    [line] = record["commands"]
    await redis.script_load(SEEK.source)
    assert await redis.execute_command(*shlex.split(line)) == [ids[4], ids[2], 0]
    assert await left(redis) == ids[3:]


async def test_seek_that_moves_nothing_is_no_act(url: str, redis: Redis) -> None:
    ids = await filled(redis, 1, read=1)
    done = await command("seek", *OF, "--to", ids[0], url=url)
    assert done.out[0].startswith(f"orders / billing stayed at {ids[0]}")
    assert done.err == []


async def test_p1_events_behind_the_position_are_handled_again_by_a_broker_that_runs(url: str, redis: Redis) -> None:
    broker = Broker(url, group="billing", settings=Settings(block_ms=200, checkpoint_interval=0.05))
    handled: list[int] = []

    @broker.handler("orders", order="none", retry=RetryPolicy(max_failures=1000, base=60.0, jitter=False))
    async def bill(order: Order) -> None:
        handled.append(order.number)
        if order.number == 3 and handled.count(3) == 1:
            raise ValueError("it waits for a minute, and goes on waiting")

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(4)])
        await until(lambda: sorted(handled) == [0, 1, 2, 3])
        await until(lambda: redis.hlen("{orders}:billing:failures"))
        manager = ConsumerGroupManager(broker.connection)
        report = await manager.seek("orders", "billing", ids[0], dry_run=True)
        assert (report.again, report.pending_again) == (3, 1)
        assert await manager.seek("orders", "billing", ids[0]) == report
        await until(lambda: sorted(handled) == [0, 1, 1, 2, 2, 3])
        await broker.publish("orders", Order(9))
        await until(lambda: 9 in handled)


@pytest.mark.parametrize("wrong", ["soon", "2026", "", "-", "1-2-3", "2026-13-01", "99999999999999999999-1"])
async def test_other_positions_are_wrong_usage(wrong: str) -> None:
    for arguments in (["seek", *OF, "--to", wrong], ["group", "create", *OF, "--at", wrong]):
        result = await invoke(*arguments, "--yes")
        assert result.exit_code == 2
        assert "is neither start, end, an entry id" in result.stderr


# -- group ------------------------------------------------------------------------------------------------------


async def test_group_create_at_the_start_and_elsewhere(url: str, redis: Redis) -> None:
    ids = [str(await redis.xadd("orders", {"a": n})) for n in range(3)]
    assert (await command("group", "create", *OF, url=url)).out == ["orders / billing created at the beginning"]
    assert await left(redis) == ids
    done = await command("group", "create", "orders", "mail", "--at", ids[1], url=url)
    assert done.out[0].startswith(f"orders / mail created at {ids[1]} (20")
    assert done.err == [f"ada: group create orders/mail: {done.out[0]}"]
    await command("group", "create", "orders", "stats", "--at", "end", url=url)
    assert await left(redis, "mail") == ids[2:]
    assert (await info(redis, "stats"))["last-delivered-id"] == ids[2]
    result = await invoke("group", "create", *OF, "--yes", "--url", url)
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)


async def test_p34_the_commands_of_dry_runs_are_the_ones_that_are_sent(url: str, redis: Redis) -> None:
    ids = await filled(redis, *range(3))
    await redis.xreadgroup("billing", "ann", {"orders": ">"}, count=1)
    for script in (CREATE_GROUP, COPY_GROUP, DELETE_GROUP):
        await redis.script_load(script.source)
    for arguments, reply in (
        (("create", "orders", "mail"), "0"),
        (("copy", "orders", "billing", "stats"), [ids[0], 1]),
        (("delete", "orders", "billing", "--force"), 1),
    ):
        before = await redis.xinfo_groups("orders")
        result = await invoke("group", *arguments, "--dry-run", "--json", "--url", url)
        [line] = json.loads(result.stdout)["commands"]
        assert await redis.xinfo_groups("orders") == before
        assert await redis.execute_command(*shlex.split(line)) == reply
    assert [group["name"] for group in await redis.xinfo_groups("orders")] == ["mail", "stats"]


async def test_group_copy_has_the_same_events_before_it(url: str, redis: Redis) -> None:
    """What is pending in one group is handled by the consumers of its copy, and what is new too."""
    await filled(redis, *range(4), read=1)
    await redis.xreadgroup("billing", "ann", {"orders": ">"}, count=1)
    done = await command("group", "copy", "orders", "billing", "mail", url=url)
    assert done.out[0].endswith(", as billing, with 1 pending")
    broker = Broker(url, group="mail", settings=Settings(reclaim_interval=0.05))
    handled: list[int] = []

    @broker.handler("orders")
    async def mail(order: Order) -> None:
        handled.append(order.number)

    async with broker:
        await until(lambda: sorted(handled) == [1, 2, 3])
    assert (await info(redis))["pending"] == 1


async def test_group_delete_takes_the_keys_beside_the_stream(url: str, redis: Redis) -> None:
    await filled(redis, 1)
    for name in ("checkpoint", "failures", "released", "leases", "parked", "dead"):
        await redis.xadd(f"{{orders}}:billing:{name}", {"a": "b"})
    dry = await process("group", "delete", *OF, "--dry-run", "--url", url)
    said = "orders / billing would be deleted, with 0 pending entries and no living consumer (1 dead letters stay)"
    assert dry.out[0] == said
    done = await command("group", "delete", *OF, url=url)
    assert done.out == ["orders / billing deleted, with 0 pending entries and no living consumer"]
    assert await redis.xinfo_groups("orders") == []
    assert sorted(await redis.keys("{orders}*")) == ["{orders}:billing:dead", "{orders}:billing:deleted"]


async def test_group_delete_refuses_while_a_consumer_lives_or_entries_are_pending(url: str, redis: Redis) -> None:
    await filled(redis, 1)
    broker = Broker(url, group="billing")
    may_end = asyncio.Event()

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        await may_end.wait()

    async with broker:
        await until(lambda: broker.status[0].running == 1)
        for option in ("--yes", "--dry-run"):
            result = await invoke("group", "delete", *OF, option, "--url", url)
            assert result.exit_code == 1
            assert "orders / billing is in use: it has 1 pending entry and 1 living consumer (" in result.stderr
        assert await info(redis)
        may_end.set()
        await until(lambda: broker.status[0].settled == 1)
        result = await invoke("group", "delete", *OF, "--yes", "--url", url)
        assert "it has 0 pending entries and 1 living consumer (" in result.stderr
        assert "--force" in result.stderr
    done = await command("group", "delete", *OF, "--force", url=url)
    assert done.out[0].startswith("orders / billing deleted")


# -- all of them ------------------------------------------------------------------------------------------------

ALL = [
    ["seek", *OF, "--to", "start"],
    ["group", "copy", "orders", "billing", "mail"],
    ["group", "delete", *OF],
]


@pytest.mark.parametrize("arguments", ALL)
async def test_what_is_not_there_is_one_line_and_1(url: str, redis: Redis, arguments: list[str]) -> None:
    for option in ("--yes", "--dry-run"):
        result = await invoke(*arguments, option, "--url", url)
        assert (result.exit_code, result.stderr) == (1, "Error: there is no stream 'orders'\n")
    await redis.xadd("orders", {"a": "1"})
    for option in ("--yes", "--dry-run"):
        result = await invoke(*arguments, option, "--url", url)
        assert result.exit_code == 1
        assert is_one_error_line(result.stderr)
        assert "billing" in result.stderr


@pytest.mark.parametrize("arguments", [*ALL, ["group", "create", *OF]])
async def test_p34_without_a_terminal_they_want_a_yes(url: str, redis: Redis, arguments: list[str]) -> None:
    await filled(redis, 1, 2, read=1)
    before = await redis.xinfo_groups("orders")
    done = await process(*arguments, "--url", url)
    assert await done.ended() == 2
    assert "add --yes" in " ".join(done.err)
    assert await redis.xinfo_groups("orders") == before


@pytest.mark.parametrize("arguments", [*ALL, ["group", "create", *OF]])
async def test_redis_that_is_down_is_one_line_and_1(arguments: list[str]) -> None:
    result = await invoke(*arguments, "--yes", "--url", "redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert is_one_error_line(result.stderr)
