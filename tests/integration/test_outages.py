"""Redis misbehaving.

The broker stays up, waits, and resumes by itself; nothing acknowledged is lost (P16, P17, P19, P25, acceptance 15).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    PartialPublishError,
    RedisRefusedError,
    RedisUnavailableError,
    Settings,
    StreamConsumer,
    StreamProducer,
    UnansweredError,
)
from redis_streams_aio.connection.link import Link
from redis_streams_aio.consumer.intake import records
from redis_streams_aio.telemetry import Fact, StepFailed
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order


def consumer(url: str, got: list[int], **settings: object) -> Broker:
    broker = Broker(url, group="g", settings=Settings(**settings))  # type: ignore[arg-type]

    @broker.handler("orders", concurrency=4, lease=2)
    async def handle(order: Order) -> None:
        got.append(order.number)
        await asyncio.sleep(0)

    return broker


async def test_redis_restarted_at_one_third_and_at_one_half_all_acknowledged_publishes_arrive(
    new_server: Callable[..., Server],
) -> None:
    """Acceptance 15, with an append-only file."""
    server = new_server(appendonly=True)
    got: list[int] = []
    published: set[int] = set()
    restarts = [1000, 1500]

    async def publish_all(broker: Broker) -> None:
        for number in range(3000):
            try:
                await broker.publish("orders", Order(number))
            except RedisUnavailableError:
                continue
            published.add(number)

    async with consumer(server.url, got) as broker:
        publishing = asyncio.create_task(publish_all(broker))
        for at in restarts:
            await until(lambda n=at: len(published) >= n, 30)
            await asyncio.to_thread(server.restart, signal.SIGKILL)
        await asyncio.wait_for(publishing, 60)
        await until(lambda: published <= set(got), 20)
    assert len(published) > 2900


async def test_redis_restarted_empty_the_group_is_made_again_and_new_events_arrive(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    got: list[int] = []
    async with consumer(server.url, got) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        await asyncio.to_thread(server.restart, signal.SIGKILL)
        await broker.publish("orders", Order(2))
        await until(lambda: got == [1, 2], 15)


async def test_connections_that_are_killed_come_back(url: str, redis: Redis) -> None:
    got: list[int] = []
    async with consumer(url, got) as broker:
        for number in range(20):
            await redis.client_kill_filter(_type="normal", skipme=True)
            try:
                await broker.publish("orders", Order(number))
            except UnansweredError:
                await broker.publish("orders", Order(number))
            await until(lambda n=number: n in got)
    assert set(got) == set(range(20))


async def test_an_idle_connection_that_the_server_closed_costs_no_publish(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        await broker.publish("orders", Order(1))
        await redis.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: _only_us(redis))
        await asyncio.sleep(0.02)  # the close is on its way through the loopback
        await broker.publish("orders", Order(2))
    assert await redis.xlen("orders") == 2


async def _only_us(redis: Redis) -> bool:
    return len(await redis.client_list()) == 1


async def test_scripts_forgotten_by_the_server_are_taught_again(url: str, redis: Redis) -> None:
    attempts: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        attempts.append(order.number)
        await redis.script_flush()
        from redis_streams_aio import Reject

        raise Reject("no")

    async with broker:
        await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: _length(redis, "{orders}:g:dead", 2))


async def _length(redis: Redis, stream: str, length: int) -> bool:
    return await redis.xlen(stream) == length


async def test_a_full_redis_refuses_publishes_clearly_and_consumers_drain_it(new_server: Callable[..., Server]) -> None:
    server = new_server("--maxmemory-policy", "noeviction")
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    got: list[int] = []
    async with Broker(server.url, settings=Settings(command_timeout=0.5)) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(100)])
        await redis.xgroup_create("orders", "g", "0")
        await redis.config_set("maxmemory", "1")
        with pytest.raises(RedisRefusedError, match="OOM"):
            await publisher.publish("orders", Order(100))
        async with consumer(server.url, got, checkpoints="memory"):
            await until(lambda: len(got) == 100)
        await redis.config_set("maxmemory", "0")
        await publisher.publish("orders", Order(100))
    assert (await redis.xpending("orders", "g"))["pending"] == 0
    await redis.aclose()


async def test_p3_a_links_deadline_holds_also_while_it_connects(new_server: Callable[..., Server]) -> None:
    """The lease keeper's link must be free for another try while a connection does not come about."""
    server = new_server()
    async with Connection(server.url) as connection:
        link = connection.new_links(0.3).of("control", connection.node_of())
        server.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(RedisUnavailableError):
            await link.call("PING")
        assert loop.time() - began < 1.5
        server.thaw()
        await until(lambda: _pings(link))
        await link.close()


