"""What waits takes no room from what could run (P2, P6, P7, P19)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Delivery, RetryLater, Settings
from redis_streams_aio.consumer import room
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import EntriesVanished, Fact, LeaseLost, ReadingAgain, Starved
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

LIMITED = 1_000_000
"""Events with numbers from here on ask for another hour."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of wishes are not logged."""
    logger = logging.getLogger("redis_streams_aio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def tenant(order: Order) -> str:
    return "limited" if order.number >= LIMITED else "fine"


def make(url: str, got: list[int], order: str, facts: list[Fact] | None = None, **options: Any) -> Broker:
    """Handles events, and has those of the limited tenant wait for an hour."""
    settings = Settings(reclaim_interval=0.1, grace=1, block_ms=100)
    broker = Broker(url, group="g", settings=settings, observers=[] if facts is None else [facts.append])
    key = tenant if order == "key" else None
    options = {"concurrency": 1 if order == "stream" else 16} | options

    @broker.handler("orders", order=order, key=key, **options)
    async def handle(order: Order) -> None:
        if order.number >= LIMITED:
            raise RetryLater(3600)
        got.append(order.number)

    return broker


async def publish_limited(broker: Broker, count: int) -> None:
    await broker.publish_many("orders", [Order(LIMITED + number) for number in range(count)])


def waits(broker: Broker) -> int:
    [status] = broker.status
    return status.delayed + status.buffered


@pytest.mark.parametrize("count", [300, 9_000])
@pytest.mark.parametrize("order", ["none", "key"])
async def test_p7_what_waits_takes_no_room_from_what_could_run(url: str, order: str, count: int) -> None:
    got: list[int] = []
    async with make(url, got, order) as broker:
        await publish_limited(broker, count)
        await until(lambda: waits(broker) == count, 60)
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: len(got) == 10)
        await until(lambda: broker.status[0].settled == 10)
        [status] = broker.status
        assert (status.running, status.ready) == (0, True)
        delayed = count if order == "none" else 1
        assert (status.delayed, status.buffered) == (delayed, count - delayed)
        [lag] = await broker.measure_lag()
        assert (lag.lag, lag.pending) == (0, count)


@pytest.mark.parametrize("order", ["none", "key"])
async def test_p2_what_waits_leaves_room_for_those_who_are_gone(url: str, redis: Redis, order: str) -> None:
    got: list[int] = []
    async with make(url, got, order, lease=0.5) as broker:
        await publish_limited(broker, 300)
        await until(lambda: waits(broker) == 300)
        await redis.xgroup_createconsumer("orders", "g", "dead")
        for number in range(50):  # ours may read some of them first
            pipe = redis.pipeline()
            pipe.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number}}}'})
            pipe.xreadgroup("g", "dead", {"orders": ">"}, count=1)
            await pipe.execute()
        await until(lambda: sorted(got) == list(range(50)))
        assert waits(broker) == 300


async def test_p19_a_stream_whose_head_waits_starves_and_says_so_once(url: str, redis: Redis) -> None:
    got: list[int] = []
    facts: list[Fact] = []
    async with make(url, got, "stream", facts, lease=0.4) as broker:
        await broker.publish_many("orders", [Order(LIMITED), *map(Order, range(500))])
        await until(lambda: broker.status[0].delayed == 1)
        assert broker.ready, "it has only begun to wait"
        await until(lambda: not broker.ready)
        [starved] = [fact for fact in facts if isinstance(fact, Starved)]
        assert starved.waiting >= 2
        assert starved.seconds == pytest.approx(3600, abs=60)
        assert got == []
        [(entry_id, _)] = await redis.xrange("orders", count=1)
        await redis.xdel("orders", entry_id)
        await until(lambda: got == list(range(500)))
        await until(lambda: broker.ready)
        assert [type(fact) for fact in facts if isinstance(fact, Starved | ReadingAgain)] == [Starved, ReadingAgain]


async def test_p7_p19_beyond_the_cap_nothing_new_is_read_per_key_and_a_fact_says_so(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 500)
    got: list[int] = []
    facts: list[Fact] = []
    async with make(url, got, "key", facts, lease=2) as broker:
        await publish_limited(broker, 1500)
        await until(lambda: not broker.ready)
        held = waits(broker)
        assert 500 <= held < 1000
        [starved] = [fact for fact in facts if isinstance(fact, Starved | ReadingAgain)]
        assert isinstance(starved, Starved)
        assert (starved.waiting, starved.unwritten) == (held, 0)
        assert got == []


