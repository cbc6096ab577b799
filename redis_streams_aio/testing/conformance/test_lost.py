"""Streams, groups and entries vanish under the consumers, and Redis does not know (P17, P18, P20)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import pytest

from redis_streams_aio import Connection, ConsumerGroupManager, LagWatcher, RedisCheckpointStore, StreamManager
from redis_streams_aio.telemetry import EntriesVanished, Fact, GroupRecreated
from redis_streams_aio.testing.waiting import until

from .kit import BRISK, LEASE, Order, nothing_left, noting, orders, publish, subscriber, until_count

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_37_a_stream_deleted_under_the_broker_is_read_again_from_its_first_event(
    url: str, stream: str, connection: Connection
) -> None:
    """Never silently at the end, and what was lost is told (P17)."""
    got: list[int] = []
    facts: list[Fact] = []
    async with subscriber(url, stream, noting(got), observers=[facts.append], start="$") as broker:
        await broker.publish(stream, Order(0))
        await until_count(got, 1)
        await StreamManager(connection).delete_stream(stream)
        await broker.publish_many(stream, orders(range(1, 6)))
        await until_count(got, 6)
        await nothing_left(url, stream)
    assert got == list(range(6))
    assert [fact for fact in facts if isinstance(fact, GroupRecreated)]


async def test_38_a_group_destroyed_under_the_broker_goes_on_at_its_checkpoint(
    url: str, stream: str, connection: Connection
) -> None:
    """Nothing again, and nothing left out (P17, P18)."""
    got: list[int] = []
    store = RedisCheckpointStore(connection)

    async with subscriber(url, stream, noting(got), settings=BRISK, start="$") as broker:
        ids = await broker.publish_many(stream, orders(range(5)))

        async def saved() -> bool:
            return await store.load(stream, "g") == ids[-1]

        await until(saved)
        await connection.call("XGROUP", "DESTROY", stream, "g")
        await broker.publish(stream, Order(5))
        await until_count(got, 6)
    assert got == list(range(6))


async def test_39_an_entry_deleted_while_it_was_pending_is_told_and_settled(
    url: str, stream: str, connection: Connection
) -> None:
    """The entry was held by a consumer that is gone; the other entry it held is handled (P20)."""
    ids = await publish(url, stream, range(2))
    await ConsumerGroupManager(connection).create_group(stream, "g")
    await connection.call("XREADGROUP", "GROUP", "g", "gone", "STREAMS", stream, ">")
    await connection.call("XCLAIM", stream, "g", "gone", 0, *ids, "IDLE", 3_600_000)
    await connection.call("XDEL", stream, ids[0])
    got: list[int] = []
    facts: list[Fact] = []
    async with subscriber(url, stream, noting(got), settings=BRISK, observers=[facts.append], lease=LEASE) as broker:
        await until_count(got, 1)
        await nothing_left(url, stream)
        assert broker.status[0].vanished == 1
    assert got == [1]
    assert [fact.ids for fact in facts if isinstance(fact, EntriesVanished)] == [(ids[0],)]


async def test_40_a_lag_that_redis_does_not_know_is_counted_or_unknown_and_never_zero(
    url: str, stream: str, connection: Connection
) -> None:
    """After a delete in the middle Redis has no number; counted up to a thousand, unknown beyond (P20)."""
    ids = await publish(url, stream, range(1300))
    groups = ConsumerGroupManager(connection)
    await groups.create_group(stream, "g", ids[1199])
    await groups.create_group(stream, "h", ids[99])
    await connection.call("XDEL", stream, ids[1250])
    near, far = await LagWatcher(connection, [(stream, "g"), (stream, "h")]).run_once()
    assert near.lag == 99
    assert far.lag in (None, 1199)
