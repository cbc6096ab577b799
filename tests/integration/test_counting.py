"""What counts as a delivery: what arrived, once each (P10, P13). Answers are lost again and again (P5, P6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, DeadLetters, Delivery, RetryPolicy, Settings, UnansweredError
from redis_streams_aio.connection.steps.claims import CLAIM
from redis_streams_aio.connection.steps.histories import HISTORIES
from redis_streams_aio.connection.steps.releasing import RELEASE
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.consumer.work.carrying import Decided, write_fates
from redis_streams_aio.handlers.fates import DeadLetter, Retry
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.members import Member
from tests.processes import Worker, worker

OFTEN = 30
"""More often than `max_deliveries`."""
MOST = 2**63 - 1
LOST = [
    pytest.param((), id="no answer"),
    pytest.param((CLAIM,), id="claims"),
    pytest.param((HISTORIES,), id="counts"),
    pytest.param((CLAIM, HISTORIES), id="both"),
]
"""Which answers are lost."""


class Lines:
    """A connection whose answers to a script are lost, so often; Redis has carried it out."""

    def __init__(self, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self._run = connection.run
        self._left: dict[Script, int] = {}
        monkeypatch.setattr(connection, "run", self.run)

    def lose(self, script: Script, times: int = OFTEN) -> None:
        self._left[script] = times

    async def run(self, script: Script, *arguments: Any, **named: Any) -> Any:
        answer = await self._run(script, *arguments, **named)
        if self._left.get(script):
            self._left[script] -= 1
            raise UnansweredError("the test had the answer lost")
        return answer


@pytest.fixture
def lines(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Lines:
    return Lines(connection, monkeypatch)


async def publish(redis: Redis, *numbers: int) -> list[str]:
    return [
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number": {number}}}'}) for number in numbers
    ]


async def carried_out(member: Member, entry: Entry, fate: Retry | DeadLetter) -> None:
    await write_fates(member.settlement, [Decided(entry, fate, fate)])


async def joined(connection: Connection, sunk: list[Entry], name: str | None = "me", lease: float = 30.0) -> Member:
    options = SubscriptionOptions(stream="orders", group="g", lease=lease), ConsumerOptions(name=name, block=0.001)
    member = Member(Shared(connection, SILENT), *options, None, sunk.extend)
    await member.open()
    return member


async def counts(redis: Redis) -> list[int]:
    return [entry["times_delivered"] for entry in await redis.xpending_range("orders", "g", "-", "+", 100)]


async def left_by(redis: Redis, consumer: str, idle: int = 60_000) -> None:
    """A consumer that has read all there is, and was silent since."""
    await redis.xreadgroup("g", consumer, {"orders": ">"})
    ids = [entry["message_id"] for entry in await redis.xpending_range("orders", "g", "-", "+", 100, consumer)]
    await redis.xclaim("orders", "g", consumer, 0, ids, idle=idle, justid=True)


async def stubbornly(step: Any) -> int:
    """Do a step until it is answered."""
    while True:
        try:
            return await step()
        except UnansweredError:
            continue


async def recover_all(member: Member) -> int:
    """Recover what is the consumer's own, until nothing is left; after lost answers it comes in smaller parts."""
    total = 0
    while came := await stubbornly(lambda: member.recover(100)):
        total += came
    return total


# -- what is this consumer's own ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", LOST)
async def test_p10_a_read_whose_answer_was_lost_is_one_delivery_however_often_it_is_recovered(
    connection: Connection, redis: Redis, lines: Lines, lost: tuple[Script, ...]
) -> None:
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    assert await member.recover(100) == 0  # the first look of a life
    await publish(redis, 1, 2, 3)
    await redis.xreadgroup("g", "me", {"orders": ">"})  # in its name, and it never hears of it
    for script in lost:
        lines.lose(script)
    assert await recover_all(member) == 3
    assert [delivery.deliveries for delivery in sunk] == [1, 1, 1]
    assert await counts(redis) == [1, 1, 1]
    await member.close()
    assert await counts(redis) == [0, 0, 0], "and given back, none"


@pytest.mark.parametrize("lost", LOST)
async def test_p10_p13_what_a_life_before_left_is_one_delivery_more(
    connection: Connection, redis: Redis, lines: Lines, lost: tuple[Script, ...]
) -> None:
    """It may have killed the process: else that would never come to an end."""
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await publish(redis, 1, 2, 3)
    await redis.xreadgroup("g", "me", {"orders": ">"})
    for script in lost:
        lines.lose(script)
    assert await recover_all(member) == 3
    assert [delivery.deliveries for delivery in sunk] == [2, 2, 2]
    assert await counts(redis) == [2, 2, 2]
    await member.close()
    assert await counts(redis) == [1, 1, 1], "this life gave it back; the one before did not"


