"""How publishing uses the connection: who shares a round trip, what may wait, and for how long the loop is held."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import pytest
import redis as sync_redis
from redis.asyncio import Redis

from redis_streams_aio import (
    AuthenticationFailedError,
    Broker,
    InvalidEventError,
    NotOpenError,
    PartialPublishError,
    RedisRefusedError,
    RedisStreamsError,
    ServerError,
    StreamTypeError,
    UnansweredError,
)
from redis_streams_aio.connection import link
from redis_streams_aio.connection.wire import outbox
from redis_streams_aio.connection.wire.wire import Wire
from redis_streams_aio.testing.waiting import until
from tests.events import Order


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many XADDs each write to a socket had."""
    seen: list[int] = []
    write = Wire.write

    def count(self: Wire, packed: bytes) -> None:
        seen.append(packed.count(b"\r\nXADD\r\n"))
        write(self, packed)

    monkeypatch.setattr(Wire, "write", count)
    return seen


async def test_p23_a_hundred_tasks_share_round_trips(url: str, redis: Redis, writes: list[int]) -> None:

    async def publish_some(broker: Broker) -> None:
        for number in range(10):
            await broker.publish("orders", Order(number))

    async with Broker(url) as broker:
        await broker.publish("orders", Order(-1))
        writes.clear()
        await asyncio.gather(*(publish_some(broker) for _ in range(100)))
    assert writes == [100] * 10
    assert await redis.xlen("orders") - 1 == 1000


async def test_p23_one_task_s_calls_are_in_order_whatever_shares_their_round_trips(url: str, redis: Redis) -> None:
    async def publish_some(broker: Broker, task: int) -> list[str]:
        many = await broker.publish_many("orders", [Order(number) for number in range(3)], event_type=f"t{task}")
        return [*many, *[await broker.publish("orders", Order(n), event_type=f"t{task}") for n in range(3, 10)]]

    async with Broker(url) as broker:
        ids = await asyncio.gather(*(publish_some(broker, task) for task in range(20)))
    entries = await redis.xrange("orders")
    for task in range(20):
        assert [entry_id for entry_id, fields in entries if fields["event_type"] == f"t{task}"] == ids[task]


async def test_p23_after_a_part_that_failed_nothing_more_is_sent(url: str, redis: Redis, writes: list[int]) -> None:
    """Three parts by their bytes; what Redis refuses for good it would refuse again."""
    await redis.set("orders", "no stream")
    async with Broker(url) as broker:
        with pytest.raises(StreamTypeError, match="'orders'"):
            await broker.publish_many("orders", [b"x" * 60_000] * 12, event_type="Blob")
        assert writes == [4]
        await redis.delete("orders")
        assert len(await broker.publish_many("orders", [b"x" * 60_000] * 12, event_type="Blob")) == 12
        assert writes == [4, 4, 4, 4]


