"""Leases: lost ones cancel their handler, or not; the keeper's thread and its deadline (P3, P4)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import BatchDelivery, Broker, Connection, Delivery, RetryPolicy, Settings
from redis_streams_aio.connection.steps.claims import CLAIM
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.holdings import Shared
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT, DeadLettered, Fact, LeaseLost, RetryScheduled
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.members import Member

LEASE = 0.6
SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=3)


async def steal(redis: Redis, *ids: str) -> None:
    """Another consumer takes entries over, as after a long silence of this one."""
    for entry_id in ids:
        await redis.xclaim("orders", "g", "thief", 0, [entry_id])


async def test_p4_a_handler_whose_lease_is_lost_is_cancelled_and_writes_nothing(url: str, redis: Redis) -> None:
    facts: list[Fact] = []
    ends: list[str] = []
    began = asyncio.Event()
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", lease=LEASE, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        if order.number == 1:
            began.set()
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)  # cleaning up may wait
                ends.append(f"cancelled, lost: {delivery.lost}")
        ends.append(f"handled {order.number}")

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await began.wait()
        await steal(redis, entry_id)
        await until(lambda: ends)
        await broker.publish("orders", Order(2))
        await until(lambda: broker.status[0].settled == 1)
        assert ends == ["cancelled, lost: True", "handled 2"], "its lane goes on with the next one"
        pending = await redis.xpending_range("orders", "g", "-", "+", 10)
        assert [(entry["message_id"], entry["consumer"]) for entry in pending] == [(entry_id, "thief")]
    assert [fact for fact in facts if isinstance(fact, LeaseLost)]
    assert not [fact for fact in facts if isinstance(fact, RetryScheduled | DeadLettered)], "it is no failure"
    assert await redis.exists("{orders}:g:failures", "{orders}:g:dead") == 0


async def test_p4_with_on_lost_continue_the_handler_goes_on_and_its_success_acknowledges(
    url: str, redis: Redis
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    lost: list[bool] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", lease=LEASE, on_lost="continue")
    async def handle(order: Order, delivery: Delivery) -> None:
        began.set()
        await until(lambda: delivery.lost)
        await go_on.wait()
        lost.append(delivery.lost)

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await began.wait()
        await steal(redis, entry_id)
        go_on.set()
        await until(lambda: lost == [True])
        await until(lambda: _nothing_pending(redis))


async def test_p4_a_cancelled_handler_that_returns_nevertheless_acknowledges(url: str, redis: Redis) -> None:
    began = asyncio.Event()
    broker = Broker(url, group="g")

    @broker.handler("orders", lease=LEASE)
    async def handle(order: Order) -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return  # it was done, as far as it is concerned

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await began.wait()
        await steal(redis, entry_id)
        await until(lambda: _nothing_pending(redis))


async def test_p4_a_batch_is_cancelled_when_nothing_of_it_is_ours_any_more(url: str, redis: Redis) -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    batches: list[BatchDelivery] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=3, within=3600, lease=LEASE)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        batches.append(batch)
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(3)])
        await began.wait()
        await steal(redis, *ids[:2])
        await until(lambda: [delivery.lost for delivery in batches[0]] == [True, True, False])
        assert not ended.is_set(), "one of the three is still ours to do"
        await steal(redis, ids[2])
        await asyncio.wait_for(ended.wait(), 5)
        assert batches[0].lost
        await until(lambda: broker.status[0].running == 0)
    assert (await redis.xpending("orders", "g"))["consumers"] == [{"name": "thief", "pending": 3}]


@pytest.mark.parametrize("lease_thread", [True, False])
async def test_p3_a_handler_that_blocks_the_event_loop_keeps_its_lease_where_a_thread_renews_it(
    url: str, redis: Redis, lease_thread: bool
) -> None:
    idle: list[int] = []
    broker = Broker(url, group="g", settings=Settings(lease_thread=lease_thread))
    from redis import Redis as BlockingRedis

    def look() -> None:
        with BlockingRedis.from_url(url, protocol=2, decode_responses=True) as client:
            [entry] = client.xpending_range("orders", "g", "-", "+", 1)
            idle.append(entry["time_since_delivered"])

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order) -> None:
        time.sleep(1)  # the very thing that this is about
        look()

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
    if lease_thread:
        assert idle[0] < 300, "renewed by the thread"
    else:
        assert idle[0] >= 900, "nobody could renew it: the test above shows something"
    assert "redis_streams_aio leases" not in [thread.name for thread in threading.enumerate()]


async def test_p3_p4_what_the_thread_finds_lost_is_told_in_the_event_loop(url: str, redis: Redis) -> None:
    facts: list[tuple[Fact, str]] = []
    began = asyncio.Event()
    cancelled = asyncio.Event()
    broker = Broker(
        url,
        group="g",
        settings=Settings(lease_thread=True),
        observers=[lambda fact: facts.append((fact, threading.current_thread().name))],
    )

    @broker.handler("orders", lease=LEASE)
    async def handle(order: Order) -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await began.wait()
        await steal(redis, entry_id)
        await asyncio.wait_for(cancelled.wait(), 5)
    assert {thread for fact, thread in facts if isinstance(fact, LeaseLost)} == {threading.main_thread().name}


@pytest.mark.parametrize("lease_thread", [True, False])
async def test_p3_a_connection_gone_silent_is_left_in_time_for_another_renewal(
    new_server: Callable[..., Server], lease_thread: bool
) -> None:
    """The keeper's deadline is its interval, not the ten seconds of other commands."""
    server = new_server()
    starts: list[int] = []
    broker = Broker(server.url, group="g", settings=Settings(lease_thread=lease_thread, reclaim_interval=0.1))
    other = Broker(server.url, group="g", settings=Settings(reclaim_interval=0.1))

    @broker.handler("orders", lease=1.5)
    @other.handler("orders", lease=1.5)
    async def handle(order: Order) -> None:
        starts.append(order.number)
        await asyncio.sleep(3)

    async with broker, other:
        await broker.publish("orders", Order(1))
        await until(lambda: starts)
        server.freeze()
        await asyncio.sleep(0.9)  # longer than an interval, shorter than what is left of the lease
        server.thaw()
        await until(lambda: broker.status[0].settled + other.status[0].settled == 1)
    assert starts == [1], "nobody else began it"


