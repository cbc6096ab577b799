"""The commands that look: streams, groups, consumers, pending; as processes, in terminals, on what others wrote."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, ConsumerGroupManager
from redis_streams_aio.cli.commands import consumers
from redis_streams_aio.connection.steps.parking import _member
from redis_streams_aio.events import keys
from redis_streams_aio.models import ConsumerInfo
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import Server
from tests.events import Order
from tests.integration.test_cli import invoke
from tests.terminal import SIZES, shown

LONG = "orders.of.all.customers.in.europe.placed"


async def rows(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints with --json."""
    done = await invoke(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- streams ----------------------------------------------------------------------------------------------------


async def filled(redis: Redis) -> None:
    """Streams of several writers, and keys that are no streams."""
    await redis.xadd("orders", {"event_type": "Order", "payload": "1"}, id="1-1")
    await redis.xadd("orders", {"event_type": "Order", "payload": "2" * 5_000}, id="2-1")
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xadd("{orders}:billing:dead", {"event_type": "Order", "payload": "0", "dead:reason": "rejected"})
    await redis.xadd("fast", {"__data__": "{}"})
    await redis.xadd("plain", {"sensor": "7"})
    await redis.xgroup_create("none", "g", "0", mkstream=True)
    await redis.set("text", "orders")
    await redis.sadd("set", "orders")


async def test_streams_shows_all_streams_whoever_writes_them(url: str, redis: Redis) -> None:
    await filled(redis)
    found = {row["stream"]: row for row in await rows("streams", "--url", url)}
    assert {name: row["kind"] for name, row in found.items()} == {
        "orders": "events",
        "{orders}:billing:dead": "dead letters",
        "fast": "FastStream",
        "plain": "other",
        "none": "empty",
    }
    orders = found["orders"]
    assert orders["memory"] > 5_000
    assert orders["last_age"] > 1_000_000
    assert {name: orders[name] for name in ("length", "groups", "first_id", "last_id", "entries_added")} == {
        "length": 2,
        "groups": 1,
        "first_id": "1-1",
        "last_id": "2-1",
        "entries_added": 2,
    }
    assert (found["none"]["last_age"], found["none"]["last_id"], found["none"]["length"]) == (None, None, 0)


async def test_streams_can_be_chosen_and_sorted(url: str, redis: Redis) -> None:
    await filled(redis)
    by_memory = await rows("streams", "--sort", "memory", "--url", url)
    assert by_memory[0]["stream"] == "orders"
    assert [row["memory"] for row in by_memory] == sorted((row["memory"] for row in by_memory), reverse=True)
    assert [row["stream"] for row in await rows("streams", "--url", url, "--sort", "age")][-2:] == ["orders", "none"]
    assert [row["stream"] for row in await rows("streams", "--match", "*l*", "--url", url)] == [
        "plain",
        "{orders}:billing:dead",
    ]
    nothing = await invoke("streams", "--match", "x*", "--url", url)
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "there are no streams like 'x*'\n")


