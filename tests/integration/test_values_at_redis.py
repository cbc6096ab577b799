"""What users write, as it comes out at Redis and in handlers: names, bytes, and entries that other programs wrote."""

from __future__ import annotations

import enum

import msgspec
import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Broker,
    ConsumerGroupManager,
    DeadLetters,
    Delivery,
    EncodeError,
    FieldsCodec,
    JsonCodec,
    LagWatcher,
    MsgpackCodec,
    Reject,
    StreamConsumer,
)
from redis_streams_aio.codecs import PayloadCodec
from redis_streams_aio.events import replays
from redis_streams_aio.models import History
from redis_streams_aio.telemetry import DeadLettered, Fact
from redis_streams_aio.testing.waiting import until
from tests.events import Order


class Shop(str, enum.Enum):  # noqa: UP042  # that is what users have
    ORDERS = "orders"
    BILLING = "billing"
    PLACED = "OrderPlaced"


async def test_p12_names_that_are_members_of_an_enumeration_name_the_same_keys_as_their_values(
    url: str, redis: Redis
) -> None:
    broker = Broker(url, group=Shop.BILLING)
    seen: list[object] = []

    @broker.handler(Shop.ORDERS, event_type=Shop.PLACED)
    async def handle(order: dict[str, int], delivery: Delivery) -> None:
        seen.append((delivery.event.key, delivery.event.headers))
        raise Reject("no")

    async with broker:
        await broker.publish(
            Shop.ORDERS, {"n": 1}, event_type=Shop.PLACED, key=Shop.BILLING, headers={Shop.PLACED: Shop.PLACED}
        )
        await broker.publish("orders", {"n": 2}, event_type="OrderPlaced", key="billing")
        letters = DeadLetters(broker.connection, "orders", "billing")
        await until(letters.count, what="a dead letter")
        await until(lambda: len(seen) == 2)
        assert DeadLetters(broker.connection, Shop.ORDERS, Shop.BILLING).key == "{orders}:billing:dead"
        assert await LagWatcher(broker.connection, [(Shop.ORDERS, Shop.BILLING)]).run_once()
        assert await ConsumerGroupManager(broker.connection).get_group_info(Shop.ORDERS, Shop.BILLING)
        consumer = StreamConsumer(broker.connection, Shop.ORDERS, Shop.BILLING)
        assert "Shop" not in repr(consumer)
    assert seen == [("billing", {"OrderPlaced": "OrderPlaced"}), ("billing", {})]
    assert [key for key in await redis.keys() if "Shop" in key or "ORDERS" in key] == []


async def test_p18_a_stream_that_is_nothing_but_a_hash_tag_has_a_checkpoint_of_its_own(url: str, redis: Redis) -> None:
    """It began at the checkpoint of `orders`, and skipped what was below it."""
    handled: list[str] = []

    def broker(stream: str) -> Broker:
        made = Broker(url, group="g")

        @made.handler(stream)
        async def handle(order: Order, delivery: Delivery) -> None:
            handled.append(delivery.id)

        return made

    entry = {"event_type": "Order", "payload": '{"number":1}'}
    await redis.xadd("orders", entry, id="9-0")  # type: ignore[arg-type]
    async with broker("orders"):
        await until(lambda: handled == ["9-0"])
        await until(lambda: redis.get("{orders}:g:checkpoint"), what="a checkpoint")
    await redis.xadd("{orders}", entry, id="5-0")  # type: ignore[arg-type]
    async with broker("{orders}"):
        await until(lambda: handled == ["9-0", "5-0"])
        await until(lambda: redis.get("{orders}:redis_streams_aio:g:checkpoint"), what="a checkpoint of its own")
    assert await redis.get("{orders}:g:checkpoint") == "9-0"


async def test_p13_only_a_whole_replay_for_another_group_is_passed_over(url: str, redis: Redis) -> None:
    """An entry of another program whose first field is named like ours was acknowledged without a word."""
    facts: list[Fact] = []
    handled: list[int] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        handled.append(order.number)

    async def added(number: int, *first: str | bytes) -> None:
        await redis.execute_command(
            "XADD", "orders", "*", *first, "event_type", "Order", "payload", f'{{"number":{number}}}'
        )

    history = replays.encode(History("1-0", 1, 2.0, "failures", "no", 1))
    async with broker:
        await added(1, "replayed_for", "another")
        await added(2, replays.FOR_GROUP, "another")
        await added(3, replays.FOR_GROUP, "another", replays.HISTORY, "no history")
        await added(4, replays.FOR_GROUP, "another", "more", history)
        await added(5, replays.FOR_GROUP, "another", replays.HISTORY, history)
        await added(6, replays.FOR_GROUP, "g", replays.HISTORY, history)
        await redis.xadd("orders", {replays.FOR_GROUP: "another", "order": "7"})
        await redis.xadd("orders", {replays.FOR_GROUP: "another"})
        await added(8)
        await until(lambda: 8 in handled)
        await until(lambda: len([fact for fact in facts if isinstance(fact, DeadLettered)]) == 2)
    assert handled == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec()])
async def test_p24_bytes_come_back_as_they_went_in(url: str, redis: Redis, codec: PayloadCodec) -> None:
    broker = Broker(url, group="g", codec=codec)
    got: list[object] = []

    @broker.handler("blobs")
    async def blob(body: bytes) -> None:
        got.append(body)

    @broker.handler("orders")
    async def order(order: Order) -> None:
        got.append(order)

    @broker.handler("texts")
    async def text(body: str) -> None:
        got.append(body)

    async with broker:
        for sent in (b"\x00hello\xff", bytearray(b"hello"), memoryview(b"hello")):
            await broker.publish("blobs", sent, event_type="Blob")
        await broker.publish_many("blobs", [b"one", b"two"], event_type="Blob")
        await until(lambda: len(got) == 5)
        await broker.publish("orders", codec.encode(Order(7)), event_type="Order")
        await broker.publish("texts", "hello", event_type="Text")
        await until(lambda: len(got) == 7)
        await broker.publish("texts", b"\xc1 not a text of any codec", event_type="Text")
        await until(lambda: redis.xlen("{texts}:g:dead"), what="a dead letter")
        if isinstance(codec, JsonCodec):
            with pytest.raises(EncodeError, match=r"\$\.total is nan"):
                await broker.publish("orders", {"total": float("nan")}, event_type="Order")
    assert got[:5] == [b"\x00hello\xff", b"hello", b"hello", b"one", b"two"]
    assert sorted(map(str, got[5:])) == sorted(map(str, [Order(7), "hello"]))
    [(_, entry)] = await redis.xrevrange("blobs", count=1)
    assert entry == {"event_type": "Blob", "payload": "two", "content_type": "application/octet-stream"}


class Source(msgspec.Struct):
    table: str


class Value(msgspec.Struct):
    op: str
    source: Source
    before: dict[str, int] | None = None


class Change(msgspec.Struct):
    key: dict[str, int]
    value: Value
    version: int = 1


async def test_p13_an_entry_of_a_change_data_capture_is_read_with_its_json(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")
    got: list[Change] = []

    @broker.handler("changes", codec=FieldsCodec())
    async def change(change: Change) -> None:
        got.append(change)

    async with broker:
        value = '{"op": "u", "before": null, "source": {"table": "customers", "ts_ms": 17}}'
        await redis.xadd("changes", {"key": '{"id": 1}', "value": value, "version": ""})
        await until(lambda: got == [Change({"id": 1}, Value("u", Source("customers")))])