async def test_p26_a_hundred_starts_with_a_lease_thread_leave_no_thread_and_no_connection(
    url: str, redis: Redis
) -> None:
    before = threading.active_count()
    await until(lambda: _clients(redis, 1))  # those of the test before are gone too
    broker = Broker(url, group="g", settings=Settings(lease_thread=True))

    @broker.handler("orders", lease=0.1)
    async def handle(order: Order) -> None:
        await asyncio.sleep(0.05)

    for number in range(100):
        async with broker:
            await broker.publish("orders", Order(number))
    assert threading.active_count() == before
    await until(lambda: _clients(redis, 1))


async def test_p3_a_lease_thread_on_memory() -> None:
    got: list[int] = []
    broker = Broker("memory://", group="g", settings=Settings(lease_thread=True))

    @broker.handler("orders", lease=0.3)
    async def handle(order: Order, delivery: Delivery) -> None:
        await asyncio.sleep(0.5)
        got.append(order.number)
        assert not delivery.lost

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: got == [1])


async def _nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def _clients(redis: Redis, count: int) -> bool:
    return len(await redis.client_list()) == count


async def test_p3_what_is_buffered_for_longer_than_its_lease_is_nobody_elses(url: str) -> None:
    """Two events wait for a batch to be full, for four leases, while another consumer looks for what was left."""
    got: list[tuple[int, int]] = []

    def make() -> Broker:
        broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05))

        @broker.handler("orders", batch=10, within=1.6, lease=0.4)
        async def load(orders: list[Order], batch: BatchDelivery) -> None:
            got.extend((order.number, delivery.deliveries) for order, delivery in zip(orders, batch, strict=True))

        return broker

    first, second = make(), make()
    async with first:
        await first.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: first.status[0].buffered == 2)
        async with second:
            await until(lambda: first.status[0].settled == 2)
    assert got == [(1, 1), (2, 1)]


async def test_p1_what_is_settled_while_it_is_claimed_is_not_handled_again(
    connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lease of silence another one took what we hold and died, and the answer to our claim comes late."""
    sunk: list[Delivery] = []
    member = Member(
        Shared(connection, SILENT),
        SubscriptionOptions(stream="orders", group="g", lease=LEASE),
        ConsumerOptions(),
        None,
        sunk.extend,
    )
    await member.open()
    entry_id = await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
    assert await member.fetch(10) == 1
    await redis.xclaim("orders", "g", "thief", 0, [entry_id], idle=60_000, justid=True)
    run = connection.run

    async def settle_meanwhile(script: Script, *arguments: Any, **named: Any) -> Any:
        answer = await run(script, *arguments, **named)
        if script is CLAIM:
            member.settlement.ack(sunk[0])
            await member.settlement.acks.flush()
        return answer

    monkeypatch.setattr(connection, "run", settle_meanwhile)
    assert await member.reclaim(10) == 0
    assert len(sunk) == 1, "handled again"
    assert len(member.holdings) == 0
    await member.close()
