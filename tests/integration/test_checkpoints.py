"""Checkpoints: read and stored in one step, beside replays, lost and deleted groups, and stores that misbehave (P14,
P17, P18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    CheckpointStore,
    CheckpointStoreError,
    Connection,
    ConsumerGroupManager,
    DeadLetters,
    InMemoryCheckpointStore,
    RedisCheckpointStore,
    Reject,
    Settings,
    StreamConsumer,
    StreamTypeError,
)
from redis_streams_aio.checkpoint import CheckpointWriter, current
from redis_streams_aio.connection.steps.checkpoints import CHECKPOINT
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.events import entry_ids
from redis_streams_aio.telemetry import CheckpointSaved, Fact, Telemetry
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

KEY = "{orders}:g:checkpoint"


def rejecting(url: str, got: list[int], *rejected: int, start: str = "0", **settings: object) -> Broker:
    """Handles all but those."""
    broker = Broker(url, group="g", settings=Settings(checkpoint_interval=0.02, **settings))  # type: ignore[arg-type]

    @broker.handler("orders", start=start)
    async def handle(order: Order) -> None:
        got.append(order.number)
        if order.number in rejected:
            raise Reject("not yet")

    return broker


async def settled(redis: Redis) -> bool:
    [group] = await redis.xinfo_groups("orders")
    return (group["pending"], group["lag"]) == (0, 0)


# -- one step -------------------------------------------------------------------------------------------------


async def test_p18_a_replay_between_reading_and_storing_is_not_lost_with_the_group(
    url: str, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stood still between the two, and stored a checkpoint that was ahead of what was replayed."""
    got: list[int] = []
    async with rejecting(url, got, 1) as broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: settled(redis))
    await redis.delete(KEY)
    run = connection.run

    async def then_a_replay(script: Script, *arguments: Any, **named: Any) -> Any:
        answer = await run(script, *arguments, **named)
        if script is CHECKPOINT:
            monkeypatch.undo()
            await DeadLetters(connection, "orders", "g").replay()
        return answer

    monkeypatch.setattr(connection, "run", then_a_replay)
    await CheckpointWriter(connection, RedisCheckpointStore(connection), "orders", "g").run_once()
    stored = await redis.get(KEY)
    assert entry_ids.parse(stored) < entry_ids.parse(ids[0])
    assert stored == await current(connection, "orders", "g")
    await redis.xgroup_destroy("orders", "g")
    async with rejecting(url, got):
        await until(lambda: got.count(1) == 2)


