"""Names that cannot work on a Cluster are refused by name, before anything is moved; elsewhere all work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from redis_streams_aio import (
    Broker,
    ConfigError,
    Connection,
    ConsumerGroupManager,
    DeadLetters,
    Delivery,
    HandlerDefinitionError,
    Reject,
    Router,
    ServerError,
    Settings,
    StreamConsumer,
    StreamManager,
)
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.releasing import release
from redis_streams_aio.connection.steps.sending import send_one
from redis_streams_aio.telemetry import Fact, StepFailed
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.waiting import until

ELSEWHERE = r"'graves' is on another Cluster slot than 'orders'.*name it e\.g\. '\{orders\}:graves'"


@pytest.fixture(scope="module")
def shard() -> Iterator[str]:
    """A Cluster of one node, which has all slots and refuses commands that span two, as managed services have it."""
    cluster = Cluster(primaries=1, replicas=0).start()
    yield f"redis://127.0.0.1:{cluster.nodes[0].port}/0"
    cluster.remove()


async def test_p30_dead_letters_on_another_slot_are_refused_with_a_name_that_works(shard: str) -> None:
    broker = Broker(shard, group="g")
    router = Router()

    @router.handler("orders", dead_letter="graves")
    async def bill(order: dict[str, int]) -> None: ...

    broker.include(router)
    with pytest.raises(ConfigError, match=ELSEWHERE):
        async with broker:
            pass
    async with Connection(shard) as connection:
        assert connection.is_cluster
        consumer = StreamConsumer(connection, "orders", "g", dead_letter="graves", payload_type=dict)
        with pytest.raises(ConfigError, match=ELSEWHERE):
            await consumer.open()
        letters = DeadLetters(connection, "orders", "g", dead_letter="graves")
        with pytest.raises(ConfigError, match=ELSEWHERE):
            await letters.replay()
        assert await letters.list() == [], "looking needs one slot only"
        assert await connection.call("EXISTS", "orders") == 0, "nothing was made"


def test_p30_with_the_url_of_a_cluster_it_is_refused_where_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker("redis://h", group="g")
    monkeypatch.setattr(Connection, "is_cluster", True)
    with pytest.raises(HandlerDefinitionError, match=ELSEWHERE):
        broker.handler("orders", dead_letter="graves")
    broker.handler("orders", dead_letter="{orders}:graves")


async def test_p30_a_name_whose_braces_keep_others_away_is_refused(shard: str) -> None:
    async with Connection(shard) as connection:
        with pytest.raises(ConfigError, match=r"stream 'a\}b': because of its braces.*name it e\.g\. 'ab'"):
            await StreamConsumer(connection, "a}b", "g", payload_type=dict).open()
        with pytest.raises(ServerError, match=r"a script on a\}b, .*CROSSSLOT"):
            await ConsumerGroupManager(connection).delete_group("a}b", "g")
        await StreamManager(connection).create_stream("a}b")


async def test_p30_what_shares_a_slot_works_on_a_cluster(shard: str) -> None:
    """Follow-ups with the acknowledgement and before it, dead letters beside the stream, and a replay of them."""
    broker = Broker(shard, group="g")
    tries: list[int] = []

    @broker.handler("orders", dead_letter="{orders}:graves", deduplicate=60)
    async def bill(order: dict[str, int], delivery: Delivery) -> None:
        tries.append(order["n"])
        if len(tries) == 1:
            raise Reject("bad")
        delivery.publish("{orders}:invoices", order, event_type="Invoice")
        delivery.publish("elsewhere", order, event_type="Invoice", atomic=False)

    async with broker:
        await broker.publish("orders", {"n": 1}, event_type="Order", event_id="o-1")
        letters = DeadLetters(broker.connection, "orders", "g", dead_letter="{orders}:graves")
        while not await letters.list():
            await asyncio.sleep(0.01)
        assert (await letters.replay()).in_place == 1
        await until(lambda: broker.status[0].settled == 2)
        for stream in ("{orders}:invoices", "elsewhere"):
            assert await StreamManager(broker.connection).length(stream) == 1


async def test_p30_released_entries_of_streams_on_several_slots_are_taken_over_at_once(shard: str) -> None:
    """Counts of releases cannot be read by one command there."""
    facts: list[Fact] = []
    broker = Broker(shard, group="r", settings=Settings(reclaim_interval=0.02), observers=[facts.append])
    handled: list[str] = []
    held: list[tuple[Consumer, bytes]] = []
    async with Connection(shard) as connection:
        for stream in ("a1", "b2", "c3"):

            @broker.handler(stream, lease=60)
            async def note(name: str, delivery: Delivery) -> None:
                handled.append(delivery.stream)

            entry_id = await connection.call("XADD", stream, "*", "event_type", "str", "payload", '"x"')
            assert isinstance(entry_id, bytes)
            await connection.call("XGROUP", "CREATE", stream, "r", "0")
            await connection.call("XREADGROUP", "GROUP", "r", "me", "STREAMS", stream, ">")
            held.append((Consumer(stream, "r", "me"), entry_id))
        async with broker:
            await asyncio.sleep(0.2)  # it looks when it starts, and then for a lease only when a count has changed
            for me, entry_id in held:
                await send_one(connection.link("settle", me.stream), release(me, [(entry_id, 0)]))
            await until(lambda: sorted(handled) == ["a1", "b2", "c3"])
    assert [fact for fact in facts if isinstance(fact, StepFailed)] == []


async def test_p30_on_one_server_all_names_work(url: str) -> None:
    async with Connection(url) as connection:
        assert not connection.is_cluster
        async with StreamConsumer(connection, "a}b", "g", dead_letter="graves", payload_type=dict):
            pass
        assert await ConsumerGroupManager(connection).delete_group("a}b", "g")
