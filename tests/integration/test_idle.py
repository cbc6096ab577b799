"""What a broker costs on which nothing happens, and that what happens then is noticed in time all the same.

Where nothing is pending, a subscription looks for what others left behind once a lease (P2); what is given back is told
by a count (P27). `ALL_DAY` is a lease that never runs out in a test: what is taken over in spite of it was given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, DeadLetters, LagWatcher, Reject, Settings, StreamConsumer
from redis_streams_aio.events import keys
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

NewServer = Callable[..., Server]

ALL_DAY = 3600.0
SUBSCRIPTIONS = 50
TURNS = 8
"""Of the watch for what is given back, half a second each: two turns of the reads, and a measurement of lag."""


def broker_of(url: str, got: list[int], *streams: str, lease: float = ALL_DAY, **settings: object) -> Broker:
    broker = Broker(url, group="g", settings=Settings(**settings))  # type: ignore[arg-type]

    async def handle(order: Order) -> None:
        got.append(order.number)

    for stream in streams or ("orders",):
        broker.handler(stream, lease=lease)(handle)
    return broker


async def calls(redis: Redis, *commands: str) -> int:
    """How many commands the server did, in scripts too; all, or only these. Not those that ask for it."""
    stats = await redis.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    return sum(n for name, n in counts.items() if (name in commands if commands else not name.startswith("info")))


async def turns(redis: Redis, times: int) -> None:
    """Until the watch for what is given back has come round so often."""
    last = await calls(redis, "mget") + times
    await until(lambda: _came_to(redis, last))


async def _came_to(redis: Redis, turn: int) -> bool:
    return await calls(redis, "mget") >= turn


async def quiet(redis: Redis) -> None:
    """Until the subscription has looked, and found that nothing is pending: it will not for a while."""
    await turns(redis, 3)


async def hand_over(redis: Redis, consumer: str = "another") -> None:
    """Another consumer is handed an event in the moment it is published, before any blocked read can have it."""
    script = """
    redis.call('XADD', KEYS[1], '*', 'event_type', 'Order', 'payload', '{"number":7}')
    return redis.call('XREADGROUP', 'GROUP', 'g', ARGV[1], 'STREAMS', KEYS[1], '>')"""
    await redis.eval(script, 1, "orders", consumer)


async def give_back_uncounted(redis: Redis) -> None:
    """As an operator does by hand, or another library: nobody is told."""
    [entry] = await redis.xpending_range("orders", "g", "-", "+", 1)
    await redis.xclaim("orders", "g", keys.RELEASED, 0, [entry["message_id"]], idle=86_400_000)


@contextmanager
def seconds() -> Iterator[list[float]]:
    """How many it took."""
    loop = asyncio.get_running_loop()
    took, began = [], loop.time()
    yield took
    took.append(loop.time() - began)


@pytest.fixture
async def caught_up(url: str, redis: Redis) -> str:
    """A server whose stream has a group, and nothing for it."""
    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    return url


# -- what it costs ------------------------------------------------------------------------------------------------


async def test_an_idle_subscription_costs_less_than_one_command_a_second(url: str, redis: Redis) -> None:
    """With the default times, counted by the server, in scripts too; after events were handled.

    Only checkpoints are saved sooner than by default, so that the last one is: then there are none.
    """
    got: list[int] = []
    streams = [f"orders-{number}" for number in range(SUBSCRIPTIONS)]
    async with broker_of(url, got, *streams, lease=30.0, checkpoint_interval=0.05) as broker:
        for number, stream in enumerate(streams):
            await broker.publish(stream, Order(number))
        await until(lambda: len(got) == SUBSCRIPTIONS)
        await until(lambda: at_rest(broker))
        await quiet(redis)
        before, began = await calls(redis), asyncio.get_running_loop().time()
        await turns(redis, TURNS)
        count, took = await calls(redis) - before, asyncio.get_running_loop().time() - began
    assert 0 < count / took / SUBSCRIPTIONS < 1


def at_rest(broker: Broker) -> bool:
    """Whether all is settled, and nothing of it is still to be noted."""
    assert broker._supervisor is not None
    return not any(
        each.is_handling or len(each.holdings) or each.checkpoint_due for each in broker._supervisor.subscriptions
    )


async def idle(redis: Redis) -> None:
    """Until a read has ended with nothing, and the next one waits for long: a block is at most four turns long."""
    await turns(redis, 6)


async def reads_in(redis: Redis, turns_of_the_watch: int) -> int:
    before = await calls(redis, "xreadgroup")
    await turns(redis, turns_of_the_watch)
    return await calls(redis, "xreadgroup") - before


async def test_a_read_that_follows_an_empty_one_waits_ten_times_as_long(caught_up: str, redis: Redis) -> None:
    async with broker_of(caught_up, [], block_ms=100, reclaim_interval=0.1):
        await quiet(redis)
        assert await reads_in(redis, 30) <= 5


@pytest.mark.parametrize("missing", ["client|unblock", "the watch"])
async def test_p26_a_read_waits_no_longer_than_its_block_where_it_cannot_be_ended_or_redis_is_not_heard(
    caught_up: str, redis: Redis, missing: str
) -> None:
    await redis.execute_command("ACL", "SETUSER", "old", "on", ">old", "~*", "&*", "+@all", "-client|unblock")
    may = missing == "the watch"
    url, interval = (caught_up, 0.11) if may else (caught_up.replace("//", "//old:old@"), 0.1)
    try:
        async with broker_of(url, [], block_ms=100, reclaim_interval=interval):
            await quiet(redis)
            assert await reads_in(redis, 30) >= 15
    finally:
        await redis.execute_command("ACL", "DELUSER", "old")


async def test_p19_silence_is_noticed_while_a_read_waits_for_long(new_server: NewServer) -> None:
    """It waits for twenty seconds; the searches for released entries show that Redis is there, until it is not."""
    server = new_server()
    async with Redis.from_url(server.url) as redis, broker_of(server.url, [], block_ms=2000) as broker:
        await idle(redis)
        server.freeze()
        with seconds() as took:
            await until(lambda: not broker.ready)
        server.thaw()
        await until(lambda: broker.ready)
    assert took[0] < 4


async def test_p19_a_read_that_waits_for_long_is_no_reason_to_be_red(caught_up: str, redis: Redis) -> None:
    async with broker_of(caught_up, [], block_ms=200, reclaim_interval=0.1) as broker:
        await idle(redis)
        loop = asyncio.get_running_loop()
        began, before = loop.time(), await calls(redis, "xreadgroup")
        while loop.time() < began + 1.9:
            assert broker.ready
            await asyncio.sleep(0.05)
        assert await calls(redis, "xreadgroup") <= before + 1


async def test_p17_a_group_that_is_lost_while_a_read_waits_for_long_is_recreated_at_once(
    caught_up: str, redis: Redis
) -> None:
    got: list[int] = []
    async with broker_of(caught_up, got) as broker:
        await idle(redis)
        await redis.delete("orders")
        with seconds() as took:
            await broker.publish("orders", Order(7))
            await until(lambda: got == [7])
    assert took[0] < 1


async def test_a_subscription_with_nothing_pending_does_not_look_again_and_again(caught_up: str, redis: Redis) -> None:
    async with broker_of(caught_up, [], reclaim_interval=0.05):
        await quiet(redis)
        before = await calls(redis, "xpending", "evalsha", "eval")
        await turns(redis, 10)
        assert await calls(redis, "xpending", "evalsha", "eval") == before


async def test_p28_a_group_that_has_caught_up_is_measured_with_one_command(caught_up: str, redis: Redis) -> None:
    async with Connection(caught_up) as connection:
        watcher = LagWatcher(connection, [("orders", "g")])
        asked = ("xinfo|groups", "xinfo|stream", "xpending", "xrange")
        before = await calls(redis, *asked)
        [report] = await watcher.run_once()
        assert (report.lag, report.pending, report.oldest_age) == (0, 0, None)
        assert await calls(redis, *asked) == before + 1
        await hand_over(redis)
        [report] = await watcher.run_once()
        assert (report.lag, report.pending) == (0, 1)
        assert report.oldest_age is not None


# -- and that it notices ------------------------------------------------------------------------------------------


async def test_p2_what_a_crash_left_is_taken_over_in_time_by_a_subscription_that_was_quiet(
    caught_up: str, redis: Redis
) -> None:
    """Within `lease + reclaim interval` of the moment when the entry was handed out."""
    got: list[int] = []
    lease, interval = 1.0, 0.2
    async with broker_of(caught_up, got, lease=lease, reclaim_interval=interval, block_ms=10_000):
        await quiet(redis)
        with seconds() as took:
            await hand_over(redis)
            await until(lambda: got == [7])
    assert lease <= took[0] < lease + interval + 0.3


async def test_p27_what_is_given_back_to_a_subscription_that_is_quiet_is_taken_over_within_a_second(
    caught_up: str, redis: Redis
) -> None:
    got: list[int] = []
    async with broker_of(caught_up, got), Connection(caught_up) as connection:
        await quiet(redis)
        await hand_over(redis)
        async with StreamConsumer(connection, "orders", "g", name="another") as drained:
            await until(lambda: _holds(drained))
            assert got == []
            with seconds() as took:
                await drained.close()
                await until(lambda: got == [7])
    assert took[0] < 1


async def _holds(consumer: StreamConsumer[dict[str, object]]) -> bool:
    await consumer.fetch(1)
    return consumer.status.held == 1


async def test_p12_what_is_replayed_to_a_subscription_that_is_quiet_is_handled_within_a_second(
    url: str, redis: Redis
) -> None:
    got: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", lease=ALL_DAY)
    async def handle(order: Order) -> None:
        got.append(order.number)
        if len(got) == 1:
            raise Reject("not yet")

    async with broker, Connection(url) as connection:
        await broker.publish("orders", Order(7))
        letters = DeadLetters(connection, "orders", "g")
        await until(letters.list)
        await quiet(redis)
        with seconds() as took:
            await letters.replay()
            await until(lambda: got == [7, 7])
    assert took[0] < 1


async def test_p27_after_a_signal_that_was_lost_it_is_taken_over_after_a_lease(caught_up: str, redis: Redis) -> None:
    got: list[int] = []
    lease, interval = 1.0, 0.1
    async with broker_of(caught_up, got, lease=lease, reclaim_interval=interval):
        await quiet(redis)
        with seconds() as took:
            await hand_over(redis)
            await give_back_uncounted(redis)
            await until(lambda: got == [7])
    assert took[0] < lease + interval + 0.3


async def test_p27_where_the_counts_may_not_be_read_each_subscription_looks_at_every_turn(
    caught_up: str, redis: Redis
) -> None:
    await redis.execute_command("ACL", "SETUSER", "old", "on", ">old", "~*", "&*", "+@all", "-mget")
    got: list[int] = []
    before = await calls(redis, "xpending")

    async def has_looked() -> bool:
        return await calls(redis, "xpending") > before

    try:
        async with broker_of(caught_up.replace("//", "//old:old@"), got, reclaim_interval=0.05):
            await until(has_looked)
            await hand_over(redis)
            await give_back_uncounted(redis)
            await until(lambda: got == [7])
    finally:
        await redis.execute_command("ACL", "DELUSER", "old")


async def test_p27_a_drain_does_not_wait_for_the_next_look(caught_up: str, redis: Redis) -> None:
    loop = asyncio.get_running_loop()
    async with broker_of(caught_up, []):
        await quiet(redis)
        began = loop.time()
    assert loop.time() - began < 2
