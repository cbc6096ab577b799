"""Leases of many groups, far from Redis, with different leases, and while a deploy changes them (P2, P3, P4)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, Delivery, Settings
from redis_streams_aio.connection.steps.leases import RENEW
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.groups import ConsumerGroupManager
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.leases import LeaseKeeper, LeaseKeepers
from redis_streams_aio.events import keys
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT, Fact, LeaseLost, StepFailed
from redis_streams_aio.testing.proxy import proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.members import Member
from tests.processes import worker

SUBSCRIPTIONS = 50
LEASES = "{orders}:g:leases"


async def held(
    redis: Redis, connection: Connection, *groups: str, lease: float = 30.0, entries: int = 1
) -> list[Member]:
    """A member of each group, each with so many entries in hand."""
    for _ in range(entries):
        await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
    members = []
    for group in groups:
        options = (
            SubscriptionOptions(stream="orders", group=group, lease=lease),
            ConsumerOptions(name=f"{group}-me", count=entries),
        )
        members.append(Member(Shared(connection, SILENT), *options, None, lambda _: None))
        await members[-1].open()
        assert await members[-1].fetch(entries) == entries
    return members


async def evals(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


# -- many groups ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lease_thread", [False, True])
async def test_p3_p4_fifty_subscriptions_far_from_redis_lose_nothing(
    server: Server, url: str, lease_thread: bool
) -> None:
    """60 ms to Redis, a lease of 2 s: group by group, a pass took longer than a lease, and all was handled twice."""
    streams = [f"orders-{number}" for number in range(SUBSCRIPTIONS)]
    handled: Counter[str] = Counter()
    facts: list[Fact] = []

    def broker_on(where: str, **settings: object) -> Broker:
        broker = Broker(where, group="g", settings=Settings(**settings), observers=[facts.append])  # type: ignore[arg-type]

        async def handle(order: Order, delivery: Delivery) -> None:
            handled[delivery.stream] += 1
            await asyncio.sleep(5)

        for stream in streams:
            broker.handler(stream, lease=2, on_lost="continue")(handle)
        return broker

    async with proxy(server.port) as network:
        network.delay(0.03)
        far, near = broker_on(network.url, lease_thread=lease_thread), broker_on(url)
        async with far:
            for stream in streams:
                await far.publish(stream, Order(1))
            await until(lambda: len(handled) == SUBSCRIPTIONS, 30)
            async with near:
                await until(lambda: sum(status.settled for status in far.status) == SUBSCRIPTIONS, 30)
    assert set(handled.values()) == {1}, "nothing was handled twice"
    assert not [fact for fact in facts if isinstance(fact, LeaseLost)]


async def test_p4_all_groups_of_a_lease_are_renewed_in_one_round_trip(server: Server, redis: Redis) -> None:
    groups = [f"g{number}" for number in range(20)]
    async with proxy(server.port) as network, Connection(network.url) as connection:
        members = await held(redis, connection, *groups, entries=3)
        [keeper] = LeaseKeepers(connection, lambda: [member.holdings for member in members]).missing()
        await keeper.run_once()  # connects
        before = network.requests
        assert await keeper.run_once() == 0
        assert network.requests == before + 1
        await keeper.close()
        for member in members:
            await member.close()


async def test_p3_more_than_a_script_renews_at_once_is_renewed_whole(url: str, redis: Redis) -> None:
    async with Connection(url) as connection:
        [member] = await held(redis, connection, "g", entries=250)
        ids = list(member.holdings.by_id)
        await member.renew()  # teaches the script
        await redis.xclaim("orders", "g", "g-me", 0, ids, idle=60_000, justid=True)
        before = await evals(redis)
        assert await member.renew() == 0
        assert await evals(redis) == before + 3
        pending = await redis.xpending_range("orders", "g", "-", "+", 300)
        assert max(entry["time_since_delivered"] for entry in pending) < 60_000
        await member.close()


async def test_p3_a_server_that_forgot_the_script_is_taught_it_once_for_all_groups(url: str, redis: Redis) -> None:
    async with Connection(url) as connection:
        members = await held(redis, connection, "a", "b", "c")
        keeper = LeaseKeeper(connection, 30.0, lambda: [member.holdings for member in members])
        await keeper.run_once()
        await redis.script_flush()
        for group in "abc":
            await redis.xclaim("orders", group, f"{group}-me", 0, [next(iter(members[0].holdings.by_id))], idle=60_000)
        await redis.config_resetstat()
        assert await keeper.run_once() == 0
        stats = await redis.info("commandstats")
        assert (stats["cmdstat_eval"]["calls"], stats["cmdstat_evalsha"]["calls"]) == (1, 5)
        for group in "abc":
            [entry] = await redis.xpending_range("orders", group, "-", "+", 10)
            assert entry["time_since_delivered"] < 60_000, group
        await keeper.close()
        for member in members:
            await member.close()


@pytest.mark.parametrize("trouble", ["gone", "refused"])
async def test_p3_one_group_that_cannot_be_renewed_keeps_no_other_from_it(url: str, redis: Redis, trouble: str) -> None:
    async with Connection(url) as connection:
        members = await held(redis, connection, "a", "b", "c")
        if trouble == "gone":
            await redis.xgroup_destroy("orders", "b")
        else:
            members[1].holdings.stream = "no-stream"
            await redis.set("no-stream", "x")
        [entry_id] = members[2].holdings.by_id
        await redis.xclaim("orders", "c", "c-me", 0, [entry_id], idle=60_000)
        keeper = LeaseKeeper(connection, 30.0, lambda: [member.holdings for member in members])
        if trouble == "gone":
            assert await keeper.run_once() == 0
        else:
            with pytest.raises(Exception, match="WRONGTYPE|wrong kind"):
                await keeper.run_once()
        [entry] = await redis.xpending_range("orders", "c", "-", "+", 10)
        assert entry["time_since_delivered"] < 60_000
        assert len(members[1].holdings) == 1, "it runs on"
        await keeper.close()
        members[1].holdings.stream = "orders"
        for member in members:
            await member.close()


def test_p4_a_short_lease_hurries_no_other() -> None:
    """Each lease has a keeper, with an interval, a deadline and a connection of its own."""
    connection = Connection("redis://nowhere")

    def holding(lease: float) -> Holdings:
        return Holdings(Shared(connection, SILENT), SubscriptionOptions(stream="s", group="g", lease=lease), "c")

    held = [holding(30), holding(0.3), holding(30), holding(6)]
    keepers = LeaseKeepers(connection, lambda: held).missing()
    assert [keeper.interval for keeper in keepers] == pytest.approx([10, 0.1, 2])


async def test_p4_a_lease_that_is_too_short_for_the_distance_costs_no_other_its_lease(
    server: Server, url: str, redis: Redis
) -> None:
    """Renewals of 0.2 s cannot be kept at 300 ms to Redis; those of 2 s beside them are."""
    facts: list[Fact] = []
    got: list[str] = []
    began = asyncio.Event()
    async with proxy(server.port) as network:
        network.delay(0.15)
        broker = Broker(network.url, group="g", observers=[facts.append])

        @broker.handler("hasty", lease=0.2, on_lost="continue")
        async def hasty(order: Order) -> None:
            await asyncio.sleep(4)

        @broker.handler("orders", lease=2)
        async def handle(order: Order) -> None:
            began.set()
            await asyncio.sleep(5)
            got.append("done")

        async with broker:
            await broker.publish("hasty", Order(1))
            await broker.publish("orders", Order(1))
            await asyncio.wait_for(began.wait(), 10)
            await until(lambda: got, 20)
            assert not [fact for fact in facts if isinstance(fact, LeaseLost) and fact.stream == "orders"]
            assert [fact for fact in facts if isinstance(fact, StepFailed) and fact.duty == "renew leases"]


# -- whose lease ----------------------------------------------------------------------------------------------


def handling(url: str, lease: float, starts: list[tuple[str, int]], name: str, seconds: float = 3.0) -> Broker:
    broker = Broker(url, group="g", settings=Settings(reclaim_interval=0.1))

    @broker.handler("orders", lease=lease, concurrency=4, order="none")
    async def handle(order: Order) -> None:
        starts.append((name, order.number))
        await asyncio.sleep(seconds)

    return broker


@pytest.mark.parametrize(("old", "new"), [(0.5, 60.0), (60.0, 0.5)])
async def test_p4_a_lease_that_a_deploy_changes_takes_no_live_event(url: str, old: float, new: float) -> None:
    """The process with the short lease took all that the other one held, as it renews every 20 s only."""
    starts: list[tuple[str, int]] = []
    first, second = handling(url, old, starts, "old"), handling(url, new, starts, "new")
    async with first:
        await first.publish_many("orders", [Order(number) for number in range(4)])
        await until(lambda: len(starts) == 4)
        async with second:
            await until(lambda: first.status[0].settled == 4, 20)
            await second.publish_many("orders", [Order(number) for number in range(4, 12)])
            await until(lambda: first.status[0].settled + second.status[0].settled == 12, 30)
    assert sorted(number for _, number in starts) == list(range(12)), "each once"


async def test_p2_a_crashed_process_with_a_shorter_lease_is_taken_over_within_that(url: str, redis: Redis) -> None:
    """The survivor's own lease is a minute; it had nothing to look for when the other one joined."""
    starts: list[tuple[str, int]] = []
    async with handling(url, 60.0, starts, "survivor", 0.0) as survivor:
        await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 0}'})
        await until(lambda: survivor.status[0].settled == 1)
        await survivor._supervisor.subscriptions[0]._source.unblock()  # type: ignore[union-attr]
        async with worker(url, "--lease", 1, "--hang", 1, "--concurrency", 4) as victim:
            while not victim.said("start", 1):
                await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
                await asyncio.sleep(0.05)
            await until(lambda: redis.hlen(LEASES))
            await victim.kill()
            began = asyncio.get_running_loop().time()
            await until(lambda: _nothing_pending(redis), 20)
            took = asyncio.get_running_loop().time() - began
    assert took < 1 + 0.1 + 1.5, "its lease, the interval, and a busy machine"


