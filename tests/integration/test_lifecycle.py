"""Running and stopping (P26, P27): everything lives below `async with broker`, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import anyio
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, Settings, StreamConsumer, StreamManager, StreamProducer
from redis_streams_aio.events import keys
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order


def consumer(url: str, got: list[int] | None = None, **options: object) -> Broker:
    broker = Broker(url, group="g", **options)  # type: ignore[arg-type]

    @broker.handler("orders", concurrency=3)
    async def handle(order: Order) -> None:
        if got is not None:
            got.append(order.number)

    return broker


def own_tasks() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


async def test_p26_a_hundred_starts_and_stops_leave_nothing_behind(url: str, redis: Redis) -> None:
    async def connections() -> int:
        return len(await redis.client_list())

    before, tasks, threads, files = await connections(), own_tasks(), threading.active_count(), _open_files()
    broker = consumer(url)
    for _ in range(100):
        async with broker:
            pass
    assert own_tasks() == tasks
    assert threading.active_count() == threads
    await until(lambda: _is(connections, before))
    assert _open_files() <= files + 1
    assert await redis.xinfo_consumers("orders", "g") == []


async def _is(count: object, expected: int) -> bool:
    return await count() == expected  # type: ignore[operator,no-any-return]


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_p26_a_broker_may_be_entered_and_left_in_different_tasks(url: str) -> None:
    """As test fixtures and some frameworks do."""
    broker = consumer(url)
    await asyncio.create_task(broker.__aenter__())
    await asyncio.create_task(broker.publish("orders", Order(1)))
    await asyncio.create_task(broker.__aexit__(None, None, None))


async def test_an_error_in_the_body_comes_out_after_the_drain(url: str) -> None:
    got: list[int] = []
    with pytest.raises(KeyError, match="mine"):
        async with consumer(url, got) as broker:
            await broker.publish("orders", Order(1))
            await until(lambda: got)
            raise KeyError("mine")
    assert not broker.connection.is_open


async def test_a_cancelled_body_still_drains(url: str, redis: Redis) -> None:
    started, finished = asyncio.Event(), asyncio.Event()
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        started.set()
        await asyncio.sleep(0.1)
        finished.set()

    with anyio.CancelScope() as scope:
        async with broker:
            await broker.publish("orders", Order(1))
            await started.wait()
            scope.cancel()
            await asyncio.sleep(60)
    assert finished.is_set()
    assert (await redis.xpending("orders", "g"))["pending"] == 0


async def test_a_cancelled_start_leaves_nothing(url: str) -> None:
    tasks = own_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            async with Broker("redis://127.0.0.1:1/0"):
                pass
    assert own_tasks() == tasks


async def test_p14_a_bug_of_ours_ends_the_broker_loudly(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements

    def broken(self: Acknowledgements) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        async with consumer(url) as broker:
            monkeypatch.setattr(Acknowledgements, "depart", broken)
            await broker.publish("orders", Order(1))
            await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_p26_the_client_passed_in_is_used_for_its_configuration_and_not_closed(url: str) -> None:
    client = Redis.from_url(url, decode_responses=True, max_connections=1)
    got: list[int] = []
    async with consumer(None, got, client=client) as broker:  # type: ignore[arg-type]
        await broker.publish("orders", Order(1))
        await until(lambda: got)
    assert await client.ping()
    await client.aclose()


async def test_a_broker_can_be_opened_again_and_not_twice_at_once(url: str) -> None:
    got: list[int] = []
    broker = consumer(url, got)
    for number in range(3):
        async with broker:
            await broker.publish("orders", Order(number))
            await until(lambda n=number: n in got)
            with pytest.raises(RuntimeError, match="open already"):
                await broker.__aenter__()
    assert got == [0, 1, 2]


async def test_p26_signals_belong_to_the_application_but_in_run(url: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    broker = consumer(url)
    async with broker:
        assert signal.getsignal(signal.SIGTERM) is before
    running = asyncio.create_task(broker.run())
    await until(lambda: broker.status)
    await broker.publish("orders", Order(1))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert signal.getsignal(signal.SIGTERM) is before


async def test_run_stops_at_a_signal_while_it_waits_for_redis() -> None:
    before = signal.getsignal(signal.SIGINT)
    running = asyncio.create_task(Broker("redis://127.0.0.1:1/0").run())
    await until(lambda: signal.getsignal(signal.SIGINT) is not before)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(running, 5)


async def test_p22_p27_events_released_at_a_drain_are_back_within_a_second(url: str, redis: Redis) -> None:
    release = asyncio.Event()
    got: list[int] = []
    holder = Broker(url, group="g", settings=Settings(grace=0.05))

    @holder.handler("orders", concurrency=5, lease=3600)
    async def hold(order: Order) -> None:
        await release.wait()

    async with holder:
        await holder.publish_many("orders", [Order(number) for number in range(20)])
        await until(lambda: holder.status[0].running == 5)
    assert {entry["name"] for entry in await redis.xinfo_consumers("orders", "g")} == {keys.RELEASED}
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with consumer(url, got):
        await until(lambda: len(got) == 20)
    assert loop.time() - began < 1
    assert sorted(got) == list(range(20))
    [released] = await redis.xinfo_consumers("orders", "g")
    assert (released["name"], released["pending"]) == (keys.RELEASED, 0)


async def test_p27_a_consumer_that_is_running_has_what_another_one_gives_back_within_a_second(
    url: str, redis: Redis
) -> None:
    got: list[int] = []
    release = asyncio.Event()
    holder = Broker(url, group="g", settings=Settings(grace=0.0))

    @holder.handler("orders", concurrency=5, lease=3600)
    async def hold(order: Order) -> None:
        await release.wait()

    loop = asyncio.get_running_loop()
    async with holder:
        await holder.publish_many("orders", [Order(number) for number in range(5)])
        await until(lambda: holder.status[0].running == 5)
        peer = consumer(url, got)
        await peer.__aenter__()
        before = (await redis.info("commandstats"))["cmdstat_xpending"]["calls"]
        await until(lambda: _calls_grow(redis, before))
    drained_at = loop.time()
    await until(lambda: len(got) == 5)
    assert loop.time() - drained_at < 1
    await peer.__aexit__(None, None, None)


async def _calls_grow(redis: Redis, before: int) -> bool:
    return (await redis.info("commandstats"))["cmdstat_xpending"]["calls"] > before


async def test_handlers_may_publish_also_during_the_drain(url: str, redis: Redis) -> None:
    started = asyncio.Event()
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        started.set()
        await asyncio.sleep(0.1)
        await broker.publish("bills", order)

    async with broker:
        await broker.publish("orders", Order(1))
        await started.wait()
    assert await redis.xlen("bills") == 1


async def test_connections_name_us(url: str, redis: Redis) -> None:
    async with consumer(url):
        names = {client.get("lib-name", "") for client in await redis.client_list()}
        server = (await redis.info("server"))["redis_version"]
    if server >= "7.2":
        assert any("redis-streams-aio" in name for name in names)


async def test_p16_many_subscriptions_are_opened_in_the_time_of_one_however_far_redis_is(
    server: Server, url: str
) -> None:
    """They took a third of a second each, one after another, 60 ms from Redis."""
    there_and_back = 0.06

    async def seconds_to_open(subscriptions: int) -> float:
        broker = Broker(network.url)
        for number in range(subscriptions):

            @broker.handler("orders", group=f"g{number}")
            async def handle(order: Order) -> None: ...

        began = time.monotonic()
        async with broker:
            return time.monotonic() - began

    async with proxy(server.port) as network:
        network.delay(there_and_back / 2)
        one, thirty = await seconds_to_open(1), await seconds_to_open(30)
    assert thirty < one + 30 * there_and_back, "less than a round trip for each"


async def test_the_parts_work_without_the_broker(connection: Connection) -> None:
    manager, producer = StreamManager(connection), StreamProducer(connection, settings=Settings())
    info = await manager.create_stream("orders")
    assert (info.length, info.groups, info.last_id) == (0, 0, None)
    ids = await producer.publish_many("orders", [Order(number) for number in range(10)])
    consumer = StreamConsumer(connection, "orders", "g", payload_type=Order, block=0.05)
    assert consumer.status.state == "starting"
    async with consumer:
        events = []
        async for event in consumer.subscribe():
            events.append(event)
            if len(events) == 10:
                assert consumer.status.held == 10
                assert [pending.id for pending in await consumer.get_pending()] == ids
                assert await consumer.acknowledge(*events[:9]) == 9
                assert await consumer.acknowledge(ids[9], "1-1") == 1
                consumer.stop()
        assert consumer.status.state == "draining"
    assert [event.id for event in events] == ids
    assert consumer.status.state == "stopped"
    assert (consumer.status.held, consumer.status.settled) == (0, 10)
    info = await manager.get_stream_info("orders")
    assert (info.length, info.first_id, info.last_id, info.entries_added) == (10, ids[0], ids[9], 10)
    assert await manager.trim("orders", maxlen=3, exact=True) == 7
    assert await manager.length("orders") == 3
    assert await manager.delete_stream("orders") is True
    assert await manager.delete_stream("orders") is False


async def test_a_stream_past_its_bound_is_told_once_until_it_is_within_it_again(connection: Connection) -> None:
    manager, producer = StreamManager(connection), StreamProducer(connection)
    told: list[tuple[str, int]] = []
    manager.watch_length("orders", 5, lambda stream, length: told.append((stream, length)))
    for count in (3, 3, 3):
        await producer.publish_many("orders", [Order(number) for number in range(count)])
        await manager.check_lengths()
    assert told == [("orders", 6)]
    await manager.trim("orders", maxlen=1, exact=True)
    await manager.check_lengths()
    await producer.publish_many("orders", [Order(number) for number in range(9)])
    await manager.check_lengths()
    assert told == [("orders", 6), ("orders", 10)]


async def test_p21_publishing_keeps_a_stream_near_its_max_length(url: str, redis: Redis) -> None:
    from redis_streams_aio import Retention, StreamSettings

    settings = Settings(streams={"orders": StreamSettings(retention=Retention(max_length=100))})
    async with Broker(url, settings=settings) as broker:
        for _ in range(5):
            await broker.publish_many("orders", [Order(number) for number in range(200)])
            await broker.publish_many("others", [Order(number) for number in range(200)])
    assert 100 <= await redis.xlen("orders") < 400
    assert await redis.xlen("others") == 1000
