"""A subscription is paused, resumed, started and stopped while others work (P2, P3, P10, P27)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, NotOpenError, RedisRefusedError, Reject, RetryPolicy, Settings
from redis_streams_aio.consumer.settle import writer
from redis_streams_aio.consumer.subscription import Subscription
from redis_streams_aio.events import keys
from redis_streams_aio.telemetry import Drained, Fact, LeaseLost, Released
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

LEASE = 0.6


class Handling:
    """Handlers that run until they may end, and what they were given."""

    def __init__(self, url: str, *streams: str, **settings: Any) -> None:
        self.begun: list[int] = []
        self.done: list[int] = []
        self.may_end = asyncio.Event()
        self.facts: list[Fact] = []
        self.broker = Broker(
            url,
            group="g",
            settings=Settings(reclaim_interval=0.05, block_ms=200, **settings),
            observers=[self.facts.append],
        )
        self.options: dict[str, Any] = {"lease": LEASE}
        self.streams = streams or ("orders",)

    def declare(self, **options: Any) -> Handling:
        for stream in self.streams:
            self.broker.handler(stream, **{**self.options, **options})(self._handle)
        return self

    async def _handle(self, order: Order) -> None:
        self.begun.append(order.number)
        await self.may_end.wait()
        self.done.append(order.number)

    def lost(self) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, LeaseLost)]


def running(broker: Broker, stream: str = "orders") -> Subscription:
    assert broker._supervisor is not None
    return next(each for each in broker._supervisor.subscriptions if each.options.stream == stream)


async def buffers(subscription: Subscription, count: int) -> None:
    """Have it hold so many entries whose handler has not begun, as after a time of quick handlers."""
    subscription._room.buffer_size.limit = 1000
    subscription._freed.set()
    await until(lambda: subscription.status.buffered == count)


async def publish(url: str, *numbers: int, stream: str = "orders", **named: Any) -> None:
    async with Broker(url) as broker:
        for number in numbers:
            await broker.publish(stream, Order(number), **named)


async def owners(redis: Redis, stream: str = "orders") -> list[str]:
    return [entry["consumer"] for entry in await redis.xpending_range(stream, "g", "-", "+", 1000)]


async def has_owners(redis: Redis, expected: list[str]) -> bool:
    return await owners(redis) == expected


async def renewed(redis: Redis, consumer: str, stream: str = "orders") -> None:
    """Make an entry of a consumer look long idle, and wait until its lease is renewed."""
    [entry, *_] = await redis.xpending_range(stream, "g", "-", "+", 10, consumer)
    await redis.xclaim(stream, "g", consumer, 0, [entry["message_id"]], idle=500, justid=True)

    async def is_young() -> bool:
        [now, *_] = await redis.xpending_range(stream, "g", "-", "+", 10, consumer)
        return now["time_since_delivered"] < 400

    await until(is_young)


# -- pause and resume -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "begun"), [({}, 1), ({"order": "key"}, 1), ({"order": "none", "concurrency": 2}, 2)])
async def test_p27_a_pause_releases_what_has_not_begun_and_lets_the_rest_end(
    url: str, redis: Redis, what: dict[str, Any], begun: int
) -> None:
    one = Handling(url).declare(**what)
    await publish(url, *range(1, 7), key="ada")
    async with one.broker as broker:
        await until(lambda: len(one.begun) == begun)
        subscription = running(broker)
        await buffers(subscription, 6 - begun)
        consumer = subscription.holdings.consumer
        subscription.pause()
        await until(lambda: has_owners(redis, [consumer] * begun + [keys.RELEASED] * (6 - begun)))
        assert (subscription.status.running, subscription.status.buffered) == (begun, 0)
        await renewed(redis, consumer)
        one.may_end.set()
        await until(lambda: subscription.status.settled == begun)
        await publish(url, 7, key="ada")
        await round_trips(broker)
        assert one.begun == list(range(1, begun + 1)), "nothing began during the pause"
        subscription.resume()
        await until(lambda: len(one.done) == 7)
    assert sorted(one.done) == list(range(1, 8)), "each was handled once"
    assert not one.lost()


async def round_trips(broker: Broker) -> None:
    """Let so much time pass that a read would have brought what there is."""
    supervisor = broker._supervisor
    assert supervisor is not None
    for _ in range(20):
        await supervisor.measure_lag()


async def test_p2_others_handle_what_a_paused_process_released(url: str, redis: Redis) -> None:
    one, other = Handling(url).declare(), Handling(url).declare(order="none", concurrency=8)
    other.may_end.set()
    await publish(url, *range(1, 7))
    async with one.broker as broker:
        await until(lambda: one.begun == [1])
        await buffers(running(broker), 5)
        async with other.broker:
            running(broker).pause()
            await until(lambda: sorted(other.done) == [2, 3, 4, 5, 6])
        one.may_end.set()
        await until(lambda: one.done == [1])
        await until(lambda: has_owners(redis, []))


async def test_p2_resume_begins_with_the_own_pending_entries(url: str, redis: Redis) -> None:
    one = Handling(url).declare()
    one.may_end.set()
    async with one.broker as broker:
        subscription = running(broker)
        await until(lambda: broker.ready)
        subscription.pause()
        await until(lambda: not subscription._reading.is_active)
        await publish(url, 1, 2, 3)
        consumer = subscription.holdings.consumer
        await redis.xreadgroup("g", consumer, {"orders": ">"}, count=2)  # as if an answer was lost
        await publish(url, 4)
        subscription.resume()
        await until(lambda: one.done == [1, 2, 3, 4])


async def test_p27_resume_does_not_wait_for_a_handler_that_runs(url: str) -> None:
    one = Handling(url).declare(concurrency=2, order="none")
    async with one.broker as broker:
        subscription = running(broker)
        await publish(url, 1)
        await until(lambda: one.begun == [1])
        subscription.pause()
        await until(lambda: not subscription._reading.is_active)
        await publish(url, 2)
        subscription.resume()
        await until(lambda: one.begun == [1, 2])
        one.may_end.set()
        await until(lambda: sorted(one.done) == [1, 2])


async def test_p27_a_pause_and_a_resume_in_one_turn_change_nothing(url: str) -> None:
    one = Handling(url).declare(concurrency=4, order="none")
    one.may_end.set()
    async with one.broker as broker:
        subscription = running(broker)
        for number in range(20):
            await publish(url, number)
            subscription.pause()
            subscription.resume()
            subscription.pause()
            await asyncio.sleep(0)
            subscription.resume()
        await until(lambda: sorted(one.done) == list(range(20)))


@pytest.mark.parametrize("order", ["stream", "key"])
async def test_p7_p27_a_retry_that_waits_at_a_pause_goes_on_where_it_was(url: str, redis: Redis, order: Any) -> None:
    """Its lane is free after the pause: what comes behind it waits for nobody else."""
    attempts: list[int] = []
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05, block_ms=200))

    @broker.handler("orders", order=order, retry=RetryPolicy(base=0.4, cap=0.4, jitter=False))
    async def handle(order: Order) -> None:
        attempts.append(order.number)
        if attempts == [1]:
            raise ValueError("not now")

    async with broker:
        subscription = running(broker)
        await publish(url, 1, 2, key="ada")
        await until(lambda: subscription.status.delayed == 1)
        subscription.pause()
        await until(lambda: len(subscription.holdings) == 0)
        assert set(await owners(redis)) == {keys.RELEASED}
        subscription.resume()
        await until(lambda: attempts == [1, 1, 2])
    assert await redis.exists("{orders}:g:failures") == 0


async def test_p2_a_pause_with_a_full_cap_empties_it(url: str, redis: Redis) -> None:
    one = Handling(url, count=5).declare()
    await publish(url, *range(30))
    async with one.broker as broker:
        subscription = running(broker)
        await until(lambda: one.begun == [0])
        await buffers(subscription, 10)  # concurrency + 2 * count are held: it asks for no more
        subscription.pause()
        await until(lambda: len(subscription.holdings) == 1)
        one.may_end.set()
        subscription.resume()
        await until(lambda: one.done == list(range(30)), 15)


async def test_p13_p27_a_fate_that_could_not_be_written_is_written_during_the_pause(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full, tried = True, 0
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.05))
    send = writer.send

    async def refused_while_full(link: Any, steps: Any) -> Any:
        nonlocal tried
        tried += 1
        if is_full:
            return [RedisRefusedError("OOM command not allowed")] * len(steps)
        return await send(link, steps)

    monkeypatch.setattr(writer, "send", refused_while_full)

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        raise Reject("never")

    async with broker:
        subscription = running(broker)
        await publish(url, 1)
        await until(lambda: tried)
        subscription.pause()
        await until(lambda: not subscription._reading.is_active and subscription.status.delayed == 0)
        is_full = False
        await until(lambda: subscription.status.settled == 1)
        assert subscription.state == "paused"
    assert await redis.xlen("{orders}:g:dead") == 1


# -- when things fail during a pause ----------------------------------------------------------------------------


@pytest.mark.parametrize("resumed_first", [False, True])
async def test_p16_p27_a_pause_during_an_outage(server: Server, redis: Redis, resumed_first: bool) -> None:
    """What could not be released is released when Redis is back, or is gone on with when it was resumed before."""
    async with proxy(server.port) as network:
        one = Handling(network.url, command_timeout=0.3).declare(lease=30.0)
        await publish(server.url, 1, 2, 3)
        async with one.broker as broker:
            subscription = running(broker)
            await until(lambda: one.begun == [1])
            await buffers(subscription, 2)
            network.refuse()
            network.cut()
            subscription.pause()
            await until(lambda: any("release entries" in str(fact) for fact in one.facts), what="a release failed")
            if resumed_first:
                subscription.resume()
                await until(lambda: subscription._reading.is_active)
                await network.heal()
            else:
                await network.heal()
                await until(lambda: has_owners(redis, [subscription.holdings.consumer, *[keys.RELEASED] * 2]))
                subscription.resume()
            one.may_end.set()
            await until(lambda: one.done == [1, 2, 3])
            await until(lambda: has_owners(redis, []))
    assert not one.lost()


async def test_p17_p27_a_group_that_is_lost_during_a_pause_is_recreated_by_resume(url: str, redis: Redis) -> None:
    one = Handling(url).declare()
    await publish(url, 1, 2)
    async with one.broker as broker:
        subscription = running(broker)
        await until(lambda: one.begun == [1])
        await buffers(subscription, 1)
        subscription.pause()
        await until(lambda: subscription.status.buffered == 0 and not subscription._reading.is_active)
        await redis.xgroup_destroy("orders", "g")
        one.may_end.set()
        await until(lambda: one.done == [1] and not len(subscription.holdings))
        subscription.resume()
        await until(lambda: 2 in one.done)
    assert set(one.done) == {1, 2}


async def test_p27_a_drain_during_a_pause_ends_it(url: str, redis: Redis) -> None:
    one = Handling(url, grace=30).declare()
    await publish(url, 1, 2)
    leave = asyncio.Event()

    async def live() -> None:
        async with one.broker:
            await leave.wait()

    life = asyncio.create_task(live())
    await until(lambda: one.begun == [1])
    subscription = running(one.broker)
    subscription.pause()
    leave.set()
    await until(lambda: subscription.state == "draining")
    await renewed(redis, subscription.holdings.consumer)
    one.may_end.set()
    await life
    assert one.done == [1]
    assert await owners(redis) == []
    assert subscription.state == "closed"


async def test_p27_a_second_stop_ends_a_pause_at_once(url: str, redis: Redis) -> None:
    one = Handling(url, grace=3600).declare()
    await publish(url, 1)
    async with one.broker as broker:
        await until(lambda: one.begun == [1])
        running(broker).pause()
        broker._supervisor.stop_now()  # type: ignore[union-attr]
    assert (one.done, await owners(redis)) == ([], [keys.RELEASED])


# -- one of several -------------------------------------------------------------------------------------------


async def test_p27_one_of_three_stops_while_the_others_work(url: str, redis: Redis) -> None:
    one = Handling(url, "orders", "bills", "parcels").declare()
    async with one.broker as broker:
        stopped, supervisor = running(broker, "bills"), broker._supervisor
        assert supervisor is not None
        await publish(url, 1, 2, stream="bills")
        await until(lambda: one.begun == [1])
        await buffers(stopped, 1)
        stop = asyncio.create_task(supervisor.stop(stopped))
        await until(lambda: stopped.state == "draining")
        await renewed(redis, stopped.holdings.consumer, "bills")
        for stream in ("orders", "parcels"):
            await publish(url, 3, stream=stream)
        await until(lambda: one.begun == [1, 3, 3])
        one.may_end.set()
        await stop
        assert [each.options.stream for each in supervisor.subscriptions] == ["orders", "parcels"]
        assert await owners(redis, "bills") == [keys.RELEASED]
        assert not [each for each in await redis.xinfo_consumers("bills", "g") if each["name"] != keys.RELEASED]
        await publish(url, 4)
        await until(lambda: 4 in one.done)
        assert {report.stream for report in await broker.measure_lag()} == {"orders", "parcels"}
        assert broker.ready
    assert sorted(one.done) == [1, 3, 3, 4]
    assert not one.lost()
    [drained] = [fact for fact in one.facts if isinstance(fact, Drained)]
    assert drained.released == 0, "only the last two drained with the broker"
    assert sum(fact.count for fact in one.facts if isinstance(fact, Released)) == 1


@pytest.mark.parametrize("lease_thread", [False, True])
@pytest.mark.parametrize("beside", [(), ("bills",)])
async def test_p3_one_that_starts_later_works_as_those_before(
    url: str, redis: Redis, lease_thread: bool, beside: tuple[str, ...]
) -> None:
    later = Handling(url).declare()
    [plan] = later.broker._router.plans()
    one = Handling(url, "bills", lease_thread=lease_thread)
    if beside:
        one.declare(lease=30.0)
    await publish(url, 1, 2)
    async with one.broker as broker:
        supervisor = broker._supervisor
        assert supervisor is not None
        subscription = supervisor.subscription(plan)
        await supervisor.start(subscription)
        await until(lambda: later.begun == [1])
        await renewed(redis, subscription.holdings.consumer)  # its lease is shorter than all others
        assert ("orders", "g") in {(report.stream, report.group) for report in await broker.measure_lag()}
        later.may_end.set()
        await until(lambda: later.done == [1, 2])
        await until(lambda: not subscription.checkpoint_due)
    assert subscription.state == "closed"


async def test_p14_one_that_starts_later_ends_the_broker_by_our_bug(url: str) -> None:
    later, one = Handling(url).declare(), Handling(url, "bills").declare()
    [plan] = later.broker._router.plans()
    with pytest.raises(ZeroDivisionError):
        async with one.broker as broker:
            supervisor = broker._supervisor
            assert supervisor is not None
            subscription = supervisor.subscription(plan)
            subscription._handling.work.take = lambda _: 1 // 0  # type: ignore[attr-defined]
            await supervisor.start(subscription)
            await asyncio.sleep(10)
    assert isinstance(one.broker.failed, ZeroDivisionError) or one.broker.failed is not None


async def test_p27_nothing_starts_once_the_drain_has_begun(url: str, redis: Redis) -> None:
    later, one = Handling(url).declare(), Handling(url, "bills").declare()
    [plan] = later.broker._router.plans()
    async with one.broker as broker:
        supervisor = broker._supervisor
        assert supervisor is not None
        supervisor.drain()
        with pytest.raises(NotOpenError, match="drains"):
            await supervisor.start(supervisor.subscription(plan))
    assert await redis.exists("orders") == 0


async def test_p16_one_that_cannot_start_ends_no_other(url: str, redis: Redis) -> None:
    later, one = Handling(url).declare(), Handling(url, "bills").declare()
    one.may_end.set()
    [plan] = later.broker._router.plans()
    await redis.set("orders", "not a stream")
    async with one.broker as broker:
        supervisor = broker._supervisor
        assert supervisor is not None
        with pytest.raises(Exception, match="stream"):
            await supervisor.start(supervisor.subscription(plan))
        assert [each.options.stream for each in supervisor.subscriptions] == ["bills"]
        await publish(url, 1, stream="bills")
        await until(lambda: one.done == [1])