async def test_p6_p19_refused_acknowledgements_stop_reading(new_server: Callable[..., Server]) -> None:
    server = new_server()
    got: list[int] = []
    facts: list[Fact] = []
    async with (
        Redis.from_url(server.url, protocol=2, decode_responses=True) as redis,
        make(server.url, got, "none", facts, lease=1) as broker,
    ):
        await redis.execute_command("ACL", "SETUSER", "default", "-xack")
        for start in range(0, 10_000, 1000):
            await broker.publish_many("orders", [Order(number) for number in range(start, start + 1000)])
        await until(lambda: not broker.ready, 30)
        [status] = broker.status
        assert status.unwritten == len(got) < 3_000
        assert [fact.unwritten for fact in facts if isinstance(fact, Starved)] == [len(got)]
        await redis.execute_command("ACL", "SETUSER", "default", "+xack")
        await until(lambda: broker.status[0].settled == 10_000, 30)
        await until(lambda: broker.ready)
    assert sorted(got) == list(range(10_000))


# -- parking ---------------------------------------------------------------------------------------------------


async def parked(redis: Redis) -> int:
    return await redis.zcard("{orders}:g:parked")


async def test_p7_beyond_the_cap_waiting_entries_are_parked_in_redis(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 500)
    got: list[int] = []
    facts: list[Fact] = []
    async with make(url, got, "none", facts, lease=0.5) as broker:
        await publish_limited(broker, 3000)
        await until(lambda: parked_and_held(redis, broker, 3000), 30)
        assert waits(broker) < 1200
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: len(got) == 10)
        assert broker.ready
        [lag] = await broker.measure_lag()
        assert (lag.lag, lag.pending) == (0, 3000)
        assert [fact for fact in facts if isinstance(fact, LeaseLost | Starved)] == []
    names = {one["name"]: one["pending"] for one in (await redis.xpending("orders", "g"))["consumers"]}
    assert set(names) == {keys.PARKED, keys.RELEASED}, "a drain releases the others"


async def parked_and_held(redis: Redis, broker: Broker, count: int) -> bool:
    return await parked(redis) > 0 and await parked(redis) + waits(broker) == count


async def test_p2_p11_any_process_takes_parked_entries_when_due_and_not_before(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that parked them is gone; deleted ones are told."""
    monkeypatch.setattr(room, "MOST_WAITING", 50)
    asked: dict[int, float] = {}
    got: dict[int, float] = {}
    counts: set[tuple[int, int]] = set()

    def consumer(observers: list[Any]) -> Broker:
        broker = Broker(
            url, group="g", settings=Settings(reclaim_interval=0.1, grace=0.5, block_ms=100), observers=observers
        )

        @broker.handler("orders", order="none", concurrency=16, lease=0.5)
        async def handle(order: Order, delivery: Delivery) -> None:
            if order.number not in asked:
                asked[order.number] = time.time()
                raise RetryLater(3)
            got[order.number] = time.time()
            counts.add((delivery.deliveries, delivery.failures))

        return broker

    async with consumer([]) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(600)])
        await until(lambda: len(asked) == 600, 30)
    assert (count := await parked(redis)) > 100
    [member] = await redis.zrange("{orders}:g:parked", -1, -1)
    gone = "-".join(part.lstrip("0") or "0" for part in member.split("-"))
    await redis.xdel("orders", gone)
    facts: list[Fact] = []
    async with consumer([facts.append]) as broker:
        await until(lambda: len(got) == 599, 30)
        await until(lambda: any(isinstance(fact, EntriesVanished) and fact.ids == (gone,) for fact in facts))
        await until(lambda: broker.status[0].settled == 599)
        assert (await redis.xpending("orders", "g"))["pending"] == 0
    assert count > 0
    assert min(got[number] - asked[number] for number in got) >= 2.999, "Redis's times are whole milliseconds"
    assert max(deliveries for deliveries, _ in counts) <= 2
    assert {failures for _, failures in counts} == {0}


async def test_p7_where_parking_is_refused_it_starves(
    new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_WAITING", 500)
    server = new_server()
    got: list[int] = []
    async with (
        Redis.from_url(server.url, protocol=2, decode_responses=True) as redis,
        make(server.url, got, "none", lease=0.5) as broker,
    ):
        await redis.execute_command("ACL", "SETUSER", "default", "-zadd")
        await publish_limited(broker, 1500)
        await until(lambda: not broker.ready, 30)
        assert waits(broker) < 1000
        assert (await redis.xpending("orders", "g"))["consumers"][0]["pending"] == waits(broker)
