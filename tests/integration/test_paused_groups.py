"""A group is paused in Redis, and all its processes obey, also after a restart (P28)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    ConfigError,
    Connection,
    ConsumerGroupManager,
    GroupNotFoundError,
    NotOpenError,
    Pause,
    PermissionDeniedError,
    Settings,
    StreamConsumer,
    StreamNotFoundError,
)
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import Fact, GroupFact, GroupRecreated, Paused, Resumed, StepFailed, Subscribed
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

CONTROLS = "{orders}:g:controls"
PAUSED = Paused(stream="orders", group="g", by="ada", why="a bad deploy")
RESUMED = Resumed(stream="orders", group="g", by="bob", why="it is mended")


class Process:
    """A broker of the group, as each of its processes has one."""

    def __init__(self, url: str, **options: Any) -> None:
        self.handled: list[int] = []
        self.begun: list[int] = []
        self.facts: list[Fact] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        settings = Settings(reclaim_interval=0.05, block_ms=100, consumer=options.pop("consumer", None))
        self.broker = Broker(url, group="g", settings=settings, observers=[self.facts.append])

        @self.broker.handler("orders", **options)
        async def handle(order: Order) -> None:
            self.begun.append(order.number)
            await self.may_end.wait()
            self.handled.append(order.number)

    @property
    def is_paused(self) -> bool:
        return self.broker.status[0].paused is not None

    def told(self) -> list[Fact]:
        """Pauses and their ends, without the name of the consumer."""
        told = (fact for fact in self.facts if isinstance(fact, Paused | Resumed))
        return [msgspec.structs.replace(fact, consumer="") for fact in told]


@pytest.fixture
async def groups(url: str) -> AsyncIterator[ConsumerGroupManager]:
    async with Connection(url) as connection:
        yield ConsumerGroupManager(connection)


async def publish(url: str, *numbers: int) -> None:
    async with Broker(url) as broker:
        for number in numbers:
            await broker.publish("orders", Order(number))


async def pending(redis: Redis) -> int:
    return int((await redis.xpending("orders", "g"))["pending"])


# -- two processes ------------------------------------------------------------------------------------------------


async def test_p28_all_processes_pause_and_go_on_and_each_tells_it_once(url: str, groups: ConsumerGroupManager) -> None:
    one, two = Process(url), Process(url)
    async with one.broker, two.broker:
        await publish(url, 1)
        await until(lambda: one.handled + two.handled == [1])
        paused = await one.broker.pause("orders", by="ada", why="a bad deploy")
        assert (paused.by, paused.why) == ("ada", "a bad deploy")
        assert one.broker.status[0].paused == paused, "this process obeys at once"
        await until(lambda: two.broker.status[0].paused == paused)
        assert await groups.get_pause("orders", "g") == paused
        assert one.broker.ready, "paused is ready"
        assert two.broker.health().notes == (f"orders/g: {paused}",)
        await publish(url, 2, 3)
        await one.broker.measure_lag()
        await until(lambda: all(process.broker._supervisor for process in (one, two)))
        assert one.begun + two.begun == [1]
        assert await groups.resume("orders", "g", by="bob", why="it is mended") is True
        await until(lambda: sorted(one.handled + two.handled) == [1, 2, 3])
        await until(lambda: not one.is_paused and not two.is_paused)
    assert one.told() == two.told() == [PAUSED, RESUMED]
    assert await groups.get_pause("orders", "g") is None


async def test_p28_a_pause_outlives_a_restart_and_no_handler_begins_before_it_is_known(url: str) -> None:
    first = Process(url)
    async with first.broker:
        await first.broker.pause("orders", by="ada", why="a bad deploy")
    await publish(url, 1, 2)
    second = Process(url)
    async with second.broker as broker:
        [status] = broker.status
        assert status.paused is not None
        assert (status.paused.by, status.paused.why) == ("ada", "a bad deploy")
        assert broker.ready
        assert [type(fact) for fact in second.facts if isinstance(fact, GroupFact)] == [Subscribed, Paused]
        await publish(url, 3)
        assert (await broker.measure_lag())[0].behind == 3
        assert second.begun == []
        assert await broker.resume("orders", by="bob") is True
        await until(lambda: second.handled == [1, 2, 3])
        assert await broker.resume("orders", by="bob") is False, "it was not paused"
    assert second.told() == [PAUSED, Resumed(stream="orders", group="g", by="bob", why="")]


async def test_p28_p27_running_handlers_end_and_what_has_not_begun_is_released(url: str, redis: Redis) -> None:
    one = Process(url)
    one.may_end.clear()
    await publish(url, 1, 2, 3)
    async with one.broker as broker:
        await until(lambda: one.begun == [1])
        await broker.pause("orders", by="ada", why="a bad deploy")
        await until(lambda: broker.status[0].buffered == 0)
        assert broker.status[0].running == 1
        one.may_end.set()
        await until(lambda: one.handled == [1])
        await until(lambda: broker.status[0].settled == 1)
        await broker.resume("orders", by="bob")
        await until(lambda: one.handled == [1, 2, 3])
        await until(lambda: broker.status[0].settled == 3)
    assert one.begun == [1, 2, 3]
    assert await pending(redis) == 0


@pytest.mark.parametrize("order", ["stream", "key"])
async def test_p2_p28_released_entries_come_before_new_ones_after_a_pause(url: str, redis: Redis, order: Any) -> None:
    one = Process(url, order=order)
    one.may_end.clear()
    await publish(url, *range(1, 8))
    async with one.broker as broker:
        await until(lambda: one.begun == [1])
        assert broker._supervisor is not None
        [subscription] = broker._supervisor.subscriptions
        subscription._room.buffer_size.limit = 1000
        subscription._freed.set()
        await until(lambda: broker.status[0].buffered == 6)
        await broker.pause("orders", by="ada", why="a bad deploy")
        await until(lambda: released(redis, 6))
        one.may_end.set()
        await until(lambda: one.handled == [1])
        await publish(url, 8, 9)
        await broker.resume("orders", by="bob")
        await until(lambda: len(one.handled) == 9)
    assert one.handled == list(range(1, 10))


async def released(redis: Redis, count: int) -> bool:
    return len(await redis.xpending_range("orders", "g", "-", "+", 100, keys.RELEASED)) == count


async def test_p28_batches_pause_too(url: str) -> None:
    handled: list[int] = []
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05, block_ms=100))

    @broker.handler("orders", batch=10, within=0.01)
    async def handle(orders: list[Order]) -> None:
        handled.extend(order.number for order in orders)

    async with broker:
        await broker.pause("orders", by="ada", why="a bad deploy")
        await publish(url, 1, 2, 3)
        assert (await broker.measure_lag())[0].behind == 3
        assert handled == []
        await broker.resume("orders", by="bob")
        await until(lambda: handled == [1, 2, 3])


async def test_p27_p28_a_paused_broker_drains(url: str, redis: Redis) -> None:
    one = Process(url)
    one.may_end.clear()
    await publish(url, 1, 2)
    async with one.broker as broker:
        await until(lambda: one.begun == [1])
        await broker.pause("orders", by="ada", why="a bad deploy")
        one.may_end.set()
    assert one.handled == [1]
    assert await redis.hexists(CONTROLS, "paused")
    assert (await redis.xpending("orders", "g"))["consumers"] in ([], [{"name": keys.RELEASED, "pending": 1}])


async def test_p28_a_stream_consumer_yields_nothing_while_its_group_is_paused(
    url: str, groups: ConsumerGroupManager
) -> None:
    yielded: list[int] = []
    async with Connection(url) as connection:
        consumer = StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.1, reclaim_interval=0.05)

        async def work() -> None:
            async for event in consumer.subscribe():
                yielded.append(event.payload.number)
                await consumer.acknowledge(event)

        async with consumer, asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            await publish(url, 1)
            await until(lambda: yielded == [1])
            paused = await groups.pause("orders", "g", by="ada", why="a bad deploy")
            await until(lambda: consumer.status.paused == paused)
            await publish(url, 2)
            async with StreamConsumer(connection, "orders", "g", payload_type=Order) as other:
                assert other.status.paused == paused, "known before the first event"
            assert yielded == [1]
            await groups.resume("orders", "g", by="bob")
            await until(lambda: yielded == [1, 2])
            consumer.stop()


async def test_p28_p30_on_a_cluster_one_stream_is_paused_and_streams_of_other_nodes_go_on(cluster: Cluster) -> None:
    handled: list[int] = []
    streams = {"orders": 1, "clicks": 2, "mails": 3}
    broker = Broker(cluster.url, group="g", settings=Settings(reclaim_interval=0.05, block_ms=100))

    async def handle(order: Order) -> None:
        handled.append(order.number)

    for stream in streams:
        broker.handler(stream)(handle)
    async with broker, Connection(cluster.url) as connection:
        groups = ConsumerGroupManager(connection)
        await groups.pause("orders", "g", by="ada", why="a bad deploy")
        await until(lambda: [status.paused is not None for status in broker.status] == [True, False, False], 20)
        for stream, number in streams.items():
            await broker.publish(stream, Order(number))
        await until(lambda: sorted(handled) == [2, 3], 20)
        await groups.resume("orders", "g", by="bob")
        await until(lambda: sorted(handled) == [1, 2, 3], 20)


# -- who may hold -------------------------------------------------------------------------------------------------


async def test_p28_it_goes_on_when_the_last_hold_is_gone(url: str) -> None:
    one = Process(url)
    async with one.broker as broker:
        assert broker._supervisor is not None
        [subscription] = broker._supervisor.subscriptions
        subscription.pause()
        await broker.pause("orders", by="ada", why="a bad deploy")
        await publish(url, 1)
        await broker.resume("orders", by="bob")
        assert subscription.state == "paused"
        assert str(broker.status[0].paused) == "paused by code of this process"
        subscription.resume()
        await until(lambda: one.handled == [1])


async def test_p28_a_second_pause_says_anew_who_and_why(url: str) -> None:
    one = Process(url)
    async with one.broker as broker:
        await broker.pause("orders", by="ada", why="a bad deploy")
        await broker.pause("orders", by="bob", why="it is still bad")
        assert str(broker.status[0].paused).startswith("paused by bob since 20")
        assert str(broker.status[0].paused).endswith(" UTC: it is still bad")
    assert one.told() == [PAUSED, Paused(stream="orders", group="g", by="bob", why="it is still bad")]


# -- when things fail ---------------------------------------------------------------------------------------------


async def test_p28_a_pause_that_redis_has_lost_is_over(url: str, redis: Redis) -> None:
    one = Process(url)
    async with one.broker as broker:
        await broker.pause("orders", by="ada", why="a bad deploy")
        await redis.flushall()
        await until(lambda: not one.is_paused)
        await until(lambda: any(isinstance(fact, GroupRecreated) for fact in one.facts))
        await publish(url, 1)
        await until(lambda: one.handled == [1])
    assert one.told() == [PAUSED, Resumed(stream="orders", group="g", by="", why="")]
    assert str(one.told()[1]) == "orders/g: goes on after a pause, which is no longer in Redis"


async def test_p28_a_group_that_is_deleted_is_no_longer_paused(
    url: str, redis: Redis, groups: ConsumerGroupManager
) -> None:
    one = Process(url)
    async with one.broker:
        await groups.pause("orders", "g", by="ada", why="a bad deploy")
        await until(lambda: one.is_paused)
        assert await groups.delete_group("orders", "g")
        assert not await redis.exists(CONTROLS)
        await until(lambda: not one.is_paused)


async def test_p16_p28_a_pause_holds_while_redis_is_away(server: Server, redis: Redis) -> None:
    """And it is looked at when Redis is back."""
    async with proxy(server.port) as network:
        one = Process(network.url)
        async with one.broker as broker:
            await broker.pause("orders", by="ada", why="a bad deploy")
            network.refuse()
            await publish(server.url, 1)
            await until(lambda: any(isinstance(fact, StepFailed) for fact in one.facts))
            assert one.is_paused
            assert await redis.hdel(CONTROLS, "paused") == 1
            await network.heal()
            await until(lambda: one.handled == [1])
    assert one.told() == [PAUSED, Resumed(stream="orders", group="g", by="", why="")]


async def test_p28_where_the_key_may_not_be_read_it_goes_on_and_says_so_once(
    url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.execute_command(
        *(
            "ACL",
            "SETUSER",
            "blind",
            "on",
            ">blind",
            "+@all",
            "-info",
            "~orders",
            "~{orders}:g:[^c]*",
            "~{orders}:g:checkpoint",
        )
    )
    try:
        one = Process(url.replace("//", "//blind:blind@"))
        async with one.broker as broker:
            await publish(url, 1, 2)
            await until(lambda: one.handled == [1, 2])
            with pytest.raises(PermissionDeniedError):
                await broker.pause("orders", by="ada", why="a bad deploy")
    finally:
        await redis.execute_command("ACL", "DELUSER", "blind")
    refused = [line for line in caplog.messages if "cannot read whether it is paused" in line]
    assert len(refused) == 1


@pytest.mark.parametrize("value", ["1", "by hand", '{"since_ms": 9e99, "by": "x", "why": "y"}', "\xff"])
async def test_p28_a_field_that_is_written_by_hand_counts(url: str, redis: Redis, value: str) -> None:
    async with Process(url).broker:
        pass
    await redis.hset(CONTROLS, "paused", value.encode("latin-1"))  # type: ignore[arg-type]
    async with Process(url).broker as broker:
        [status] = broker.status
        assert status.paused is not None
        assert (status.paused.by, status.paused.since) == ("", None)


# -- what is refused ----------------------------------------------------------------------------------------------


async def test_a_group_that_is_not_there_cannot_be_paused(url: str, redis: Redis, groups: ConsumerGroupManager) -> None:
    with pytest.raises(StreamNotFoundError):
        await groups.pause("orders", "g", by="ada", why="a bad deploy")
    await redis.xadd("orders", {"a": "b"})
    with pytest.raises(GroupNotFoundError, match="'orders' has no group 'g'"):
        await groups.pause("orders", "g", by="ada", why="a bad deploy")
    assert not await redis.exists(CONTROLS)
    assert await groups.resume("orders", "g", by="ada") is False
    assert await groups.get_pause("orders", "g") is None


@pytest.mark.parametrize("wrong", [{"by": ""}, {"why": " "}, {"why": "a\nb"}, {"by": None}, {"why": "x" * 501}])
async def test_who_and_why_are_a_line_each(groups: ConsumerGroupManager, wrong: dict[str, Any]) -> None:
    [(name, _)] = wrong.items()
    with pytest.raises(ConfigError, match=f"{name}=.*expected one line of text|{name}=None: expected text"):
        await groups.pause("orders", "g", **{"by": "ada", "why": "a bad deploy", **wrong})


async def test_a_closed_broker_and_one_without_a_group_pause_nothing(url: str) -> None:
    broker = Broker(url)
    with pytest.raises(NotOpenError):
        await broker.pause("orders", by="ada", why="a bad deploy")
    with pytest.raises(NotOpenError):
        await broker.resume("orders", by="ada")
    async with broker:
        with pytest.raises(ConfigError, match="group: this broker has no group"):
            await broker.pause("orders", by="ada", why="a bad deploy")


def test_a_pause_in_words() -> None:
    assert str(Pause("", "", None)) == "paused"
    assert str(Pause("ada", "a bad deploy", None)) == "paused by ada: a bad deploy"
