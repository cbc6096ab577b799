"""The acceptance list: what any event broker has to do, sixteen lines, none skipped.

Made like Watermill's `TestPubSub`, in the full numbers. A test needs nothing but a `url`, and leaves nothing behind on
that server: its streams have names of their own and are deleted at the end. Only 15 starts a server itself, as it
kills it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

import pytest

from redis_streams_aio import (
    Broker,
    Connection,
    ConsumerGroupManager,
    Delivery,
    EventMessage,
    NotOpenError,
    RedisUnavailableError,
    RetryPolicy,
    Settings,
    StreamConsumer,
    StreamManager,
    StreamNotFoundError,
    StreamProducer,
    UnansweredError,
    naming,
)
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until

from ..events import Order

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=1000)
"""Again soon, and never given up."""

Work = Callable[[Order, Delivery], Awaitable[None]]


@pytest.fixture
async def new_stream(url: str) -> AsyncIterator[Callable[[], str]]:
    """Makes names of streams that nobody has; what was written under them is deleted at the end."""
    names: list[str] = []

    def new() -> str:
        names.append(f"acceptance:{secrets.token_hex(4)}")
        return names[-1]

    yield new
    async with Connection(url) as connection:
        for name in names:
            await delete(connection, name)


async def delete(connection: Connection, stream: str) -> None:
    groups, streams = ConsumerGroupManager(connection), StreamManager(connection)
    try:
        for group in await groups.list_groups(stream):
            await groups.delete_group(stream, group.name)
            await streams.delete_stream(naming.dead_letters(stream, group.name))
    except StreamNotFoundError:
        return
    await streams.delete_stream(stream)


@pytest.fixture
def stream(new_stream: Callable[[], str]) -> str:
    """A stream of the test's own."""
    return new_stream()


def subscriber(
    url: str, stream: str, work: Work, *, group: str = "g", grace: float = 30.0, **options: object
) -> Broker:
    """A broker with one handler."""
    broker = Broker(url, group=group, settings=Settings(grace=grace))

    @broker.handler(stream, **options)  # type: ignore[arg-type]
    async def handle(order: Order, delivery: Delivery) -> None:
        await work(order, delivery)

    return broker


def noting(got: list[int]) -> Work:
    async def work(order: Order, delivery: Delivery) -> None:
        got.append(order.number)
        await asyncio.sleep(0)

    return work


def orders(numbers: Iterable[int]) -> list[Order]:
    return [Order(number) for number in numbers]


async def publish(url: str, stream: str, numbers: Iterable[int]) -> list[str]:
    async with Broker(url) as broker:
        return await broker.publish_many(stream, orders(numbers))


async def nothing_left(url: str, stream: str, group: str = "g") -> None:
    """All that is in the stream was delivered to the group, and acknowledged."""

    async def settled() -> bool:
        info = await groups.get_group_info(stream, group)
        last = (await streams.get_stream_info(stream)).last_generated_id
        return info.pending == 0 and info.last_delivered_id == last

    async with Connection(url) as connection:
        groups, streams = ConsumerGroupManager(connection), StreamManager(connection)
        await until(settled)


def once_each(got: Iterable[int], count: int) -> None:
    """`got` has each number below `count` once; says which are missing, extra or repeated."""
    times = Counter(got)
    missing = [number for number in range(count) if number not in times]
    strange = {number: seen for number, seen in times.items() if seen != 1 or number not in range(count)}
    assert (missing, strange) == ([], {})


async def open_all(stack: AsyncExitStack, brokers: Iterable[Broker]) -> list[Broker]:
    """All opened at once."""
    return list(await asyncio.gather(*(stack.enter_async_context(broker) for broker in brokers)))


# -- the list -------------------------------------------------------------------------------------------------


async def test_01_published_before_subscribing_arrives_once_payload_and_headers_intact(url: str, stream: str) -> None:
    """Acceptance 1 (P8, P23)."""
    events: list[EventMessage[object]] = []

    async def work(order: Order, delivery: Delivery) -> None:
        events.append(delivery.event)

    sent = [Order(number, f"naïve-{number}", number / 7) for number in range(100)]
    async with Broker(url) as publisher:
        ids = [
            await publisher.publish(
                stream,
                order,
                key=order.customer,
                event_id=f"e{order.number}",
                headers={"n": str(order.number), "ü": "é"},
            )
            for order in sent
        ]
    async with subscriber(url, stream, work):
        await until(lambda: len(events) >= 100)
        await nothing_left(url, stream)
    assert [event.id for event in events] == ids
    assert [event.payload for event in events] == sent
    assert [event.headers for event in events] == [{"n": str(number), "ü": "é"} for number in range(100)]
    assert [(event.event_type, event.key, event.event_id) for event in events] == [
        ("Order", f"naïve-{number}", f"e{number}") for number in range(100)
    ]