async def _pings(link: Link) -> bool:
    try:
        return await link.call("PING") == b"PONG"
    except RedisUnavailableError:
        return False


async def test_a_publish_that_was_refused_holds_up_none_that_comes_after_it(url: str, redis: Redis) -> None:
    """Whoever asks is answered, not told of what Redis said to somebody else before."""
    try:
        async with Broker(url, settings=Settings(command_timeout=0.2)) as broker:
            for _ in range(5):
                await redis.config_set("maxmemory", "1")
                with pytest.raises(RedisRefusedError, match="OOM"):
                    await broker.publish("orders", Order(1))
                await redis.config_set("maxmemory", "0")
                await broker.publish("orders", Order(2))
    finally:
        await redis.config_set("maxmemory", "0")


async def test_what_redis_refuses_for_now_is_published_when_it_can_be(url: str, redis: Redis) -> None:
    """READONLY, then not: within `command_timeout`, and once."""
    server_is_full = await redis.config_get("maxmemory")
    await redis.config_set("maxmemory", "1")
    async with Broker(url) as broker:
        publishing = asyncio.create_task(broker.publish_many("orders", [Order(n) for n in range(5)]))
        await until(lambda: _refused(redis))
        await redis.config_set("maxmemory", server_is_full["maxmemory"])
        ids = await publishing
    assert [entry_id for entry_id, _ in await redis.xrange("orders")] == ids


async def _refused(redis: Redis) -> bool:
    return "errorstat_OOM" in await redis.info("errorstats")


async def test_p25_a_publish_that_timed_out_is_not_repeated(new_server: Callable[..., Server]) -> None:
    server = new_server()
    async with Broker(server.url, settings=Settings(command_timeout=0.3)) as broker:
        await broker.publish("orders", Order(1))
        server.freeze()
        with pytest.raises(UnansweredError, match="it is not known whether Redis executed it"):
            await broker.publish("orders", Order(2))
        with pytest.raises(RedisUnavailableError):
            await broker.publish("orders", Order(3))
        server.thaw()
        await broker.publish("orders", Order(4))
        redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
        numbers = [fields["payload"][10] for _, fields in await redis.xrange("orders")]
        await redis.aclose()
    assert numbers == ["1", "2", "4"]


async def test_a_frozen_redis_is_noticed_and_left_and_reading_resumes(new_server: Callable[..., Server]) -> None:
    server = new_server()
    got: list[int] = []
    settings = {"command_timeout": 0.3, "block_ms": 200}
    async with consumer(server.url, got, **settings) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        server.freeze()
        await asyncio.sleep(1)  # longer than block and deadline: the fault itself
        server.thaw()
        await broker.publish("orders", Order(2))
        await until(lambda: 2 in got)


async def test_while_redis_is_away_nobody_hammers_it(new_server: Callable[..., Server]) -> None:
    """P16: not more than 20 tries a second while something is wrong."""
    server = new_server()
    got: list[int] = []
    async with consumer(server.url, got) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        server.stop()
        tries = 0

        async def count_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tries
            tries += 1
            writer.close()

        listener = await asyncio.start_server(count_one, "127.0.0.1", server.port)
        await asyncio.sleep(3)  # the time over which tries are counted
        listener.close()
        await listener.wait_closed()
        print(f"{tries} connections in 3 s")
        assert tries <= 60
        server.start()
        await broker.publish("orders", Order(2))
        await until(lambda: 2 in got)