async def test_p33_what_was_released_is_counted_though_the_answer_was_lost(
    connection: Connection, redis: Redis, lines: Lines
) -> None:
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await publish(redis, 1, 2, 3)
    while len(sunk) < 3:
        await member.fetch(3)
    lines.lose(RELEASE, times=2)
    assert await stubbornly(member.settlement.release) == 3
    assert member.holdings.released == 3
    assert await counts(redis) == [0, 0, 0]
    await member.close()


async def test_p10_a_life_begins_once(connection: Connection, redis: Redis) -> None:
    """What the last look of the first recovery left open belongs to it; what comes later does not."""
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await publish(redis, 1, 2)
    await redis.xreadgroup("g", "me", {"orders": ">"})
    assert [await member.recover(1), await member.recover(1), await member.recover(1)] == [1, 1, 0]
    await publish(redis, 3)
    await redis.xreadgroup("g", "me", {"orders": ">"})
    assert await member.recover(1) == 1
    assert [delivery.deliveries for delivery in sunk] == [2, 2, 1]
    await member.close()


async def test_p10_what_was_begun_and_left_pending_is_a_delivery_when_it_comes_again(
    connection: Connection, redis: Redis
) -> None:
    """Where Redis refuses for good what was to be written of it."""
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await member.recover(100)
    await publish(redis, 1)
    await member.fetch(1)
    member.holdings.leave(sunk[0])
    assert await member.recover(100) == 1
    assert [delivery.deliveries for delivery in sunk] == [1, 2]
    await member.close()


async def test_p10_p27_what_the_end_of_a_drain_cut_short_counts_for_nothing(
    connection: Connection, redis: Redis
) -> None:
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await member.recover(100)
    await publish(redis, 1)
    await member.fetch(1)
    member.settlement.abandon(sunk[0])
    await member.close()
    assert await counts(redis) == [0]


# -- what others left -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", LOST)
async def test_p10_a_take_over_whose_answers_are_lost_is_one_delivery(
    connection: Connection, redis: Redis, lines: Lines, lost: tuple[Script, ...]
) -> None:
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await member.recover(100)
    await publish(redis, 1, 2, 3)
    await left_by(redis, "crashed")
    for script in lost:
        lines.lose(script)

    async def as_a_subscription_does() -> int:
        return await member.reclaim(100) if member.has_all_own_entries else await member.recover(100)

    while len(sunk) < 3:
        await stubbornly(as_a_subscription_does)
    assert [delivery.deliveries for delivery in sunk] == [2, 2, 2]
    assert await counts(redis) == [2, 2, 2]
    assert member.holdings.uncertain == {}
    await member.close()
    assert await counts(redis) == [1, 1, 1]


async def test_p10_what_was_given_back_is_delivered_for_the_first_time(connection: Connection, redis: Redis) -> None:
    sunk: list[Entry] = []
    await publish(redis, 1)
    for _ in range(OFTEN):
        member = await joined(connection, sunk, None)
        assert await member.fetch(1) + await member.reclaim(1) == 1
        await member.close()
    assert {delivery.deliveries for delivery in sunk} == {1}


