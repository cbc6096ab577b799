"""Publishers wait, or are refused, while a group is behind (P28)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    ConfigError,
    Connection,
    GroupBehindError,
    InvalidEventError,
    NotOpenError,
    RedisUnavailableError,
    Settings,
    StreamProducer,
    StreamSettings,
)
from redis_streams_aio.producer import capacity
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

BEHIND = "group 'g' of stream 'orders' is 6 entries behind"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements count for a moment only."""
    monkeypatch.setattr(capacity, "FRESH", 0.02)


@pytest.fixture(autouse=True)
async def group(redis: Redis) -> None:
    """A group that has read nothing of six events: more than five."""
    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    for number in range(6):
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number":{number}}}'})


def marked(**options: Any) -> Settings:
    return Settings(lag_high=5, lag_low=2, streams={"orders": StreamSettings(**options)})


async def settle(redis: Redis, count: int) -> None:
    """Handle so many events in the group's name."""
    [[_, entries]] = await redis.xreadgroup("g", "c", {"orders": ">"}, count=count)
    await redis.xack("orders", "g", *(entry for entry, _ in entries))


async def test_p28_publishing_is_refused_while_a_group_is_behind_and_says_who(url: str, redis: Redis) -> None:
    async with Broker(url, settings=marked()) as broker:
        with pytest.raises(GroupBehindError, match=BEHIND):
            await broker.publish("orders", Order(7), when_behind="refuse")
        with pytest.raises(GroupBehindError, match="the oldest for"):
            await broker.publish_many("orders", [Order(7)], when_behind="refuse")
        assert await redis.xlen("orders") == 6
        await settle(redis, 3)
        await asyncio.sleep(0.05)  # the measurement is old
        with pytest.raises(GroupBehindError):
            await broker.publish("orders", Order(7), when_behind="refuse")
        await settle(redis, 1)  # two are left, which is the low mark
        await asyncio.sleep(0.05)
        await broker.publish("orders", Order(7), when_behind="refuse")
        assert await redis.xlen("orders") == 7


async def test_p28_publishing_waits_until_the_group_has_caught_up(url: str, redis: Redis) -> None:
    async with Broker(url, settings=marked()) as broker:
        waiting = asyncio.create_task(broker.publish("orders", Order(7), when_behind="wait"))
        several = asyncio.create_task(broker.publish_many("orders", [Order(8), Order(9)], when_behind="wait"))
        others = await broker.publish("others", Order(1), when_behind="wait")
        assert others, "another stream's publishers do not wait"
        await settle(redis, 3)
        done, _ = await asyncio.wait((waiting, several), timeout=0.3)
        assert not done
        assert await redis.xlen("orders") == 6
        await settle(redis, 3)
        await asyncio.wait_for(waiting, 20)
        assert len(await asyncio.wait_for(several, 20)) == 2
        assert await redis.xlen("orders") == 9


async def test_p28_a_wait_can_be_cancelled_and_holds_nothing(url: str, redis: Redis) -> None:
    async with Broker(url, settings=marked()) as broker:
        waits = [asyncio.create_task(broker.wait_for_capacity("orders")) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in waits[1:]:
            task.cancel()
        await asyncio.wait(waits[1:])
        assert all(task.cancelled() for task in waits[1:])
        assert await broker.publish("orders", Order(7)), "who does not wait publishes"
        await settle(redis, 7)
        await asyncio.wait_for(waits[0], 20)


async def test_p28_a_wait_has_a_timeout_that_says_who_is_behind(url: str) -> None:
    async with Broker(url, settings=marked()) as broker:
        with pytest.raises(GroupBehindError, match=f"{BEHIND}.*, after a wait of 0.1 s"):
            await broker.wait_for_capacity("orders", timeout=0.1)
        with pytest.raises(ConfigError, match="timeout=0"):
            await broker.wait_for_capacity("orders", timeout=0)
        with pytest.raises(InvalidEventError, match="stream"):
            await broker.wait_for_capacity("")
        await broker.wait_for_capacity("nowhere", timeout=0.1)
    with pytest.raises(NotOpenError):
        await broker.wait_for_capacity("orders")


async def test_p28_settings_say_it_for_a_stream_and_a_call_overrides_them(url: str, redis: Redis) -> None:
    async with Broker(url, settings=marked(when_behind="refuse")) as broker:
        with pytest.raises(GroupBehindError):
            await broker.publish("orders", Order(7))
        with pytest.raises(GroupBehindError):
            await broker.publish_many("orders", [Order(7)])
        await broker.publish("others", Order(7))
        await broker.publish("orders", Order(7), when_behind="ignore")
        with pytest.raises(InvalidEventError, match="when_behind='later': expected"):
            await broker.publish("orders", Order(8), when_behind="later")  # type: ignore[arg-type]
    assert await redis.xlen("orders") == 7


async def test_p28_only_the_groups_that_are_named_count(url: str, redis: Redis) -> None:
    """An abandoned group would hold publishers up for ever."""
    async with Broker(url, settings=marked(when_behind="refuse", paced_by=["billing"])) as broker:
        await broker.publish("orders", Order(7))
        await redis.xgroup_create("orders", "billing", "0")
        await asyncio.sleep(0.05)
        with pytest.raises(GroupBehindError, match="group 'billing' of stream 'orders' is 7 entries behind"):
            await broker.publish("orders", Order(8))


async def test_p28_a_group_is_behind_by_age_too(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": "{}"})
    settings = Settings(lag_high_age=0.05)
    await asyncio.sleep(0.1)
    async with Connection(url) as connection:
        producer = StreamProducer(connection, settings=settings)
        with pytest.raises(GroupBehindError, match="is 7 entries behind"):
            await producer.publish("orders", Order(7), when_behind="refuse")
        await settle(redis, 7)
        await producer.wait_for_capacity("orders", timeout=20)


async def test_many_publishers_share_a_measurement(url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "FRESH", 60.0)
    await settle(redis, 6)
    await redis.config_resetstat()
    async with Broker(url, settings=marked(when_behind="wait")) as broker:
        await asyncio.gather(*(broker.publish("orders", Order(number)) for number in range(100)))
    stats = await redis.info("commandstats")
    assert stats["cmdstat_xinfo|groups"]["calls"] <= 3


async def test_p16_p28_asking_while_redis_is_away_raises_as_publishing_does(server: Server) -> None:
    settings = Settings(lag_high=5, lag_low=2, command_timeout=0.3)
    async with proxy(server.port) as network, Broker(network.url, settings=settings) as broker:
        network.refuse()
        with pytest.raises(RedisUnavailableError):
            await broker.publish("orders", Order(7), when_behind="wait")
        await network.heal()

        async def is_back() -> bool:
            try:
                await broker.publish("orders", Order(7), when_behind="refuse")
            except GroupBehindError:
                return True
            except RedisUnavailableError:
                pass
            return False

        await until(is_back)


async def test_p28_rates_and_the_time_to_drain_are_measured(url: str) -> None:
    broker = Broker(url, group="g", settings=Settings(lag_interval=0.1, reclaim_interval=0.05))
    reports: list[Any] = []

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        await asyncio.sleep(0.02)

    async with broker:
        [first] = await broker.measure_lag()
        assert (first.rate_in, first.rate_out) == (None, None)

        async def measured() -> bool:
            await broker.publish("orders", Order(1))
            reports[:] = await broker.measure_lag()
            return reports[0].rate_in is not None and reports[0].rate_out > 0

        await until(measured)
    assert reports[0].rate_in > 0