async def test_02_fifty_publishers_fifty_consumers_five_thousand_events_none_missing(url: str, stream: str) -> None:
    """Acceptance 2: one group, each publisher and consumer with connections of its own."""
    got: list[int] = []

    async def publish_hundred(broker: Broker, first: int) -> None:
        for number in range(first, first + 100):
            await broker.publish(stream, Order(number))

    async with AsyncExitStack() as stack:
        await open_all(stack, (subscriber(url, stream, noting(got), concurrency=2) for _ in range(50)))
        publishers = await open_all(stack, (Broker(url) for _ in range(50)))
        await asyncio.gather(*(publish_hundred(broker, 100 * n) for n, broker in enumerate(publishers)))
        await until(lambda: len(got) >= 5000, 30)
        await nothing_left(url, stream)
    once_each(got, 5000)


async def test_03_twenty_streams_of_a_hundred_at_once_do_not_cross(url: str, new_stream: Callable[[], str]) -> None:
    """Acceptance 3."""
    got: dict[str, list[tuple[str, int]]] = {new_stream(): [] for _ in range(20)}
    broker = Broker(url, group="g")
    for stream, seen in got.items():

        @broker.handler(stream)
        async def handle(order: Order, seen: list[tuple[str, int]] = seen) -> None:
            seen.append((order.customer, order.number))

    async def publish_hundred(stream: str) -> None:
        for number in range(100):
            await broker.publish(stream, Order(number, stream))

    async with broker:
        await asyncio.gather(*map(publish_hundred, got))
        await until(lambda: sum(map(len, got.values())) >= 2000)
    assert got == {stream: [(stream, number) for number in range(100)] for stream in got}


async def test_04_the_first_two_deliveries_fail_and_all_still_arrive(url: str, stream: str) -> None:
    """Acceptance 4 (P11)."""
    attempts: Counter[int] = Counter()
    got: list[int] = []

    async def work(order: Order, delivery: Delivery) -> None:
        attempts[order.number] += 1
        if attempts[order.number] <= 2:
            raise ValueError("not yet")
        got.append(order.number)

    await publish(url, stream, range(100))
    async with subscriber(url, stream, work, concurrency=10, retry=SOON):
        await until(lambda: len(got) >= 100)
        await nothing_left(url, stream)
    once_each(got, 100)
    assert set(attempts.values()) == {3}


async def test_05_with_order_the_second_waits_for_the_first(url: str, stream: str) -> None:
    """Acceptance 5 (P7): also while the first one fails."""
    attempts: list[int] = []

    async def work(order: Order, delivery: Delivery) -> None:
        attempts.append(order.number)
        await asyncio.sleep(0.001)
        if delivery.failures < 2:
            raise ValueError("not yet")

    await publish(url, stream, range(20))
    async with subscriber(url, stream, work, order="stream", retry=SOON):
        await nothing_left(url, stream)
    assert attempts == [number for number in range(20) for _ in range(3)]


async def test_06_a_consumer_closed_and_opened_again_five_times_over_five_thousand_loses_none(
    url: str, stream: str
) -> None:
    """Acceptance 6 (P27): under load, and a graceful stop makes nobody do anything twice."""
    got: list[int] = []

    async def publish_all() -> None:
        async with Broker(url) as publisher:
            for first in range(0, 5000, 100):
                await publisher.publish_many(stream, orders(range(first, first + 100)))
                await until(lambda n=first: len(got) >= n - 500, 30)

    publishing = asyncio.create_task(publish_all())
    for upto in (500, 1500, 2500, 3500, 4500, 5000):
        async with subscriber(url, stream, noting(got), concurrency=4):
            await until(lambda n=upto: len(got) >= n, 30)
    await publishing
    await nothing_left(url, stream)
    once_each(got, 5000)


async def test_07_ten_subscribers_opened_and_closed_at_once(url: str, stream: str) -> None:
    """Acceptance 7: three times over, with events under way."""
    got: list[int] = []
    async with Broker(url) as publisher:
        for upto in (1000, 2000, 3000):
            await publisher.publish_many(stream, orders(range(upto - 1000, upto)))
            stack = AsyncExitStack()
            brokers = await open_all(stack, (subscriber(url, stream, noting(got), concurrency=2) for _ in range(10)))
            await until(lambda n=upto: len(got) >= n - 500)
            await asyncio.gather(*(broker.__aexit__(None, None, None) for broker in brokers))
            assert not any(broker.connection.is_open for broker in brokers)
    async with subscriber(url, stream, noting(got)):
        await nothing_left(url, stream)
    once_each(got, 3000)


