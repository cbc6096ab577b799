"""Redis comes back without the entries of the last moment (P30): that is told, and what is kept is not believed.

A server that is restarted from an older snapshot stands for a replica that is promoted and lags behind.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from redis_streams_aio import Broker, Connection, InMemoryCheckpointStore, StreamConsumer, StreamProducer
from redis_streams_aio.events import entry_ids
from redis_streams_aio.telemetry import Fact, HistoryLost
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

NewServer = Callable[..., Server]


class Elsewhere(InMemoryCheckpointStore):
    """A store that tells how often it was asked since it was given a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.at = ""
        self.asked = 0

    async def load(self, stream: str, group: str) -> str | None:
        self.asked += 1
        return await super().load(stream, group)

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        self.at, self.asked = entry_id, 0
        await super().save(stream, group, entry_id)


async def test_p30_entries_that_were_read_and_are_gone_are_told_once(new_server: NewServer) -> None:
    server = new_server("--save", "")
    facts: list[Fact] = []
    handled: list[int] = []
    broker = Broker(server.url, group="g", observers=[facts.append])

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        handled.append(order.number)

    def told() -> list[HistoryLost]:
        return [fact for fact in facts if isinstance(fact, HistoryLost)]

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: handled == [1])
        await asyncio.to_thread(ask, server, "SAVE")
        last = await broker.publish("orders", Order(2))
        await until(lambda: handled == [1, 2])
        await until(lambda: broker.status[0].settled == 2)
        await asyncio.to_thread(server.restart, signal.SIGKILL)
        await until(told, 20)
        await broker.publish("orders", Order(3))
        await until(lambda: handled[-1] == 3, 20)
        await asyncio.to_thread(server.restart, signal.SIGKILL)
        await until(lambda: len(told()) == 2, 20)
    first, second = told()
    assert (first.stream, first.group, first.count, first.id) == ("orders", "g", 1, last)
    assert entry_ids.is_later(second.id.encode(), last.encode())


async def test_p30_a_checkpoint_that_is_kept_elsewhere_goes_back_too(new_server: NewServer) -> None:
    """Else the group, if it is lost as well later, would be recreated behind entries that nobody has handled."""
    server = new_server("--save", "")
    store = Elsewhere()
    async with (
        Connection(server.url) as connection,
        StreamConsumer(
            connection, "orders", "g", payload_type=Order, checkpoints=store, checkpoint_interval=0.02
        ) as consumer,
    ):
        reading = asyncio.create_task(acknowledge_all(consumer))
        kept = await StreamProducer(connection).publish("orders", Order(1))
        await until(lambda: store.at == kept)
        await asyncio.to_thread(ask, server, "SAVE")
        lost = await StreamProducer(connection).publish("orders", Order(1))
        await until(lambda: store.at == lost and store.asked >= 1, what="it is saved, and checked once more")
        await asyncio.to_thread(server.restart, signal.SIGKILL)
        await until(lambda: store.at == kept, 20)
        reading.cancel()
        await asyncio.wait((reading,))


async def acknowledge_all(consumer: StreamConsumer[Order]) -> None:
    async for event in consumer.subscribe():
        await consumer.acknowledge(event)