async def test_a_drain_does_not_wait_for_a_redis_that_is_gone(new_server: Callable[..., Server]) -> None:
    """P27."""
    server = new_server()
    got: list[int] = []
    loop = asyncio.get_running_loop()
    async with consumer(server.url, got) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        server.freeze()
        began = loop.time()
    assert loop.time() - began < 12


async def test_credentials_that_change_at_run_time(new_server: Callable[..., Server]) -> None:
    """A password that is taken away and comes back: red, then green again by itself."""
    server = new_server("--requirepass", "one")
    url = server.url.replace("127.0.0.1", ":one@127.0.0.1")
    admin = Redis.from_url(url, protocol=2, decode_responses=True)
    got: list[int] = []
    async with consumer(url, got) as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])
        await admin.config_set("requirepass", "two")
        await admin.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.3)  # some tries with the wrong password
        await admin.config_set("requirepass", "one")
        await admin.xadd("orders", {"event_type": "Order", "payload": '{"number":2}'})
        await until(lambda: 2 in got, 15)
    await admin.aclose()


async def test_p23_publish_many_says_which_were_published_when_redis_went_away_in_the_middle(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis_streams_aio.connection.link import Link

    send, calls = Link.send, 0

    async def lose_the_second(self: Link, packed: bytes, expected: int) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise UnansweredError("lost")
        return await send(self, packed, expected)

    async with Broker(url) as broker:
        monkeypatch.setattr(Link, "send", lose_the_second)
        with pytest.raises(PartialPublishError, match="1500 of 2500 events were not published") as caught:
            await broker.publish_many("orders", [Order(number) for number in range(2500)])
        monkeypatch.undo()
    error = caught.value
    in_stream = [entry_id for entry_id, _ in await redis.xrange("orders")]
    assert error.ids[:1000] == in_stream
    assert error.ids[1000:] == [None] * 1500
    assert isinstance(error.errors[0], UnansweredError)
    assert not isinstance(error.errors[-1], UnansweredError), "never sent, and may be sent again"


async def test_what_was_taken_over_is_not_forgotten_when_its_history_cannot_be_read(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: held but not handed on would be lost for as long as this process renews it."""

    await StreamProducer(connection).publish_many("orders", [Order(number) for number in range(3)])
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "me", {"orders": ">"})

    async def unavailable(*_: object) -> None:
        raise RedisUnavailableError("away")

    consumer = StreamConsumer(connection, "orders", "g", name="me", payload_type=Order)
    async with consumer:
        with monkeypatch.context() as patched:
            patched.setattr(records, "_recall", unavailable)
            with pytest.raises(RedisUnavailableError):
                await consumer.fetch(10)
        assert consumer.status.held == 0
        assert await consumer.fetch(10) == 3
        assert consumer.status.held == 3


async def test_p16_a_redis_that_is_read_only_is_waited_for_at_start_and_later(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    facts: list[Fact] = []
    got: list[int] = []
    broker = Broker(server.url, group="g", observers=[facts.append])

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    def refused(duty: str) -> bool:
        failed = [fact for fact in facts if isinstance(fact, StepFailed)]
        return any(duty in fact.duty and "READONLY" in fact.error for fact in failed)

    async def run() -> None:
        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: got == [1])
            await redis.replicaof("127.0.0.1", "1")
            await until(lambda: refused("read"))
            await redis.replicaof("NO", "ONE")
            await broker.publish("orders", Order(2))
            await until(lambda: got == [1, 2])

    await redis.replicaof("127.0.0.1", "1")
    running = asyncio.create_task(run())
    await until(lambda: refused("open"))
    await redis.replicaof("NO", "ONE")
    await running
    await redis.aclose()


async def test_connect_timeout_also_holds_for_a_redis_that_refuses(new_server: Callable[..., Server]) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    await redis.replicaof("127.0.0.1", "1")
    with pytest.raises(RedisRefusedError, match="READONLY"):
        async with consumer(server.url, [], connect_timeout=0.3):
            pass
    await redis.aclose()