async def test_p4_p10_what_is_anothers_by_then_is_not_counted_and_not_held(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the claim and the count, a lease long, this process stood still."""
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await member.recover(100)
    [entry_id] = await publish(redis, 1)
    await left_by(redis, "crashed")
    run = connection.run

    async def stand_still(script: Script, *arguments: Any, **named: Any) -> Any:
        if script is HISTORIES:
            await redis.xclaim("orders", "g", "thief", 0, [entry_id], justid=True)
        return await run(script, *arguments, **named)

    monkeypatch.setattr(connection, "run", stand_still)
    assert await member.reclaim(100) == 0
    assert sunk == []
    assert len(member.holdings) == 0
    [entry] = await redis.xpending_range("orders", "g", "-", "+", 10)
    assert (entry["consumer"], entry["times_delivered"]) == ("thief", 1)
    await member.close()


async def test_p10_what_is_still_held_and_was_replayed_meanwhile_begins_with_no_failures(
    connection: Connection, redis: Redis
) -> None:
    """Its group was lost; another consumer had it anew, gave it up, and somebody replayed it, all that in one lease."""
    sunk: list[Entry] = []
    member = await joined(connection, sunk)
    await member.recover(100)
    [entry_id] = await publish(redis, 1)
    await member.fetch(1)
    await carried_out(member, sunk[0], Retry(0.0, 1, "no"))
    assert sunk[0].failures == 1
    await redis.xgroup_setid("orders", "g", "0")
    await redis.xack("orders", "g", entry_id)
    other_sunk: list[Entry] = []
    other = await joined(connection, other_sunk, "other")
    await other.recover(100)
    assert await other.fetch(1) == 1
    await carried_out(other, other_sunk[0], DeadLetter("rejected", "no", 0))
    await DeadLetters(connection, "orders", "g").replay()
    assert await member.reclaim(1) == 0, "it has it already"
    assert (sunk[0].failures, sunk[0].failing_since, sunk[0].deliveries) == (0, 0.0, 1)
    assert sunk[0].history is not None
    await member.close()
    await other.close()


# -- odd counts -----------------------------------------------------------------------------------------------


async def test_p13_an_event_that_another_program_gave_up_for_good_is_a_dead_letter(url: str, redis: Redis) -> None:
    """XNACK FATAL sets the highest count there is. Lua and we can bear it, over a drain too."""
    await publish(redis, 1)
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "other", {"orders": ">"})
    [entry] = await redis.xpending_range("orders", "g", "-", "+", 1)
    await redis.execute_command(
        *("XCLAIM", "orders", "g", "other", 0, entry["message_id"], "IDLE", 60_000, "RETRYCOUNT", MOST, "JUSTID")
    )
    async with Connection(url) as connection:
        sunk: list[Entry] = []
        member = await joined(connection, sunk, None)
        assert await member.reclaim(10) == 1
        await member.close()
        assert sunk[0].deliveries > 10**8
    assert (await counts(redis))[0] > 10**8
    got: list[int] = []
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05))

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        await until(lambda: redis.xlen("{orders}:g:dead"))
    [(_, letter)] = await redis.xrange("{orders}:g:dead")
    assert (letter["dead:reason"], got) == ("deliveries", [])


async def test_p13_a_poison_that_is_taken_over_meets_its_limit(url: str, redis: Redis) -> None:
    """Each process that takes it over dies of it."""
    await publish(redis, 0, 1, 2)
    options = ("--lease", 0.3, "--reclaim", 0.05, "--die", 1, "--max-deliveries", 3)
    workers: list[Worker] = []
    for _ in range(3):
        async with worker(url, *options) as victim:
            workers.append(victim)
            await victim.ended(30)
    async with worker(url, *options) as survivor:
        workers.append(survivor)
        # a victim may have handled it, where the poison's lease had not run out yet
        await until(lambda: any(each.said("end", 2) for each in workers), 20)
        await until(lambda: redis.xlen("{orders}:g:dead"), 20)
    [(_, letter)] = await redis.xrange("{orders}:g:dead")
    assert (letter["dead:reason"], letter["dead:deliveries"]) == ("deliveries", "4")


async def test_p10_answers_cut_off_on_the_way_dead_letter_nothing(url: str, redis: Redis, server: Server) -> None:
    """The line of one of two brokers loses long answers, more often than `max_deliveries` allows."""
    body = "x" * 15_000
    for number in range(6):
        payload = f'{{"number": {number}, "note": "{body}"}}'
        await redis.xadd("orders", {"event_type": "Order", "payload": payload})
    got: list[tuple[int, int]] = []

    def make(where: str) -> Broker:
        broker = Broker(where, group="g", settings=Settings(reclaim_interval=0.05, block_ms=50, command_timeout=1))

        @broker.handler("orders", lease=0.5, retry=RetryPolicy(max_deliveries=2))
        async def handle(order: dict[str, Any], delivery: Delivery) -> None:
            got.append((order["number"], delivery.deliveries))

        return broker

    async with proxy(server.port) as network:
        with _cutting(network, 20_000):
            async with make(network.url):
                await until(lambda: got or _tried(redis), 20)
                for _ in range(6):
                    accepted = network.accepted
                    await until(lambda at=accepted: network.accepted > at + 1 or len(got) == 6, 20)
        async with make(url):
            await until(lambda: len(got) >= 6, 20)
            await until(lambda: _all_settled(redis), 20)
    assert await redis.exists("{orders}:g:dead") == 0
    assert sorted(number for number, _ in got) == list(range(6))


async def _tried(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] > 0


async def _all_settled(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


@contextmanager
def _cutting(network: Proxy, most: int) -> Iterator[None]:
    """Cut connections in the middle of answers that come in bigger pieces."""
    keep = network.part_to_keep
    network.part_to_keep = lambda size: most if size > most else None
    try:
        yield
    finally:
        network.part_to_keep = keep
