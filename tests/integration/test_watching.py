"""The commands that tell what is wrong: check and doctor, also against servers that are set wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Retention
from redis_streams_aio.models import ConsumerInfo, GroupInfo, LagReport, StreamInfo
from redis_streams_aio.monitoring.doctor.groups import Group, judge_group, judge_stream
from redis_streams_aio.monitoring.doctor.servers import Server as Examined
from redis_streams_aio.monitoring.doctor.servers import judge
from redis_streams_aio.monitoring.finding import FoundStream
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.servers import Server, free_port
from tests.events import Order
from tests.integration.test_cli import invoke
from tests.terminal import SIZES, shown

# -- check ------------------------------------------------------------------------------------------------------


async def behind(redis: Redis, count: int) -> None:
    """A group that has been given one of `count` events."""
    for _ in range(count):
        await redis.xadd("orders", {"event_type": "Order", "payload": "1"})
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xreadgroup("billing", "c", {"orders": ">"}, count=1)


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 0, "OK 1 group is within bounds"),
        (["--lag", "4"], 1, "WARNING orders / billing: lag 4 (warning from 4)"),
        (["--lag", "1,4"], 2, "CRITICAL orders / billing: lag 4 (critical from 4)"),
        (["--lag", "5,6", "--pending", "1"], 1, "WARNING orders / billing: pending 1 (warning from 1)"),
        (["--age", "0s,7d"], 1, "WARNING orders / billing: age"),
        (["--consumers", "2,1"], 1, "WARNING orders / billing: consumers 1 (warning below 2)"),
        (["--consumers", "3,2"], 2, "CRITICAL orders / billing: consumers 1 (critical below 2)"),
        (["--group", "mail"], 2, "CRITICAL no such group: mail"),
        (["--group", "billing", "orders"], 0, "OK 1 group is within bounds"),
        (["clicks"], 3, "UNKNOWN there is no stream 'clicks'"),
        (["--lag", "many"], 3, ""),
        (["--nonsense"], 3, ""),
        (["--config", "/nowhere.yaml"], 3, ""),
    ],
)
async def test_p19_check_ends_with_the_worst_state(
    url: str, redis: Redis, options: list[str], code: int, told: str
) -> None:
    await behind(redis, 5)
    done = await invoke("check", *options, "--url", url)
    assert done.exit_code == code
    assert told in done.stdout
    assert bool(done.stderr) == (not told), "wrong usage is told on stderr"


async def test_p19_a_lag_that_nobody_knows_is_not_fine(url: str, redis: Redis) -> None:
    async with redis.pipeline() as pipeline:
        for number in range(1, 1_202):
            pipeline.xadd("orders", {"event_type": "Order", "payload": "1"}, id=f"{number}-1")
        await pipeline.execute()
    await redis.xdel("orders", "600-1")
    await redis.xgroup_create("orders", "billing", "100-1")
    done = await invoke("check", "--age", "none", "--url", url)
    assert (done.exit_code, done.stdout) == (3, "UNKNOWN orders / billing: lag is unknown\n")
    as_warning = await invoke("check", "--age", "none", "--unknown-lag", "warning", "--url", url)
    assert as_warning.exit_code == 1
    not_asked = await invoke("check", "--age", "none", "--lag", "none", "--url", url)
    assert not_asked.exit_code == 0


@pytest.mark.parametrize("style", ["text", "nagios", "json", "prometheus"])
async def test_p19_without_redis_check_is_unknown_in_each_format(style: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0?"
    done = await invoke("check", "--format", style, "--url", url)
    assert (done.exit_code, done.stderr) == (3, "")
    assert ("UNKNOWN" in done.stdout) or ('"state":"unknown"' in done.stdout) or ("check_state 3" in done.stdout)


async def test_check_where_there_is_nothing_is_unknown(url: str) -> None:
    done = await invoke("check", "--url", url)
    assert (done.exit_code, done.stdout) == (3, "UNKNOWN no stream has a group\n")


# -- doctor -----------------------------------------------------------------------------------------------------


async def findings(url: str, *options: str) -> dict[str, dict[str, Any]]:
    """What doctor finds, by check and place; the worst where there are several."""
    done = await invoke("doctor", "--json", *options, "--url", url)
    assert done.exit_code in (0, 1, 2, 3), done.stderr
    found: dict[str, dict[str, Any]] = {}
    for line in done.stdout.splitlines():
        one = json.loads(line)
        found.setdefault(one["check"], one)
    return found


WRONG: dict[str, tuple[list[str], str, str, str]] = {
    "evicts streams": (["--maxmemory-policy", "allkeys-lru"], "eviction", "critical", "deletes streams"),
    "evicts marks": (["--maxmemory-policy", "volatile-ttl"], "eviction", "warning", "forgets which events"),
    "keeps nothing": (["--save", "", "--appendonly", "no"], "persistence", "critical", "loses all events"),
    "keeps snapshots": (["--save", "3600 1", "--appendonly", "no"], "persistence", "warning", "since the last one"),
    "never syncs": (["--appendonly", "yes", "--appendfsync", "no"], "persistence", "warning", "appendfsync no"),
    "cuts off": (["--timeout", "30"], "timeouts", "warning", "timeout is 30 s"),
    "keeps dead clients": (["--tcp-keepalive", "0"], "timeouts", "hint", "tcp-keepalive is 0"),
    "has no limit": (["--maxmemory", "0"], "memory", "hint", "maxmemory is not set"),
    "is almost full": (["--maxmemory", "20mb"], "memory", "warning", "of maxmemory is used"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_p33_doctor_finds_a_server_that_is_set_wrong(new_server: Callable[..., Server], wrong: str) -> None:
    options, check, level, told = WRONG[wrong]
    server = new_server(*options)
    if check == "memory" and "20mb" in options:
        await fill(server)
    found = (await findings(server.url))[check]
    assert (found["level"], told in found["told"]) == (level, True), found
    assert found["advice"]
    assert found["where"] == server.url


async def fill(server: Server) -> None:
    """Until 80% of its memory are used, and less than 95%."""
    async with Redis.from_url(server.url) as redis:
        while True:
            info = await redis.info("memory")
            if info["used_memory"] >= 0.85 * info["maxmemory"]:
                return
            await redis.append("filling", "x" * 200_000)


async def test_p33_doctor_is_content_with_a_server_that_is_set_right(new_server: Callable[..., Server]) -> None:
    server = new_server("--appendonly", "yes", "--maxmemory", "200mb", "--maxmemory-policy", "noeviction")
    broker = Broker(server.url, group="billing")

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with broker:
        await broker.publish("orders", Order(1))
        done = await invoke("doctor", "--url", server.url)
        with_ok = await findings(server.url, "--all")
    assert {line.split()[0] for line in done.stdout.splitlines() if line[0] != " "} <= {"HINT"}
    assert done.exit_code == 0
    assert {name for name, each in with_ok.items() if each["level"] == "ok"} >= {
        *("eviction", "memory", "persistence", "timeouts", "permissions"),
    }


async def test_p23_p33_doctor_tells_what_it_may_not_ask_and_who_may_not_do_what(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    async with Redis.from_url(server.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "blind", "on", ">secret", "~*", "+time", "+xadd")
        await admin.execute_command("ACL", "SETUSER", "poor", "on", ">secret", "~*", "+@all", "-xadd", "-xclaim")
    blind = await findings(server.url.replace("//", "//blind:secret@"))
    unknown = {name for name, each in blind.items() if each["level"] == "unknown"}
    assert unknown == {"version", "eviction", "persistence", "timeouts", "groups", "permissions"}
    assert all(each["advice"] for each in blind.values())
    poor = await findings(server.url.replace("//", "//poor:secret@"))
    assert "user poor may not" in poor["permissions"]["told"]


async def test_p19_p33_doctor_finds_groups_that_nobody_serves(url: str, redis: Redis) -> None:
    await behind(redis, 5)
    await redis.xadd("{orders}:billing:dead", {"event_type": "Order", "payload": "0", "dead:reason": "rejected"})
    await redis.xadd("unread", {"a": "1"})
    await redis.xgroup_create("orders", "empty", "0")
    await redis.xadd("cut", {"a": "1"})
    await redis.xgroup_create("cut", "slow", "0")
    await redis.xreadgroup("slow", "c", {"cut": ">"})
    for _ in range(10):
        await redis.xadd("cut", {"a": "1"})
    await redis.xtrim("cut", maxlen=2, approximate=False)
    found = await findings(url)
    assert (found["abandoned"]["where"], found["abandoned"]["level"]) == ("orders / empty", "warning")
    assert found["dead letters"]["advice"] == "redis-streams-aio dead-letters ls orders billing"
    assert (found["groups"]["where"], found["groups"]["told"]) == ("unread", "nobody reads it: it has no group")
    assert (found["trimmed"]["where"], found["trimmed"]["told"].split()[0]) == ("cut / slow", "8")


async def test_p31_doctor_asks_every_primary_of_a_cluster(cluster: Cluster) -> None:
    done = await invoke("doctor", "--all", "--json", "--url", cluster.url)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    versions = {row["where"] for row in rows if row["check"] == "version"}
    assert len(versions) == len(cluster.primaries)


@pytest.mark.parametrize("size", SIZES)
async def test_doctor_and_check_are_read_in_a_terminal(url: str, redis: Redis, size: tuple[int, int]) -> None:
    await behind(redis, 5)
    seen = await shown("doctor", "--all", "--url", url, size=size)
    assert seen.process.returncode == 2, "these servers keep nothing on disk"
    assert "CRITICAL  persistence:" in seen.text
    assert "things looked at" in seen.text
    checked = await shown("check", "--lag", "1", "--url", url, size=size)
    assert checked.process.returncode == 1


# -- what doctor says of states that take long to come about -----------------------------------------------------


def group(**known: Any) -> Group:
    stream = StreamInfo("orders", 10, 1, "1-0", "10-0", "10-0", 10)
    values: dict[str, Any] = {
        "stream": FoundStream(stream, [], 1_000, "events"),
        "info": GroupInfo("billing", 1, 3, "10-0", 10, 0),
        "consumers": [],
        "leases": {},
        "report": LagReport("orders", "billing", 0, 3, 700.0),
        "dead_letters": 0,
    }
    return Group(**{**values, **known})


def told(one: Group) -> dict[str, str]:
    return {each.check: each.advice or "" for each in judge_group(one)}


def test_p4_entries_of_a_dead_consumer_beside_living_ones_are_told() -> None:
    alive, dead = ConsumerInfo("a", 1, 0.1, None), ConsumerInfo("b", 2, 3_600.0, None)
    ours = told(group(consumers=[alive, dead], leases={"a": 30.0, "b": 30.0}))
    assert "nobody takes them over" in ours["dead consumers"]
    theirs = told(group(consumers=[alive, dead]))
    assert "XAUTOCLAIM" in theirs["dead consumers"]
    assert told(group(consumers=[alive])) == {}
    assert "dead consumers" not in told(group(consumers=[alive, dead], leases={"b": 7_200.0})), "its lease is longer"
    assert set(told(group(consumers=[dead]))) == {"abandoned"}
    assert [each.level for each in judge_group(group(consumers=[dead]))] == ["critical"]
    settled = group(consumers=[dead], report=LagReport("orders", "billing", 0, 0, None))
    assert told(settled) == {}, "nothing waits"


def test_many_names_and_large_streams_are_told() -> None:
    names = [ConsumerInfo(str(number), 0, 0.1, None) for number in range(1_000)]
    assert "consumer_expiry" in told(group(consumers=names))["consumers"]
    large = FoundStream(StreamInfo("orders", 2_000_000, 1, "1-0", "2-0", "2-0", 2), [], None, "events")
    assert [each.check for each in judge_stream(large, None)] == ["growth"]
    assert list(judge_stream(large, Retention(max_length=1_000))) == []


@pytest.mark.parametrize(
    ("info", "check", "level"),
    [
        ({"redis_version": "7.0.15"}, "version", "hint"),
        ({"used_memory": "96", "maxmemory": "100"}, "memory", "critical"),
        ({"aof_enabled": "1", "aof_last_write_status": "err"}, "persistence", "critical"),
        ({"aof_enabled": "1", "rdb_last_bgsave_status": "err"}, "persistence", "critical"),
        ({"connected_clients": "9", "maxclients": "10"}, "clients", "warning"),
        ({"connected_slaves": "2"}, "replication", "hint"),
    ],
)
def test_p33_what_info_says_is_judged(info: dict[str, str], check: str, level: str) -> None:
    server = Examined(where="s", info=info, config={"timeout": "0"}, capabilities=frozenset(), clock_is_ahead=0.0)
    assert level in {each.level for each in judge(server) if each.check == check}


@pytest.mark.parametrize("ahead", [-3.0, 3.0])
def test_p33_a_clock_that_is_wrong_is_told(ahead: float) -> None:
    server = Examined(where="s", info={}, config={}, capabilities=frozenset(), clock_is_ahead=ahead)
    [found] = [each for each in judge(server) if each.check == "clock"]
    assert f"3.0 s {'ahead of' if ahead > 0 else 'behind'} this machine's" in found.told