async def test_08_three_consumers_that_always_fail_then_a_good_one_and_all_arrive(url: str, stream: str) -> None:
    """Acceptance 8 (P10, P11): the failures of all three are counted, and nothing is given up."""
    not_too_soon = RetryPolicy(base=0.2, factor=1, max_failures=1000)
    failed: Counter[int] = Counter()
    failures_before: list[int] = []
    got: list[int] = []

    async def fail(order: Order, delivery: Delivery) -> None:
        failed[order.number] += 1
        raise ValueError("always")

    async def work(order: Order, delivery: Delivery) -> None:
        failures_before.append(delivery.failures)
        got.append(order.number)

    await publish(url, stream, range(100))
    for turn in (1, 2, 3):
        async with subscriber(url, stream, fail, concurrency=10, retry=not_too_soon):
            await until(lambda n=turn: len(failed) == 100 and min(failed.values()) >= n)
    async with subscriber(url, stream, work, concurrency=10, retry=not_too_soon):
        await nothing_left(url, stream)
    once_each(got, 100)
    assert min(failures_before) >= 3
    assert sum(failures_before) == failed.total()


async def test_09_a_thousand_events_of_sixteen_keys_are_in_order_per_key(url: str, stream: str) -> None:
    """Acceptance 9 (P7): published by sixteen tasks, handled by sixteen workers, and every tenth fails once."""
    done: dict[str, list[int]] = defaultdict(list)
    at_once, most_at_once = 0, 0

    async def work(order: Order, delivery: Delivery) -> None:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(at_once, most_at_once)
        await asyncio.sleep(0.002)
        at_once -= 1
        if order.number % 10 == 3 and not delivery.failures:
            raise ValueError("once")
        done[order.customer].append(order.number)

    async def publish_key(broker: Broker, key: int) -> None:
        for number in range(key, 1000, 16):
            await broker.publish(stream, Order(number, f"k{key}"), key=f"k{key}")

    async with subscriber(url, stream, work, concurrency=16, order="key", retry=SOON) as broker:
        await asyncio.gather(*(publish_key(broker, key) for key in range(16)))
        await until(lambda: sum(map(len, done.values())) >= 1000)
    assert done == {f"k{key}": list(range(key, 1000, 16)) for key in range(16)}
    assert most_at_once > 8, "keys did not run beside one another"


async def test_10_twenty_publishers_ten_thousand_events_and_closing_loses_none(url: str, stream: str) -> None:
    """Acceptance 10 (P23): each closes at once after its last; one more is closed while it publishes."""
    acknowledged: list[int] = []
    got: list[int] = []

    async def publish_each(broker: Broker, numbers: Iterable[int]) -> None:
        for number in numbers:
            await broker.publish(stream, Order(number))
            acknowledged.append(number)

    async def publisher(first: int) -> None:
        async with Broker(url) as broker:
            await publish_each(broker, range(first, first + 500))

    await asyncio.gather(*(publisher(500 * index) for index in range(20)))
    once_each(acknowledged, 10_000)
    async with Broker(url) as hasty:
        numbers = itertools.count(10_000)
        calls = [asyncio.create_task(publish_each(hasty, numbers)) for _ in range(20)]
        await until(lambda: len(acknowledged) > 11_000)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, NotOpenError | RedisUnavailableError)
    async with subscriber(url, stream, noting(got)):
        await nothing_left(url, stream)
    assert set(acknowledged) <= set(got) <= set(range(next(numbers)))
    assert max(Counter(got).values()) == 1


async def test_11_two_streams_do_not_cross(url: str, new_stream: Callable[[], str]) -> None:
    """Acceptance 11: the same group name and the same type of event on both."""
    left, right = new_stream(), new_stream()
    got: dict[str, list[int]] = {left: [], right: []}
    async with (
        subscriber(url, left, noting(got[left])) as broker,
        subscriber(url, right, noting(got[right])),
    ):
        await asyncio.gather(
            broker.publish_many(left, orders(range(100))), broker.publish_many(right, orders(range(100, 200)))
        )
        await nothing_left(url, left)
        await nothing_left(url, right)
    assert got == {left: list(range(100)), right: list(range(100, 200))}