async def test_p28_what_waits_to_be_sent_is_bounded_in_bytes(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is slow, `publish` waits instead of filling the memory."""
    monkeypatch.setattr(outbox, "MOST_QUEUED", 50_000)
    async with Broker(url) as broker:
        await broker.publish("orders", Order(0))
        await redis.client_pause(10_000, all=False)
        tasks = [asyncio.create_task(broker.publish("orders", b"x" * 1000, event_type="Blob")) for _ in range(1000)]
        shared = broker.connection.link("publish")
        most = 0
        for _ in range(100):
            await asyncio.sleep(0)
            most = max(most, shared._outbox.size)
        assert 50_000 < most < 52_500
        assert not any(task.done() for task in tasks)
        await redis.client_unpause()
        await asyncio.gather(*tasks)
    assert await redis.xlen("orders") == 1001


async def test_publishing_very_many_holds_the_event_loop_for_moments_only(url: str, redis: Redis) -> None:
    """In processor time, which neighbours on the machine do not lengthen; composing all at once took half a second."""
    orders = [Order(number) for number in range(100_000)]
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(0)])
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)  # it watches from here on
        ids = await broker.publish_many("orders", orders)
        watching.cancel()
    assert len(set(ids)) == 100_000 == await redis.xlen("orders") - 1
    assert longest < 0.03


async def test_p23_what_is_published_is_what_was_there_at_the_call(url: str, redis: Redis) -> None:
    """Others have a turn while very many are composed, and may add to the same collection then."""
    buffer = deque(Order(number) for number in range(20_000))

    async def add() -> None:
        while True:
            buffer.append(Order(-1))
            await asyncio.sleep(0)

    async with Broker(url) as broker:
        adding = asyncio.create_task(add())
        ids = await broker.publish_many("orders", buffer)
        adding.cancel()
    assert len(ids) == 20_000 == await redis.xlen("orders")


async def test_p24_the_last_of_very_many_is_checked_before_the_first_is_sent(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        with pytest.raises(InvalidEventError):
            await broker.publish_many("orders", [*[Order(number) for number in range(20_000)], object()])
    assert not await redis.exists("orders")


async def test_p24_what_is_packed_once_mixes_no_streams_and_types_up(url: str, redis: Redis) -> None:
    """Also where a name looks like a piece of the protocol."""
    names = ["a", "b", "a$0\r\n\r\n", "<payload>", "ä"]
    async with Broker(url) as broker:
        for stream in ("one", "two"):
            for name in (*names, *names):
                await broker.publish(stream, Order(1), event_type=name)
            await broker.publish(stream, Order(1), event_type="a", key="k", event_id="e", headers={"h": "v"})
        for wrong in ("\ud800", "", 5):
            with pytest.raises(InvalidEventError):
                await broker.publish("one", Order(1), event_type=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidEventError, match="headers=None: expected a mapping"):
            await broker.publish("one", Order(1), headers=None)  # type: ignore[arg-type]
    for stream in ("one", "two"):
        entries = [fields for _, fields in await redis.xrange(stream)]
        assert [fields["event_type"] for fields in entries] == [*names, *names, "a"]
        assert [*entries[0]] == ["event_type", "payload"]
        assert [*entries[-1]] == ["event_type", "payload", "key", "event_id", "h:h"]
        assert {**entries[-1], "event_type": "a"}.items() >= entries[0].items()


async def test_p25_one_refused_and_then_lost_of_many_says_what_was_written(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a single one to send again, the ids of the others were lost with it."""
    send, calls = link.Link.send, 0

    async def refuse_one_then_lose(self: link.Link, packed: bytes, expected: int) -> list[object]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise UnansweredError("lost")
        return [*(await send(self, packed, expected))[:4], RedisRefusedError("OOM")]

    async with Broker(url) as broker:
        monkeypatch.setattr(link.Link, "send", refuse_one_then_lose)
        with pytest.raises(PartialPublishError) as caught:
            await broker.publish_many("orders", [Order(number) for number in range(5)])
        monkeypatch.undo()
    assert caught.value.ids[:4] == [entry_id for entry_id, _ in await redis.xrange("orders", count=4)]
    assert caught.value.ids[4] is None
    assert isinstance(caught.value.errors[0], UnansweredError)


@pytest.mark.parametrize("error", [NotOpenError("closed"), AuthenticationFailedError("WRONGPASS")])
async def test_p25_many_that_cannot_be_gone_on_with_say_what_was_written(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, error: RedisStreamsError
) -> None:
    """The connection is closed, or the credentials are refused, between two of their round trips."""
    send, calls = link.Link.send, 0

    async def send_once(self: link.Link, packed: bytes, expected: int) -> list[object]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise error
        return [*await send(self, packed, expected)]

    async with Broker(url) as broker:
        monkeypatch.setattr(link.Link, "send", send_once)
        with pytest.raises(PartialPublishError, match="2000 of 3000 events were not published") as caught:
            await broker.publish_many("orders", [Order(number) for number in range(3000)])
        with pytest.raises(type(error)):
            await broker.publish_many("orders", [Order(1)])
        monkeypatch.undo()
    assert caught.value.ids[:1000] == [entry_id for entry_id, _ in await redis.xrange("orders")]
    assert caught.value.errors[0] is error
    assert calls == 3, "and the last part was not tried"


@pytest.mark.parametrize("answer", [5, None, [b"1-1"]])
async def test_p23_an_answer_that_is_not_an_entry_id_is_an_error(
    url: str, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """Something that is not Redis answers there."""

    async def send(self: link.Link, packed: bytes, expected: int) -> list[object]:
        return [answer] * expected

    async with Broker(url) as broker:
        monkeypatch.setattr(link.Link, "send", send)
        with pytest.raises(ServerError):
            await broker.publish("orders", Order(1))
        with pytest.raises(ServerError):
            await broker.publish_many("orders", [Order(1), Order(2)])
        monkeypatch.undo()


async def test_p16_a_link_that_lost_its_connection_while_idle_makes_another(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        await broker.publish("orders", Order(0))
        await redis.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: broker.connection.link("publish")._wire is None)
        await asyncio.gather(*(broker.publish("orders", Order(number)) for number in range(10)))
    assert await redis.xlen("orders") == 11


async def test_p16_what_is_posted_as_the_connection_is_lost_is_not_written_to_it(url: str, redis: Redis) -> None:
    """The loop hears of the loss and of the caller at once; the caller came first, and was not answered."""
    async with Broker(url) as broker:
        await broker.publish("orders", Order(0))
        with sync_redis.Redis.from_url(url) as killer:
            killer.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0)
        await broker.publish("orders", Order(1))
    assert await redis.xlen("orders") == 2
