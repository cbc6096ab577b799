"""How what others left is found: by who is gone, in bounded steps, oldest first (P2, P7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, Delivery, Settings
from redis_streams_aio.connection.packing import Argument
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.consumer.intake import abandoned
from redis_streams_aio.consumer.intake.claims import AT_ONCE
from redis_streams_aio.events import entry_ids, keys
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT, EntriesVanished, Fact, Telemetry
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.looks import look_at_everything
from tests.members import Member

LEASE = 30.0


async def publish(redis: Redis, count: int) -> list[str]:
    pipe = redis.pipeline(transaction=False)
    for number in range(count):
        pipe.xadd("orders", {"event_type": "Order", "payload": f'{{"number": {number}}}'})
    return [str(entry_id) for entry_id in await pipe.execute()]


async def joined(
    connection: Connection, sunk: list[Delivery], lease: float = LEASE, telemetry: Telemetry = SILENT
) -> Member:
    options = SubscriptionOptions(stream="orders", group="g", lease=lease), ConsumerOptions(name="me", block=0.001)
    member = Member(Shared(connection, telemetry), *options, None, sunk.extend)
    await member.open()
    return member


async def handed_out(redis: Redis, **counts: int) -> None:
    """Consumers that read so many each, in turn."""
    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    for consumer, count in counts.items():
        await redis.xreadgroup("g", consumer, {"orders": ">"}, count=count)


async def owners(redis: Redis) -> dict[str, int]:
    summary = await redis.xpending("orders", "g")
    return {one["name"]: one["pending"] for one in summary["consumers"]}


class Commands:
    """What a connection asks of Redis."""

    def __init__(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plain: list[tuple[Argument, ...]] = []
        self.scripts: list[int] = []
        call, run = connection.call, connection.run

        async def calling(*command: Argument, **named: Any) -> Any:
            self.plain.append(command)
            return await call(*command, **named)

        async def running(script: Script, *arguments: Argument, **named: Any) -> Any:
            self.scripts.append(len(arguments))
            return await run(script, *arguments, **named)

        monkeypatch.setattr(connection, "call", calling)
        monkeypatch.setattr(connection, "run", running)

    def clear(self) -> None:
        self.plain.clear()
        self.scripts.clear()

    def names(self) -> list[Argument]:
        return [command[0] for command in self.plain]


# -- what a look costs ----------------------------------------------------------------------------------------


async def test_p2_a_look_goes_through_nothing_where_nobody_is_gone(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice a second in every process it went through all that is pending."""
    await publish(redis, 500)
    await handed_out(redis, a=250, b=250)
    member = await joined(connection, [])
    assert await member.reclaim(100) == 0  # the first look goes through everything
    asked = Commands(connection, monkeypatch)
    for _ in range(20):
        assert await member.reclaim(100) == 0
    assert sorted(set(asked.names())) == ["HGETALL", "XINFO"]
    assert len(asked.plain) == 40
    assert asked.scripts == []
    await member.close()


async def test_p2_everything_is_gone_through_in_pages(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what a consumer that lives has let go; one page with each look, and then not for a lease."""
    monkeypatch.setattr(abandoned, "PAGE", 100)
    ids = await publish(redis, 450)
    await handed_out(redis, alive=450)
    sparse = [ids[at] for at in (3, 120, 121, 399, 449)]
    await redis.xclaim("orders", "g", "alive", 0, sparse, idle=60_000, justid=True)
    sunk: list[Delivery] = []
    member = await joined(connection, sunk)
    asked = Commands(connection, monkeypatch)
    assert [await member.reclaim(100) for _ in range(7)] == [1, 2, 0, 1, 1, 0, 0]
    assert [delivery.raw_id.decode() for delivery in sunk] == sparse
    pages = [command for command in asked.plain if command[0] == "XPENDING"]
    assert len(pages) == 5
    assert {command[-1] for command in pages} == {100}
    assert member.next_look > asyncio.get_running_loop().time() + LEASE / 2
    await member.close()


async def test_p6_a_page_that_has_more_than_there_is_room_for_is_gone_on_with(
    connection: Connection, redis: Redis
) -> None:
    ids = await publish(redis, 10)
    await handed_out(redis, alive=10)
    await redis.xclaim("orders", "g", "alive", 0, ids, idle=60_000, justid=True)
    sunk: list[Delivery] = []
    member = await joined(connection, sunk)
    assert [await member.reclaim(4) for _ in range(4)] == [4, 4, 2, 0]
    assert [delivery.raw_id.decode() for delivery in sunk] == ids
    await member.close()


async def test_p2_no_step_claims_more_than_a_hundred(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One script blocked the server for 80 to 200 ms."""
    ids = await publish(redis, 350)
    await handed_out(redis, crashed=350)
    sunk: list[Delivery] = []
    member = await joined(connection, sunk, lease=0.05)
    await redis.delete("{orders}:g:leases")
    asked = Commands(connection, monkeypatch)

    async def all_are_here() -> bool:
        await member.reclaim(1000)
        return len(sunk) == 350

    await until(all_are_here)
    assert [delivery.raw_id.decode() for delivery in sunk] == ids
    assert max(asked.scripts) <= 3 + 3 * AT_ONCE
    await member.close()


async def test_p2_a_busy_process_looks_again_when_somebody_may_be_gone(url: str, redis: Redis) -> None:
    """It holds what it does, and so does another one; nobody of them is gone for most of a lease."""
    began = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.02, grace=0))

    @broker.handler("orders", lease=600)
    async def handle(order: Order) -> None:
        began.set()
        await asyncio.sleep(3600)

    async with broker:
        await broker.publish("orders", Order(1))
        await began.wait()
        await until(lambda: _looked_at_rest(redis))
        before = await _calls(redis, "xinfo|consumers")
        turns = await _calls(redis, "mget") + 20
        await until(lambda: _reached(redis, "mget", turns))
        assert await _calls(redis, "xinfo|consumers") == before