async def test_12_the_delivery_knows_when_it_is_settled_or_lost(url: str, stream: str) -> None:
    """Acceptance 12 (P4, P27): settled when handled, lost when another has it, neither when the drain gives it back."""
    deliveries: dict[int, Delivery] = {}
    cancelled: list[int] = []
    may_end = asyncio.Event()

    async def work(order: Order, delivery: Delivery) -> None:
        deliveries[order.number] = delivery
        assert not delivery.settled
        assert not delivery.lost
        try:
            await (may_end.wait() if order.number == 0 else asyncio.Event().wait())
        except asyncio.CancelledError:
            cancelled.append(order.number)
            raise

    async with subscriber(url, stream, work, concurrency=3, lease=0.3, grace=0.0) as broker:
        ids = await broker.publish_many(stream, orders(range(3)))
        await until(lambda: len(deliveries) == 3)
        may_end.set()
        await until(lambda: deliveries[0].settled)
        await broker.connection.call("XCLAIM", stream, "g", "another", 0, ids[1])
        await until(lambda: deliveries[1].lost)
        assert not deliveries[2].lost
    states = [(deliveries[number].settled, deliveries[number].lost) for number in range(3)]
    assert states == [(True, False), (False, True), (False, False)]
    assert sorted(cancelled) == [1, 2]


async def test_13_cancelling_the_subscription_ends_it_and_what_was_not_acknowledged_comes_again(
    url: str, stream: str
) -> None:
    """Acceptance 13: every second event is acknowledged, and the task is cancelled while it waits for more."""
    first_time: list[int] = []
    again: list[int] = []

    async def iterate(consumer: StreamConsumer[Order], got: list[int]) -> None:
        async for event in consumer.subscribe():
            if got is again or event.payload.number % 2 == 0:
                await consumer.acknowledge(event)
            got.append(event.payload.number)

    async def cancelled_after(connection: Connection, got: list[int], count: int) -> None:
        async with StreamConsumer(connection, stream, "g", payload_type=Order) as consumer:
            task = asyncio.create_task(iterate(consumer, got))
            await until(lambda: len(got) >= count)
            task.cancel()
            await asyncio.wait((task,), timeout=5)
            assert task.cancelled()

    async with Connection(url) as connection:
        await StreamProducer(connection).publish_many(stream, orders(range(20)))
        await cancelled_after(connection, first_time, 20)
        await cancelled_after(connection, again, 10)
    assert first_time == list(range(20))
    assert again == list(range(1, 20, 2))
    await nothing_left(url, stream)


async def test_14_a_new_group_sees_all_history(url: str, stream: str) -> None:
    """Acceptance 14 (P8): also what another group has long settled."""
    old: list[int] = []
    new: list[int] = []
    await publish(url, stream, range(500))
    async with subscriber(url, stream, noting(old), group="old"):
        await nothing_left(url, stream, "old")
    async with subscriber(url, stream, noting(new), group="new"):
        await nothing_left(url, stream, "new")
    assert old == new == list(range(500))


async def test_15_redis_restarted_at_one_third_and_at_one_half_of_ten_thousand_all_acknowledged_arrive(
    new_server: Callable[..., Server],
) -> None:
    """Acceptance 15 (P16): killed, with an append-only file that is synced at each write."""
    server = new_server(appendonly=True)
    attempted = iter(range(10_000))
    acknowledged: set[int] = set()
    got: list[int] = []

    async def publish_rest(broker: Broker) -> None:
        for number in attempted:
            try:
                await broker.publish("orders", Order(number))
            except UnansweredError:  # under way when Redis was killed; all others wait for it
                continue
            acknowledged.add(number)

    async with subscriber(server.url, "orders", noting(got), concurrency=4) as broker:
        publishing = asyncio.gather(*(publish_rest(broker) for _ in range(20)))
        for upto in (3333, 5000):
            await until(lambda n=upto: len(acknowledged) >= n or publishing.done(), 30)
            await asyncio.to_thread(server.restart, signal.SIGKILL)
        await publishing
        await until(lambda: acknowledged <= set(got), 20)
    assert len(acknowledged) >= 10_000 - 2 * 20
    assert set(got) <= set(range(10_000))


async def test_16_two_groups_get_everything_and_members_share(url: str, stream: str) -> None:
    """Acceptance 16."""
    got: dict[str, list[int]] = {name: [] for name in ("a1", "a2", "b1", "b2")}

    def member(name: str) -> Broker:
        async def work(order: Order, delivery: Delivery) -> None:
            got[name].append(order.number)
            await asyncio.sleep(0.001)

        return subscriber(url, stream, work, group=name[0], concurrency=4)

    async with AsyncExitStack() as stack:
        first, *_ = await open_all(stack, map(member, got))
        await first.publish_many(stream, orders(range(1000)))
        await nothing_left(url, stream, "a")
        await nothing_left(url, stream, "b")
    once_each(got["a1"] + got["a2"], 1000)
    once_each(got["b1"] + got["b2"], 1000)
    assert all(got.values()), "a member got nothing"
