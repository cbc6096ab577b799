"""Several nodes: commands, scripts and readers go to the node of their key, by links of their own."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable

import pytest

from redis_streams_aio import (
    Broker,
    Connection,
    ConsumerGroupManager,
    Delivery,
    LagWatcher,
    NotOpenError,
    RedisRefusedError,
    RedisUnavailableError,
    Settings,
    StreamManager,
    StreamProducer,
    WrongNodeError,
)
from redis_streams_aio.connection.node import Node
from redis_streams_aio.connection.packing import Argument
from redis_streams_aio.connection.reader import Reader
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.connection.verdicts import Move, Verdict, verdict
from redis_streams_aio.testing.servers import Server


class TwoNodes:
    """Keys that begin with b live on the second of two servers. A move teaches it more."""

    only = None

    def __init__(self, first: Node, second: Node) -> None:
        self._nodes = (first, second)

    def node_of(self, key: Argument | None = None) -> Node:
        return self._nodes[str(key).startswith("b")]

    def after(self, error: WrongNodeError) -> Verdict | Move:
        return verdict(error)


async def reader_is_unblocked(reader: Reader) -> None:
    """The order to end a read goes to the node where it waits."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = asyncio.create_task(reader.read(Consumer("b", "g", "c"), count=1, block=5))
    while not waiting.done():
        await reader.unblock()
    assert (await waiting, loop.time() - began < 3) == ([], True)


async def test_each_command_goes_to_the_node_of_its_key(new_server: Callable[..., Server]) -> None:
    """By the links of one purpose to two nodes, by scripts, by readers, and by many commands together."""
    one, other = new_server(), new_server()
    async with Connection(one.url) as connection, Connection(other.url) as second:
        connection._lead_to(TwoNodes(connection.node_of(), second.node_of()))
        for purpose, key in itertools.product(("publish", "settle", "control"), ("a", "b")):
            await connection.call("XADD", key, "*", "f", purpose, purpose=purpose)  # type: ignore[arg-type]
        assert connection.link("control", "a") is not connection.link("control", "b")
        assert connection.link("control") is connection.link("control", "a")
        await second.call("XADD", "b", "*", "f", "more")
        assert await connection.call_many([("XLEN", "b"), ("XLEN", "a"), ("XLEN", "b")]) == [4, 3, 4]
        assert await connection.run(Script("return redis.call('XLEN', KEYS[1])", keys={"stream": "xlen"}), "b") == 4
        await connection.call("XGROUP", "CREATE", "b", "g", "0")
        reader = connection.reader("b")
        assert len(await reader.read(Consumer("b", "g", "c"), count=10, block=0.1)) == 4
        await reader_is_unblocked(reader)
        link = connection.new_links(1.0).of("control", connection.node_of("b"))
        assert await link.call("XLEN", "b") == 4
        await link.close()
        links = [connection.link("control", key) for key in ("a", "b")]
    for closed in links:
        with pytest.raises(NotOpenError):
            await closed.call("PING")


async def test_p31_follow_ups_that_are_sent_before_go_each_to_the_node_of_its_stream(
    new_server: Callable[..., Server],
) -> None:
    one, other = new_server(), new_server()
    broker = Broker(one.url, group="g")
    handled = asyncio.Event()

    @broker.handler("a")
    async def follow(order: dict[str, int], delivery: Delivery) -> None:
        for stream in ("b1", "a1", "b1"):
            delivery.publish(stream, order, event_type="Order", atomic=False)
        handled.set()

    async with Connection(other.url) as second, broker:
        broker.connection._lead_to(TwoNodes(broker.connection.node_of(), second.node_of()))
        await broker.publish("a", {"n": 1}, event_type="Order")
        await asyncio.wait_for(handled.wait(), 10)
    async with Connection(one.url) as first, Connection(other.url) as second:
        assert await first.call("XPENDING", "a", "g") == [0, None, None, None], "acknowledged behind them"
        assert await first.call("XLEN", "a1") == 1
        assert await second.call("XLEN", "b1") == 2


async def test_a_node_that_refuses_or_is_gone_stands_in_the_way_of_no_other(new_server: Callable[..., Server]) -> None:
    """Publishing to the others goes on at once; commands over all nodes have an error in the place of its answers."""
    one, other = new_server(), new_server()
    async with Connection(one.url, command_timeout=2) as connection, Connection(other.url) as second:
        connection._lead_to(TwoNodes(connection.node_of(), second.node_of()))
        await second.call("CONFIG", "SET", "maxmemory", "1")
        producer = StreamProducer(connection, settings=Settings(command_timeout=2))
        refused = asyncio.create_task(producer.publish("b", b"x", event_type="E"))
        while not producer._publisher.resending.shut:  # within its first answer
            await asyncio.sleep(0)
        assert not producer._publisher.resending.is_open("b")
        for _ in range(10):
            await producer.publish("a", b"x", event_type="E")
            await producer.publish_many("a", [b"x", b"y"], event_type="E")
        assert not refused.done()
        with pytest.raises(RedisRefusedError, match="OOM"):
            await refused
        assert producer._publisher.resending.shut == {}, "nobody waits: the next one tries at once"

        manager = StreamManager(connection)
        for stream in ("b", "a"):
            manager.watch_length(stream, 10, lambda stream, _: told.append(stream))
        told: list[str] = []
        other.stop(signal.SIGKILL)
        with pytest.raises(RedisUnavailableError):
            await manager.check_lengths()
        assert told == ["a"], "the length of the one that answers is told"
        [gone, length] = await connection.call_many([("XLEN", "b"), ("XLEN", "a")])
        assert (isinstance(gone, RedisUnavailableError), length) == (True, 30)


async def test_streams_are_made_and_measured_at_the_node_of_their_key(new_server: Callable[..., Server]) -> None:
    one, other = new_server(), new_server()
    async with Connection(one.url) as connection, Connection(other.url) as second:
        connection._lead_to(TwoNodes(connection.node_of(), second.node_of()))
        for stream in ("a", "b"):
            assert (await StreamManager(connection).create_stream(stream)).groups == 0
            assert (await StreamManager(connection).create_stream(stream)).length == 0, "it is there already"
            await ConsumerGroupManager(connection).create_group(stream, "g", start="0")
            await connection.call("XADD", stream, "*", "f", "v")
        assert await second.call("EXISTS", "a") == 0
        reports = await LagWatcher(connection, [("a", "g"), ("b", "g")]).run_once()
        assert [(each.stream, each.lag, each.oldest_age is not None) for each in reports] == [
            ("a", 1, True),
            ("b", 1, True),
        ]
