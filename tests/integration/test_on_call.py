"""The commands of docs/on-call.md: each is one that there is, and a day of the person on call goes by them."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, RetryPolicy
from redis_streams_aio.cli.app import app
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_cli import invoke

PAGE = Path(__file__).parents[2] / "docs/on-call.md"
COMMANDS = sorted(set(re.findall(r"redis-streams-aio ([a-z][^`\n#]*)", " ".join(PAGE.read_text("utf-8").split("\n")))))


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_of_the_page_is_one_that_there_is(line: str) -> None:
    """With the arguments and options that it takes."""
    words = [word.strip(",.;:").replace("ID", "1-1") for word in shlex.split(line.strip())]
    command: click.Command = app
    context = click.Context(app)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    context = click.Context(command)
    command.parse_args(context, [*words, "--url", "redis://nowhere"])


async def run(*words: str, code: int = 0) -> str:
    done = await invoke(*words)
    assert done.exit_code == code, done.output
    return done.stdout


async def test_p12_p19_a_bad_deploy_is_stopped_rolled_back_and_mended(url: str, redis: Redis) -> None:
    """Seen in the dead letters, paused, rolled back, resumed, replayed: each order is billed in the end."""
    at = ("--url", url)
    billed: set[int] = set()

    def deployed(version: str) -> Broker:
        broker = Broker(url, group="billing")

        @broker.handler("orders", retry=RetryPolicy(max_failures=1))
        async def bill(order: Order) -> None:
            if version == "bad":
                raise KeyError("total")
            billed.add(order.number)

        return broker

    async with deployed("bad") as bad:
        await bad.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: _length(redis, "{orders}:billing:dead", 2))
        assert "KeyError" in await run("dead-letters", "ls", "orders", "billing", "--since", "1h", *at)
        await run("pause", "orders", "billing", "--why", "deploy 4711 is bad", "--yes", *at)
        await until(lambda: bad.status[0].paused)
        await bad.publish("orders", Order(3))
    async with deployed("good") as good:
        await until(lambda: good.status[0].paused)
        assert "deploy 4711 is bad" in await run("groups", "orders", *at)
        assert json.loads(await run("groups", "orders", "--json", *at))["lag"] == 1
        await run("resume", "orders", "billing", "--yes", *at)
        await until(lambda: billed == {3})
        assert "2" in await run("dead-letters", "replay", "orders", "billing", "--since", "1h", "--dry-run", *at)
        await run("dead-letters", "replay", "orders", "billing", "--since", "1h", "--yes", *at)
        await until(lambda: billed == {1, 2, 3})
    assert "OK" in await run("check", *at)


async def test_p4_p19_a_dead_consumer_is_seen_and_a_new_one_takes_over(url: str, redis: Redis) -> None:
    at = ("--url", url)
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1, "customer": "ada", "total": 1}'})
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xreadgroup("billing", "dead", {"orders": ">"})
    await redis.hset("{orders}:billing:leases", "dead", "1")
    await asyncio.sleep(0.002)  # its lease
    [dead] = map(json.loads, (await run("consumers", "orders", "billing", "--json", *at)).splitlines())
    assert (dead["state"], dead["pending"]) == ("gone", 1)
    assert "abandoned" in await run("pending", "orders", "billing", "--consumer", "dead", *at)
    broker = Broker(url, group="billing")
    billed: list[int] = []

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        billed.append(order.number)

    async with broker:
        await until(lambda: billed == [1])
        await until(lambda: _nothing_is_pending(redis))
    entry_id = (await redis.xrange("orders"))[0][0]
    assert "settled" in await run("show", "orders", entry_id, *at)


async def test_p16_p19_a_full_redis_is_found_with_what_fills_it(new_server: Callable[..., Server]) -> None:
    server = new_server("--maxmemory", "20mb")
    at = ("--url", server.url)
    async with Redis.from_url(server.url) as redis:
        await redis.xadd("small", {"a": "1"})
        info = await redis.info("memory")
        while info["used_memory"] < 0.9 * info["maxmemory"]:
            await redis.xadd("large", {"a": "x" * 200_000})
            info = await redis.info("memory")
    found = await run("doctor", *at, code=2)
    assert "streams --sort memory" in found
    assert (await run("streams", "--sort", "memory", *at)).splitlines()[2].startswith("large ")


async def _length(redis: Redis, stream: str, length: int) -> bool:
    return bool(await redis.xlen(stream) == length)


async def _nothing_is_pending(redis: Redis) -> bool:
    return bool((await redis.xpending("orders", "billing"))["pending"] == 0)
