"""Several nodes: commands, scripts and readers go to the node of their key, by links of their own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from redis_streams_aio import Connection, NotOpenError, WrongNodeError
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
        link = connection.new_link(1.0, "b")
        assert await link.call("XLEN", "b") == 4
        await link.close()
        links = [connection.link("control", key) for key in ("a", "b")]
    for closed in links:
        with pytest.raises(NotOpenError):
            await closed.call("PING")