async def test_streams_looks_through_more_keys_than_come_at_once(url: str, redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(5_000):
            pipeline.set(f"key-{number}", "x")
        for number in range(450):
            pipeline.xadd(f"stream-{number}", {"a": "b"})
        await pipeline.execute()
    assert len(await rows("streams", "--url", url)) == 450


async def test_streams_needs_scan_and_says_so(new_server: Any) -> None:
    server: Server = new_server()
    admin = Redis.from_url(server.url)
    await admin.xadd("orders", {"a": "1"})
    await admin.execute_command("ACL", "SETUSER", "looker", "on", ">secret", "~*", "+xinfo", "+time", "+xpending")
    await admin.aclose()
    url = server.url.replace("//", "//looker:secret@")
    refused = await invoke("streams", "--url", url)
    assert refused.exit_code == 1
    assert "permit +scan, or name the streams" in refused.stderr
    named = await invoke("groups", "orders", "--url", url)
    assert (named.exit_code, named.stderr) == (0, "stream 'orders' has no groups\n")


# -- groups -----------------------------------------------------------------------------------------------------


async def test_groups_without_a_name_are_those_of_all_streams(url: str, redis: Redis) -> None:
    await filled(redis)
    await redis.xgroup_create("fast", "theirs", "0")
    found = await rows("groups", "--url", url)
    assert [(row["stream"], row["group"], row["lag"], row["dead_letters"]) for row in found] == [
        ("fast", "theirs", 1, 0),
        ("none", "g", 0, 0),
        ("orders", "billing", 2, 1),
    ]


async def test_p28_groups_shows_who_has_paused_one_and_doctor_why(url: str, redis: Redis) -> None:
    await filled(redis)
    await invoke("pause", "orders", "billing", "--yes", "--by", "ada", "--why", "the bank is away", "--url", url)
    paused = {row["group"]: row["paused"] for row in await rows("groups", "--url", url)}
    assert (paused["billing"]["by"], paused["billing"]["why"], paused["g"]) == ("ada", "the bank is away", None)
    shown_to_people = await invoke("groups", "orders", "--url", url)
    assert "paused by ada" in shown_to_people.stdout
    doctor = await invoke("doctor", "--url", url)
    assert "the bank is away" in doctor.stdout
    assert "abandoned: orders / billing" not in doctor.stdout
    [live] = [json.loads(line) for line in (await invoke("lag", "orders", "--json", "--url", url)).stdout.splitlines()]
    assert live["paused"]


async def test_groups_where_there_are_none_says_so(url: str) -> None:
    done = await invoke("groups", "--url", url)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no stream has a group\n")


# -- consumers and pending --------------------------------------------------------------------------------------


async def claimed(redis: Redis, consumer: str, *ids: str) -> None:
    await redis.xclaim("orders", "billing", consumer, 0, list(ids), justid=True)


async def test_p19_consumers_and_pending_tell_who_is_gone_and_what_waits(url: str, redis: Redis) -> None:
    """As a broker leaves it; none runs, which would take over what is abandoned."""
    ids = [await redis.xadd("orders", {"event_type": "Order", "payload": "1"}) for _ in range(5)]
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xreadgroup("billing", "alive", {"orders": ">"})
    await claimed(redis, "gone", ids[2])
    await claimed(redis, keys.RELEASED, ids[3])
    await claimed(redis, keys.PARKED, ids[4])
    await redis.zadd("{orders}:billing:parked", {_member(ids[4].encode()).decode(): 2e12})
    await redis.hset(
        "{orders}:billing:failures", ids[0], "2 1700000000000 2000000000000 9 ValueError: no such customer"
    )
    await redis.hset("{orders}:billing:leases", mapping={"alive": "30000", "gone": "1", "lost": "1"})
    await redis.xgroup_createconsumer("orders", "billing", "lost")
    await asyncio.sleep(0.002)  # longer than the lease of two of them
    members = {row["consumer"]: row for row in await rows("consumers", "orders", "billing", "--url", url)}
    assert {name: row["state"] for name, row in members.items()} == {
        "alive": "alive",
        "gone": "gone",
        "lost": "idle",
        keys.RELEASED: "released",
        keys.PARKED: "parked",
    }
    assert (members["alive"]["lease"], members["alive"]["pending"]) == (30.0, 2)
    pending = await rows("pending", "orders", "billing", "--url", url)
    assert [row["state"] for row in pending] == ["waiting", "held", "abandoned", "released", "parked"]
    assert [row["due"] and datetime.fromisoformat(row["due"]).year for row in pending] == [2033, None, None, None, 2033]
    assert (pending[0]["failures"], pending[0]["error"]) == (2, "ValueError: no such customer")


def test_the_state_of_a_consumer_is_told_as_far_as_redis_knows() -> None:
    def state(pending: int, idle: float, lease: float | None, name: str = "c") -> str:
        return consumers.state_of(ConsumerInfo(name, pending, idle, None), lease)

    assert [state(3, 1, 30), state(0, 1, 30), state(3, 59, None)] == ["alive"] * 3
    assert [state(3, 30, 30), state(3, 31, 30)] == ["gone"] * 2
    assert [state(0, 31, 30), state(0, 61, None)] == ["idle"] * 2
    assert state(3, 61, None) == "unknown"
    assert {state(pending, 99, 30, keys.RELEASED) for pending in (0, 3)} == {"released"}
    assert state(3, 99, None, keys.PARKED) == "parked"


async def test_groups_of_other_programs_are_shown_too(url: str, redis: Redis) -> None:
    entry_id = await redis.xadd("fast", {"__data__": "{}"})
    await redis.xgroup_create("fast", "theirs", "0")
    assert await rows("pending", "fast", "theirs", "--url", url) == []
    nobody = await invoke("consumers", "fast", "theirs", "--url", url)
    assert (nobody.exit_code, nobody.stdout) == (0, "")
    assert "has no consumers: nobody has read from it yet" in nobody.stderr
    await redis.xreadgroup("theirs", "worker", {"fast": ">"})
    [consumer] = await rows("consumers", "fast", "theirs", "--url", url)
    assert (consumer["consumer"], consumer["state"], consumer["pending"], consumer["lease"]) == (
        "worker",
        "alive",
        1,
        None,
    )
    [entry] = await rows("pending", "fast", "theirs", "--url", url)
    assert (entry["id"], entry["state"], entry["consumer"]) == (entry_id, "held", "worker")


@pytest.mark.parametrize("command", ["consumers", "pending"])
async def test_a_group_that_is_not_there_is_named(url: str, redis: Redis, command: str) -> None:
    await redis.xadd("orders", {"a": "1"})
    result = await invoke(command, "orders", "billing", "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: stream 'orders' has no group 'billing'\n")


# -- in terminals, and elsewhere --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_names_and_ids_are_whole_in_a_terminal(url: str, redis: Redis, size: tuple[int, int]) -> None:
    group = "invoicing-service-of-europe"
    consumer = "host-of-the-invoicing-service-4711-9f0c2b1a"
    ids = [await redis.xadd(LONG, {"a": "1"}) for _ in range(3)]
    await redis.xgroup_create(LONG, group, "0")
    await redis.xreadgroup(group, consumer, {LONG: ">"})
    commands: dict[tuple[str, ...], list[str]] = {
        ("streams",): [LONG, ids[2]],
        ("groups",): [LONG, group, ids[2]],
        ("consumers", LONG, group): [LONG, group, consumer],
        ("pending", LONG, group): [consumer, *ids],
    }
    for command, names in commands.items():
        done = await shown(*command, "--url", url, size=size)
        assert done.process.returncode == 0
        words = {word for line in done.lines for word in line.replace(":", " ").split()}
        assert set(names) - words == set(), done.text
        assert max(map(len, done.lines)) <= size[0], done.text


async def test_behind_sentinels_too(sentinels: SentinelSet) -> None:
    admin = Redis.from_url(sentinels.primary.url)
    await admin.xadd("orders", {"a": "1"})
    await admin.xgroup_create("orders", "billing", "0")
    await admin.aclose()
    assert [row["stream"] for row in await rows("streams", "--url", sentinels.url)] == ["orders"]
    assert [row["group"] for row in await rows("groups", "--url", sentinels.url)] == ["billing"]


async def test_p31_on_a_cluster_the_streams_of_all_primaries_are_found(cluster: Cluster) -> None:
    names = {f"orders-{number}" for number in range(30)}
    async with Broker(cluster.url, group="billing") as broker:
        for name in names:
            await broker.publish(name, Order(1))
            await ConsumerGroupManager(broker.connection).create_group(name, "billing")
    found = await rows("streams", "--url", cluster.url)
    assert {row["stream"] for row in found} == names
    assert all(row["memory"] > 0 for row in found)
    assert {row["stream"] for row in await rows("groups", "--url", cluster.url) if row["lag"] == 1} == names