async def test_p18_a_group_that_is_joined_while_something_is_replayed_stays_behind_it(
    url: str, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining stores the checkpoint too."""
    got: list[int] = []
    async with rejecting(url, got, 1) as broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: settled(redis))
    await redis.delete(KEY)
    run = Connection.run

    async def then_a_replay(self: Connection, script: Script, *arguments: Any, **named: Any) -> Any:
        answer = await run(self, script, *arguments, **named)
        if script is CHECKPOINT:
            monkeypatch.undo()
            await DeadLetters(connection, "orders", "g").replay()
        return answer

    monkeypatch.setattr(Connection, "run", then_a_replay)
    async with StreamConsumer(connection, "orders", "g", checkpoints=RedisCheckpointStore(connection)):
        assert entry_ids.parse(await redis.get(KEY)) < entry_ids.parse(ids[0])


async def test_p18_saving_a_checkpoint_in_redis_is_one_round_trip(server: Server, redis: Redis) -> None:
    facts: list[Fact] = []
    await redis.xadd("orders", {"a": "b"}, id="5-1")
    await redis.xgroup_create("orders", "g", "0")
    await redis.xreadgroup("g", "c", {"orders": ">"})
    async with proxy(server.port) as network, Connection(network.url) as connection:
        writer = CheckpointWriter(
            connection, RedisCheckpointStore(connection), "orders", "g", telemetry=Telemetry([facts.append])
        )
        assert await writer.run_once() == "5-0"
        before = network.requests
        await redis.xack("orders", "g", "5-1")
        for expected in ("5-1", "5-1"):
            assert await writer.run_once() == expected == await redis.get(KEY)
        assert network.requests == before + 2
    assert [fact.id for fact in facts if isinstance(fact, CheckpointSaved)] == ["5-0", "5-1"], "told where it changed"


async def test_p18_a_key_that_is_no_checkpoint_is_replaced(connection: Connection, redis: Redis) -> None:
    await redis.xadd("orders", {"a": "b"}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    await redis.rpush(KEY, "a list")
    writer = CheckpointWriter(connection, RedisCheckpointStore(connection), "orders", "g")
    assert await writer.run_once() == "5-1" == await redis.get(KEY)


async def test_p18_a_store_in_another_redis_is_written_by_itself(
    connection: Connection, redis: Redis, new_server: Callable[..., Server]
) -> None:
    other = new_server()
    await redis.xadd("orders", {"a": "b"}, id="5-1")
    await redis.xgroup_create("orders", "g", "$")
    async with Connection(other.url) as elsewhere, Redis.from_url(other.url, protocol=2, decode_responses=True) as its:
        writer = CheckpointWriter(connection, RedisCheckpointStore(elsewhere), "orders", "g")
        assert not writer.is_atomic
        assert await writer.run_once() == "5-1" == await its.get(KEY)
    assert await redis.get(KEY) is None


# -- stores of users ------------------------------------------------------------------------------------------


class Moody:
    """A store that raises, so often, whatever it is asked."""

    def __init__(self, *errors: BaseException, found: Any = None) -> None:
        self.errors = list(errors)
        self.found = found
        self.saved: list[str] = []

    async def load(self, stream: str, group: str) -> Any:
        return self.found

    async def save(self, stream: str, group: str, entry_id: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.saved.append(entry_id)

    def __repr__(self) -> str:
        raise RuntimeError("not even this")


ERRORS = (OSError("disk full"), KeyError("x"), TimeoutError(), AssertionError(), ValueError("odd"))


async def test_p14_a_store_that_raises_holds_up_nothing_and_is_asked_again(
    connection: Connection, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(50):
        await redis.xadd("orders", {"payload": f'{{"number": {number}}}'})
    store = Moody()
    got: list[object] = []
    async with StreamConsumer(
        connection, "orders", "g", checkpoints=store, checkpoint_interval=0.001, block=0.01, count=1
    ) as consumer:
        store.errors, store.saved = list(ERRORS), []
        async for event in consumer.subscribe():
            got.append(event.payload)
            await consumer.acknowledge(event)
            if len(got) == 50:
                consumer.stop()
        assert consumer.status.state == "draining"
    assert store.errors == [], "it was asked each time"
    assert store.saved[-1] == await current(connection, "orders", "g")
    assert "disk full" in caplog.text


async def test_p14_a_consumer_whose_store_raises_at_the_start_says_so(connection: Connection) -> None:
    class Broken(Moody):
        async def load(self, stream: str, group: str) -> Any:
            raise LookupError("no such table")

    consumer = StreamConsumer[Any](connection, "orders", "g", checkpoints=Broken())
    with pytest.raises(CheckpointStoreError, match=r"load\('orders', 'g'\): LookupError: no such table") as raised:
        await consumer.open()
    assert isinstance(raised.value.__cause__, LookupError)


async def test_p14_a_store_that_raises_while_the_group_is_lost_is_waited_for(
    connection: Connection, redis: Redis
) -> None:
    """Where the group is to be made again is known by the store alone; nothing is skipped for that."""

    class Away(Moody):
        away = 0

        async def load(self, stream: str, group: str) -> Any:
            if self.away:
                self.away -= 1
                raise OSError("away")
            return self.saved[-1] if self.saved else None

    for number in range(2):
        await redis.xadd("orders", {"payload": f'{{"number": {number}}}'})
    store, got = Away(), []
    async with StreamConsumer(connection, "orders", "g", checkpoints=store, block=0.01, start="0") as consumer:
        async for event in consumer.subscribe():
            got.append(event.payload["number"])
            await consumer.acknowledge(event)
            if len(got) == 2:
                store.away = 2
                await redis.xgroup_destroy("orders", "g")
                await redis.xadd("orders", {"payload": '{"number": 2}'})
            if 2 in got:
                consumer.stop()
    assert store.away == 0


@pytest.mark.parametrize("found", [b"5-0", 5, "soon", "", object(), ["5-0"], "5-0-0"])
async def test_p14_what_a_store_returns_that_is_no_entry_id_is_ignored(
    connection: Connection, redis: Redis, found: object
) -> None:
    await redis.xadd("orders", {"payload": '{"number": 1}'})
    store: CheckpointStore = Moody(found=found)
    async with StreamConsumer[Any](connection, "orders", "g", checkpoints=store) as consumer:
        assert await consumer.fetch(1) == 1


# -- groups that are deleted on purpose -----------------------------------------------------------------------


@pytest.mark.parametrize("checkpoints", ["redis", "memory"])
async def test_p8_a_group_that_is_deleted_under_its_consumers_begins_at_its_start(
    url: str, redis: Redis, connection: Connection, checkpoints: str
) -> None:
    """Two processes, which remember where they were: the group was made again there."""
    one: list[int] = []
    two: list[int] = []
    first, broker = (rejecting(url, got, checkpoints=checkpoints) for got in (one, two))
    async with first, broker:
        await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: sorted(one + two) == [1, 2])
        await until(lambda: settled(redis))
        assert await ConsumerGroupManager(connection).delete_group("orders", "g") is True
        await until(lambda: sorted(one + two) == [1, 1, 2, 2])
        await until(lambda: settled(redis))
        assert await redis.exists("{orders}:g:deleted") == 0, "told once"
        await until(lambda: _writes_are_done(first) and _writes_are_done(broker))
        await redis.xgroup_destroy("orders", "g")  # a loss, and on nobody's purpose
        await broker.publish("orders", Order(3))
        await until(lambda: 3 in one + two)
        await until(lambda: settled(redis))
    again = [1, 2] if checkpoints == "memory" and len(one + two) > 5 else []  # a process that settled nothing is behind
    assert sorted(one + two) == sorted([1, 1, 2, 2, 3, *again])


def _writes_are_done(broker: Broker) -> bool:
    assert broker._supervisor is not None
    return not any(
        each.checkpoint_due or each.is_handling or len(each.holdings) for each in broker._supervisor.subscriptions
    )


async def test_p8_a_group_that_is_deleted_while_nobody_runs_begins_at_the_end_where_that_is_its_start(
    url: str, redis: Redis, connection: Connection
) -> None:
    got: list[int] = []
    async with rejecting(url, got, start="$") as broker:
        await broker.publish("orders", Order(1))
        await until(lambda: settled(redis))
    await ConsumerGroupManager(connection).delete_group("orders", "g")
    await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 2}'})
    async with rejecting(url, got, start="$") as broker:
        await broker.publish("orders", Order(3))
        await until(lambda: 3 in got)
    assert got == [1, 3]


async def test_p8_a_users_store_does_not_bring_back_a_group_that_was_deleted(
    connection: Connection, redis: Redis
) -> None:
    await redis.xadd("orders", {"payload": "{}"}, id="5-1")
    store = InMemoryCheckpointStore()
    await store.save("orders", "g", "5-1")
    groups = ConsumerGroupManager(connection)
    await groups.create_group("orders", "g", "$")
    await groups.delete_group("orders", "g")
    async with StreamConsumer[Any](connection, "orders", "g", checkpoints=store) as consumer:
        assert await consumer.fetch(1) == 1
        assert await store.load("orders", "g") == "5-0" or await store.load("orders", "g") == "0-0"


async def test_deleting_a_group_is_all_or_nothing(connection: Connection, redis: Redis) -> None:
    keys = [f"{{orders}}:g:{what}" for what in ("checkpoint", "failures", "released", "leases")]
    groups = ConsumerGroupManager(connection)
    for key in keys:
        await redis.set(key, "5-0")
    await redis.set("orders", "no stream")
    with pytest.raises(StreamTypeError):
        await groups.delete_group("orders", "g")
    assert await redis.exists(*keys) == 4, "nothing was touched"
    await redis.delete("orders")
    assert await groups.delete_group("orders", "g") is False
    assert await redis.exists(*keys, "{orders}:g:deleted") == 0, "what is left of a group goes, and no mark is made"
    await groups.create_group("orders", "g")
    assert await groups.delete_group("orders", "g") is True
    assert 0 < await redis.pttl("{orders}:g:deleted") <= 86_400_000


async def test_p18_a_store_that_is_empty_is_a_store(connection: Connection, redis: Redis) -> None:
    """An object with `__len__` is false while it has nothing: it was taken for no store, and nothing was saved."""

    class Shelf(dict[tuple[str, str], str]):
        async def load(self, stream: str, group: str) -> str | None:
            return self.get((stream, group))

        async def save(self, stream: str, group: str, entry_id: str) -> None:
            self[stream, group] = entry_id

    shelf = Shelf()
    entry_id = await redis.xadd("orders", {"event_type": "E", "payload": "{}"})
    async with StreamConsumer(
        connection, "orders", "g", checkpoints=shelf, block=0.01, checkpoint_interval=0.01
    ) as one:
        async for event in one.subscribe():
            await one.acknowledge(event)
            one.stop()
    assert shelf == {("orders", "g"): entry_id}