async def _nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def test_p2_a_crashed_process_with_a_longer_lease_is_left_it(url: str, redis: Redis) -> None:
    async with Connection(url) as connection:
        [dead] = await held(redis, connection, "g", lease=1.5)
        await connection.release(dead.source._reader)
        eager = Member(
            Shared(connection, SILENT),
            SubscriptionOptions(stream="orders", group="g", lease=0.05),
            ConsumerOptions(),
            None,
            lambda _: None,
        )
        await eager.open()
        assert float(await redis.hget(LEASES, "g-me")) == 1500
        assert float(await redis.hget(LEASES, eager.holdings.consumer)) == 50
        loop = asyncio.get_running_loop()
        began, taken = loop.time(), 0
        while not taken:
            taken = await eager.reclaim(10)
            assert loop.time() - began < 10
        assert loop.time() - began > 1.3
        await eager.close()


async def test_p4_a_lease_that_is_not_known_is_that_of_whoever_looks(url: str, redis: Redis) -> None:
    """A consumer of another library, or of an older version, is known by its idle time alone."""
    async with Connection(url) as connection:
        await redis.xgroup_create("orders", "g", "0", mkstream=True)
        await redis.xadd("orders", {"event_type": "Order", "payload": '{"number": 1}'})
        await redis.xreadgroup("g", "foreign", {"orders": ">"})
        member = Member(
            Shared(connection, SILENT),
            SubscriptionOptions(stream="orders", group="g", lease=0.2),
            ConsumerOptions(),
            None,
            lambda _: None,
        )
        await member.open()
        assert await member.reclaim(10) == 0
        await until(lambda: _reclaims(member), 5)
        await member.close()


