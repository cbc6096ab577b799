"""Durability of publishing: a call returns when enough copies of its events are confirmed, or says they are not."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    Connection,
    InvalidEventError,
    NotDurableError,
    PartialPublishError,
    Settings,
    StreamProducer,
    StreamSettings,
    UnsupportedServerError,
)
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until

NewServer = Callable[..., Server]
AT_ONCE = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")


class Pair:
    """A primary and its replica."""

    def __init__(self, new_server: NewServer) -> None:
        self.primary, self.replica = new_server(*AT_ONCE), new_server(*AT_ONCE)

    async def joined(self) -> Pair:
        async with (
            Redis(port=self.replica.port) as replica,
            Redis(port=self.primary.port, single_connection_client=True) as primary,
        ):
            await replica.execute_command("REPLICAOF", "127.0.0.1", self.primary.port)

            async def follows() -> bool:
                number = await primary.incr("probe")
                counted = await primary.execute_command("WAIT", 1, 50)
                return bool(counted) and int(await replica.get("probe") or 0) == number

            await until(follows)  # the first write may have come with the snapshot, those behind it come by themselves
            await until(follows)
            await primary.config_resetstat()
        return self

    async def calls(self, command: str) -> int:
        """How often the primary was sent a command."""
        async with Redis(port=self.primary.port) as redis:
            return int((await redis.info("commandstats")).get(f"cmdstat_{command}", {}).get("calls", 0))

    async def entries(self, server: Server, stream: str = "orders") -> int:
        async with Redis(port=server.port) as redis:
            return int(await redis.xlen(stream))


@pytest.fixture
async def pair(new_server: NewServer) -> Pair:
    return await Pair(new_server).joined()


REPLICATED = Settings(command_timeout=1, streams={"orders": StreamSettings(durability="replicated")})


async def publish(producer: StreamProducer, count: int = 1, stream: str = "orders") -> list[str]:
    return await asyncio.gather(*(producer.publish(stream, b"x", event_type="E") for _ in range(count)))


async def test_a_replica_has_what_was_published_when_the_call_returns(pair: Pair) -> None:
    async with Connection(pair.primary.url) as connection:
        producer = StreamProducer(connection, settings=REPLICATED)
        for number in range(1, 20):
            await publish(producer)
            assert await pair.entries(pair.replica) == number
        await producer.publish_many("orders", [b"x"] * 2500, event_type="E")
        assert await pair.entries(pair.replica) == 2519
        assert await pair.calls("wait") == 19 + 3, "one for a round trip"


async def test_calls_at_once_share_one_question(pair: Pair) -> None:
    async with Connection(pair.primary.url) as connection:
        producer = StreamProducer(connection, settings=REPLICATED)
        ids = await publish(producer, 500)
        assert ids == sorted(ids, key=lambda each: (*map(int, each.split("-")),)), "in the order of their calls"
        assert len(set(ids)) == 500
        assert await pair.calls("wait") <= 2


async def test_without_durability_nothing_is_asked(pair: Pair) -> None:
    async with Connection(pair.primary.url) as connection:
        producer = StreamProducer(connection, settings=REPLICATED)
        await publish(producer, stream="clicks")
        await producer.publish("orders", b"x", event_type="E", durability="memory")
        await producer.publish_many("orders", [b"x"], event_type="E", durability="memory")
        assert await pair.calls("wait") == 0
        await producer.publish("clicks", b"x", event_type="E", durability="replicated")
        assert await pair.calls("wait") == 1


async def test_too_few_copies_are_told_with_the_ids_and_hold_up_nobody_else(pair: Pair) -> None:
    async with Connection(pair.primary.url) as connection, Broker(pair.primary.url, settings=REPLICATED) as broker:
        producer = StreamProducer(connection, settings=REPLICATED)
        await publish(producer)
        pair.replica.freeze()
        waiting = asyncio.gather(*(publish(producer) for _ in range(5)), return_exceptions=True)
        await asyncio.sleep(0)
        for _ in range(20):
            await publish(producer, stream="clicks")
        assert not waiting.done(), "others do not wait behind the question"
        failed = await waiting
        assert [type(each) for each in failed] == [NotDurableError] * 5
        with pytest.raises(NotDurableError, match="1 event is in the stream.*: 0 of 1 replicas confirmed") as told:
            await broker.publish("orders", b"x", event_type="E")
        assert (told.value.reached, told.value.asked, len(told.value.ids)) == (0, 1, 1)
        copied = pickle.loads(pickle.dumps(told.value))  # our own
        assert (copied.ids, copied.reason, str(copied)) == (told.value.ids, told.value.reason, str(told.value))
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(NotDurableError, match="4500 events are in the stream") as told:
            await producer.publish_many("orders", [b"x"] * 4500, event_type="E")
        assert loop.time() - began < 2, "one wait, however many round trips"
        assert await pair.entries(pair.primary) == 1 + 5 + 1 + 4500 == len(set(told.value.ids)) + 7
        pair.replica.thaw()
        await publish(producer)


async def test_more_replicas_than_there_are(pair: Pair) -> None:
    settings = Settings(command_timeout=1, streams={"orders": StreamSettings(durability="replicated", replicas=2)})
    async with Connection(pair.primary.url) as connection:
        with pytest.raises(NotDurableError, match="1 of 2 replicas confirmed in 0.5 s") as told:
            await publish(StreamProducer(connection, settings=settings))
        assert (told.value.reached, told.value.asked) == (1, 2)


async def test_the_disk(new_server: NewServer) -> None:
    server = new_server(appendonly=True)
    async with Connection(server.url) as connection:
        producer = StreamProducer(connection, settings=Settings(command_timeout=1))
        if server.kind == "redis-7.0":
            with pytest.raises(UnsupportedServerError, match=r"redis 7\.0\.\d+ does not have: use 7.2 or later"):
                await producer.publish("orders", b"x", event_type="E", durability="disk")
            assert await connection.call("XLEN", "orders") == 0
            return
        await producer.publish("orders", b"x", event_type="E", durability="disk")
        server.restart()
        assert await connection.call("XLEN", "orders") == 1
        await connection.call("CONFIG", "SET", "appendonly", "no")
        with pytest.raises(NotDurableError, match="WAITAOF was refused: .*appendonly is disabled") as told:
            await producer.publish("orders", b"x", event_type="E", durability="disk")
        assert len(told.value.ids) == 1
        assert await connection.call("XLEN", "orders") == 2


async def test_a_user_that_may_not_ask_is_told_so(pair: Pair) -> None:
    async with Redis(port=pair.primary.port) as redis:
        await redis.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", "+hello", "+xadd")
    async with Connection(pair.primary.url.replace("//", "//u:p@")) as connection:
        with pytest.raises(NotDurableError, match="WAIT was refused: .*permission"):
            await publish(StreamProducer(connection, settings=REPLICATED))


async def test_what_redis_refuses_for_the_moment_is_sent_again_with_its_question(pair: Pair) -> None:
    async with Connection(pair.primary.url) as connection:
        producer = StreamProducer(connection, settings=Settings(command_timeout=10, streams=REPLICATED.streams))
        await connection.call("CONFIG", "SET", "maxmemory", "1")
        publishing = asyncio.create_task(publish(producer))
        await until(lambda: bool(producer._publisher.resending.shut))
        await connection.call("CONFIG", "SET", "maxmemory", "0")
        assert len(await publishing) == 1
        assert await pair.entries(pair.replica) == 1


async def test_errors_of_events_come_before_those_of_copies(pair: Pair) -> None:
    """A stream's own error, and one that is refused for good, whether or not copies were counted."""
    async with Connection(pair.primary.url) as connection:
        producer = StreamProducer(connection, settings=REPLICATED)
        await connection.call("SET", "orders", "text")
        with pytest.raises(Exception, match="orders.*(not a stream|wrong kind)"):
            await publish(producer)
        with pytest.raises(InvalidEventError, match="durability='tape': expected one of 'memory', "):
            await producer.publish("orders", b"x", event_type="E", durability="tape")  # type: ignore[arg-type]
        with pytest.raises(InvalidEventError, match="durability=3"):
            await producer.publish_many("orders", [], event_type="E", durability=3)  # type: ignore[arg-type]
        assert not issubclass(NotDurableError, PartialPublishError)


async def test_a_broker_tells_at_opening_what_its_server_would_lose(
    new_server: NewServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    async with Broker(server.url, settings=REPLICATED):
        await until(lambda: "durability asks for 1 of its replicas, and it has 0" in caplog.text)
    assert caplog.text.count("maxmemory-policy is allkeys-lru: when it is full it deletes streams") == 1
    caplog.clear()
    async with Redis(port=server.port, decode_responses=True, protocol=2) as redis:
        rights = ("+@all", "-info", "-config")
        await redis.execute_command("ACL", "SETUSER", "u", "on", ">p", "~*", *rights)
        async with Broker(server.url.replace("//", "//u:p@"), settings=REPLICATED):
            await until(lambda: refused_info(redis))
    assert "maxmemory" not in caplog.text


async def refused_info(redis: Redis) -> bool:
    return any(line["object"] == "info" for line in await redis.acl_log())