async def _looked_at_rest(redis: Redis) -> bool:
    before, turns = await _calls(redis, "xinfo|consumers"), await _calls(redis, "mget") + 5
    await until(lambda: _reached(redis, "mget", turns))
    return before == await _calls(redis, "xinfo|consumers")


async def _reached(redis: Redis, command: str, count: int) -> bool:
    return await _calls(redis, command) >= count


async def _calls(redis: Redis, command: str) -> int:
    return int((await redis.info("commandstats")).get(f"cmdstat_{command}", {"calls": 0})["calls"])


# -- who and what ---------------------------------------------------------------------------------------------


async def test_p7_the_oldest_come_first_across_all_that_are_gone(connection: Connection, redis: Redis) -> None:
    ids = await publish(redis, 60)
    await redis.xgroup_create("orders", "g", "0")
    for at in range(60):
        await redis.xreadgroup("g", "abc"[at % 3], {"orders": ">"}, count=1)
    await redis.xclaim("orders", "g", keys.RELEASED, 0, ids[20:40], idle=86_400_000, justid=True)
    await redis.delete("{orders}:g:leases")
    sunk: list[Delivery] = []
    member = await joined(connection, sunk, lease=0.05)
    await redis.delete("{orders}:g:leases")
    await asyncio.sleep(0.06)  # a lease
    while await member.reclaim(7):
        pass
    assert [delivery.raw_id.decode() for delivery in sunk] == ids
    await member.close()


async def test_p2_what_more_are_gone_than_are_asked_at_once_is_taken_over_too(
    connection: Connection, redis: Redis
) -> None:
    many = 2 * abandoned.OWNERS_AT_ONCE + 3
    ids = await publish(redis, many)
    await redis.xgroup_create("orders", "g", "0")
    for at in range(many):
        await redis.xreadgroup("g", f"crashed-{at}", {"orders": ">"}, count=1)
    sunk: list[Delivery] = []
    member = await joined(connection, sunk, lease=0.05)
    await asyncio.sleep(0.06)  # a lease
    assert await member.reclaim(1000) == many
    assert sorted((delivery.raw_id.decode() for delivery in sunk), key=entry_ids.parse) == ids
    await member.close()


async def test_p20_what_was_deleted_is_told_of_and_hides_nothing_behind_it(
    connection: Connection, redis: Redis
) -> None:
    facts: list[Fact] = []
    ids = await publish(redis, 250)
    await handed_out(redis, crashed=250)
    await redis.xdel("orders", *ids[:240])
    await redis.hset("{orders}:g:failures", ids[0], "1 1 1 0 e")
    sunk: list[Delivery] = []
    member = await joined(connection, sunk, lease=0.05, telemetry=Telemetry([facts.append]))
    await asyncio.sleep(0.06)  # a lease
    assert await member.reclaim(10) == 10
    assert [delivery.raw_id.decode() for delivery in sunk] == ids[240:]
    told = [entry_id for fact in facts if isinstance(fact, EntriesVanished) for entry_id in fact.ids]
    assert told == ids[:240]
    assert await owners(redis) == {"me": 10}
    assert await redis.exists("{orders}:g:failures") == 0
    await member.close()


async def test_p3_what_is_held_here_is_left_as_it_is(connection: Connection, redis: Redis) -> None:
    """A late renewal let its lease run out, and nobody else took it."""
    [entry_id] = await publish(redis, 1)
    sunk: list[Delivery] = []
    member = await joined(connection, sunk)
    await member.recover(1)
    await member.fetch(1)
    await redis.xclaim("orders", "g", "me", 0, [entry_id], idle=60_000, justid=True)
    look_at_everything(member)
    assert await member.reclaim(10) == 0
    [entry] = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert (entry["times_delivered"], entry["time_since_delivered"] >= 60_000) == (1, True)
    await member.close()


async def test_p4_what_was_renewed_in_between_is_not_taken(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner came back after it was found to be gone."""
    [entry_id] = await publish(redis, 1)
    await handed_out(redis, slow=1)
    member = await joined(connection, [], lease=0.2)
    call = connection.call

    async def comes_back(*command: Argument, **named: Any) -> Any:
        answer = await call(*command, **named)
        if command[0] == "XPENDING":
            await redis.xclaim("orders", "g", "slow", 0, [entry_id], justid=True)
        return answer

    await asyncio.sleep(0.25)  # a lease
    monkeypatch.setattr(connection, "call", comes_back)
    assert await member.reclaim(10) == 0
    assert await owners(redis) == {"slow": 1}
    await member.close()


async def test_p2_a_group_that_is_lost_has_nothing_to_take_over(connection: Connection, redis: Redis) -> None:
    member = await joined(connection, [])
    await redis.xgroup_destroy("orders", "g")
    assert await member.reclaim(10) == 0
    await redis.delete("orders")
    assert await member.reclaim(10) == 0
    await member.close()