async def _reclaims(member: Member) -> bool:
    return await member.reclaim(10) == 1


async def test_p4_a_renewal_writes_the_lease_down_again_where_it_is_missing_or_another(url: str, redis: Redis) -> None:
    async with Connection(url) as connection:
        [member] = await held(redis, connection, "g", lease=12.5)
        for damage in (redis.delete(LEASES), redis.hset(LEASES, "g-me", "1"), redis.hset(LEASES, "g-me", "x")):
            await damage
            count = int(await redis.get("{orders}:g:released") or 0)
            await member.renew()
            assert await redis.hgetall(LEASES) == {"g-me": "12500"}
            assert int(await redis.get("{orders}:g:released")) == count + 1, "others are told to look again"
            await member.renew()
            assert int(await redis.get("{orders}:g:released")) == count + 1, "once"
        await redis.delete(LEASES)
        await redis.set(LEASES, "no hash")
        await member.renew()
        assert len(member.holdings) == 1, "leases are kept where they cannot be told"
        await member.close()


async def test_p22_a_lease_goes_with_the_name_of_its_consumer(url: str, redis: Redis) -> None:
    """At a drain, by the cleaner, with the group; a name that stays keeps it."""
    await redis.xgroup_create("orders", "g", "0", mkstream=True)
    async with Connection(url) as connection:

        async def member(name: str | None) -> Member:
            joined = Member(
                Shared(connection, SILENT),
                SubscriptionOptions(stream="orders", group="g"),
                ConsumerOptions(name=name, block=0.01),
                None,
                lambda _: None,
            )
            await joined.open()
            return joined

        made_up, stable = await member(None), await member("stable")
        assert await redis.hlen(LEASES) == 2
        await made_up.close()
        assert await redis.hkeys(LEASES) == ["stable"], "also where it has never read anything"
        await redis.xgroup_createconsumer("orders", "g", "crashed")
        await redis.hset(LEASES, "crashed", "30000")
        await redis.xgroup_createconsumer("orders", "g", "stable")
        await stable.clean_up(0.0)
        assert await redis.hkeys(LEASES) == ["stable"]
        await ConsumerGroupManager(connection).delete_group("orders", "g")
        assert await redis.exists(LEASES) == 0
        await stable.close()


def test_the_script_that_renews_names_all_its_keys() -> None:
    assert list(RENEW.keys) == ["stream", "leases", "releases"]
    assert keys.leases("orders", "g") == LEASES


@pytest.mark.parametrize("how", ["the group is deleted", "the stream is gone", "everything is flushed"])
async def test_p3_leases_are_known_again_after_a_group_was_lost(url: str, redis: Redis, how: str) -> None:
    """Another consumer, with a shorter lease, recreates it: a busy one that did not read is not taken for dead."""
    busy, eager, begun, release = Broker(url, group="g"), Broker(url, group="g"), asyncio.Event(), asyncio.Event()

    @busy.handler("orders", event_type="E", lease=30)
    async def wait(order: dict) -> None:
        begun.set()
        await release.wait()

    @eager.handler("orders", event_type="E", lease=1)
    async def handle(order: dict) -> None: ...

    async with busy:
        await busy.publish("orders", {}, event_type="E")
        await begun.wait()
        async with eager:
            if how == "everything is flushed":
                await redis.flushall()
            elif how == "the stream is gone":
                await redis.delete("orders", LEASES)
            else:
                await ConsumerGroupManager(busy.connection).delete_group("orders", "g")
            await until_known(redis, 30_000, 1000)
            release.set()


async def until_known(redis: Redis, *leases: int) -> None:
    """Until these are the leases of the group, in milliseconds."""
    async with asyncio.timeout(20):
        while sorted(map(int, await redis.hvals(LEASES))) != sorted(leases):
            await asyncio.sleep(0.05)
