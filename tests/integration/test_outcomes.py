"""`Handled` (P33): each attempt is told once, with what became of it, and the sums are what the books say."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    Connection,
    Delivery,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
    StreamConsumer,
)
from redis_streams_aio.telemetry import Fact, Handled, LeaseLost, Telemetry
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Cancelled, Order

AT_ONCE = RetryPolicy(max_failures=3, base=0.01, jitter=False)
DEAD = "{orders}:g:dead"


class Outcomes:
    """Keeps what is told of attempts."""

    kinds: ClassVar = (Handled, LeaseLost)

    def __init__(self) -> None:
        self.told: list[Handled] = []
        self.leases_lost = 0

    def __call__(self, fact: Fact) -> None:
        if isinstance(fact, Handled):
            self.told.append(fact)
        else:
            self.leases_lost += 1

    def of(self, *outcomes: str) -> list[str]:
        return [fact.id for fact in self.told if fact.outcome in outcomes]

    @property
    def sums(self) -> Counter[str]:
        return Counter(fact.outcome for fact in self.told)


def a_broker(url: str, outcomes: Outcomes, **options: Any) -> Broker:
    settings = Settings(**{"reclaim_interval": 0.1, "consumer": "me", **options})
    return Broker(url, group="g", settings=settings, observers=[outcomes])


def untold(broker: Broker) -> int:
    """The number of attempts whose outcome it does not know yet."""
    assert broker._supervisor is not None
    return sum(len(each.holdings.outcomes) for each in broker._supervisor.subscriptions)


# -- every way of an event ----------------------------------------------------------------------------------------


async def alone(order: Order) -> None: ...
async def with_delivery(order: Order, delivery: Delivery) -> None: ...
async def slow(order: Order) -> None:
    await asyncio.sleep(0.001)


async def together(orders: list[Order]) -> None: ...
async def together_with_batch(orders: list[Order], batch: BatchDelivery) -> None:
    batch.fail(0, ValueError("the first of each batch")) if batch[0].failures == 0 else None


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        (alone, {}),
        (slow, {"concurrency": 8}),
        (alone, {"order": "stream"}),
        (slow, {"concurrency": 8, "key": lambda order: order.number % 3}),
        (alone, {"deduplicate": 60.0}),
        (with_delivery, {"concurrency": 8}),
        (together, {"batch": 20, "within": 0.01}),
        (together, {"batch": 20, "within": 0.01, "key": lambda order: order.number % 3}),
        (together_with_batch, {"batch": 20, "within": 0.01, "retry": AT_ONCE}),
    ],
)
async def test_p33_each_event_is_told_once_on_every_way(
    url: str, redis: Redis, handler: Callable[..., Any], options: dict[str, Any]
) -> None:
    outcomes = Outcomes()
    broker = a_broker(url, outcomes)
    broker.handler("orders", **options)(handler)
    async with Broker(url) as publisher:
        ids = await publisher.publish_many("orders", [Order(number) for number in range(100)])
    async with broker:
        await until(lambda: len(outcomes.of("acknowledged")) >= len(ids))
        assert untold(broker) == 0
    assert sorted(outcomes.of("acknowledged")) == sorted(ids)
    assert outcomes.sums["retried"] == len(outcomes.told) - len(ids)
    assert (outcomes.sums["retried"] > 0) == (handler is together_with_batch)
    assert (await redis.xpending("orders", "g"))["pending"] == 0
    for fact in outcomes.told:
        assert (fact.stream, fact.group, fact.consumer) == ("orders", "g", "me")
        assert (fact.handler, fact.event_type) == (handler.__name__, "Order")
        assert 0 <= fact.seconds < 10
        published = int(fact.id.partition("-")[0]) / 1000
        assert published - 1 < fact.began < published + 60, "in epoch seconds"


async def test_p33_nothing_is_kept_for_nobody(url: str) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[Wanting(facts)])
    broker.handler("orders")(alone)
    broker.handler("letters")(with_delivery)
    async with broker:
        await broker.publish("orders", Order(1))
        await broker.publish("letters", Order(1))
        await until(lambda: sum(each.settled for each in broker.status) == 2)
        assert untold(broker) == 0
    assert facts == []


class Wanting:
    """An observer that wants no fact of the hot path."""

    kinds: ClassVar = (LeaseLost,)

    def __init__(self, facts: list[Fact]) -> None:
        self._facts = facts

    def __call__(self, fact: Fact) -> None:
        self._facts.append(fact)


# -- the other outcomes -----------------------------------------------------------------------------------------


async def test_p33_failures_wishes_and_dead_letters(url: str, redis: Redis) -> None:
    outcomes, calls = Outcomes(), Counter[int]()
    broker = a_broker(url, outcomes)

    @broker.handler("orders", retry=AT_ONCE, concurrency=4)
    async def handle(order: Order) -> None:
        calls[order.number] += 1
        if order.number == 0:
            raise KeyError("always")
        if order.number == 1:
            raise Reject("no")
        if order.number == 2 and calls[2] == 1:
            raise RetryLater(0.01)
        if order.number == 3 and calls[3] < 3:
            raise KeyError("twice")

    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(5)])
        await broker.publish("orders", Cancelled(9))
        await broker.publish("orders", {"number": "x"}, event_type="Order")
        await until(lambda: broker.status[0].settled == 7)
        assert untold(broker) == 0
    by_id = {entry_id: [fact.outcome for fact in outcomes.told if fact.id == entry_id] for entry_id in ids}
    assert [by_id[entry_id] for entry_id in ids] == [
        ["retried", "retried", "dead_letter"],
        ["dead_letter"],
        ["postponed", "acknowledged"],
        ["retried", "retried", "acknowledged"],
        ["acknowledged"],
    ]
    assert len(outcomes.told) == sum(calls.values()), "those that reach no handler are no attempts"
    assert await redis.xlen(DEAD) == 4, "two of them were never handled"


@pytest.mark.parametrize("options", [{}, {"batch": 4, "within": 0.01}])
@pytest.mark.parametrize("takes_delivery", [False, True])
async def test_p27_p33_an_attempt_that_the_end_of_a_drain_cancels_is_released(
    url: str, options: dict[str, Any], takes_delivery: bool
) -> None:
    outcomes, begun = Outcomes(), asyncio.Event()
    broker = a_broker(url, outcomes, grace=0.1)

    async def hang(orders: Any, delivery: Any) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async def hang_on_payload(order: Order) -> None:
        await hang(order, None)

    async def hang_on_delivery(order: Order, delivery: Delivery) -> None:
        await hang(order, delivery)

    async def hang_on_batch(orders: list[Order]) -> None:
        await hang(orders, None)

    async def hang_on_batch_delivery(orders: list[Order], batch: BatchDelivery) -> None:
        await hang(orders, batch)

    both = (hang_on_batch, hang_on_batch_delivery) if options else (hang_on_payload, hang_on_delivery)
    broker.handler("orders", **options)(both[takes_delivery])
    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await asyncio.wait_for(begun.wait(), 20)
    assert [(fact.id, fact.outcome) for fact in outcomes.told] == [(entry_id, "released")]
    assert outcomes.told[0].seconds > 0.05


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("takes_delivery", [False, True])
async def test_p9_p33_an_attempt_whose_lease_is_lost(url: str, redis: Redis, fails: bool, takes_delivery: bool) -> None:
    """A failure is written by nobody; a success is acknowledged all the same."""
    outcomes, begun, go = Outcomes(), asyncio.Event(), asyncio.Event()
    broker = a_broker(url, outcomes)

    async def wait() -> None:
        begun.set()
        await go.wait()
        if fails:
            raise KeyError("lost anyway")

    async def handle(order: Order) -> None:
        await wait()

    async def handle_delivery(order: Order, delivery: Delivery) -> None:
        await wait()

    broker.handler("orders", lease=0.6, on_lost="continue")(handle_delivery if takes_delivery else handle)
    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await asyncio.wait_for(begun.wait(), 20)
        await redis.xclaim("orders", "g", "thief", 0, [entry_id], idle=0, justid=True)
        await until(lambda: outcomes.leases_lost == 1, 20)
        assert outcomes.told == []
        go.set()
        await until(lambda: outcomes.told != [], 20)
    assert [(fact.id, fact.outcome) for fact in outcomes.told] == [(entry_id, "lost" if fails else "acknowledged")]


async def test_p9_p33_an_attempt_that_is_cancelled_for_its_lost_lease_is_lost(url: str, redis: Redis) -> None:
    outcomes, begun = Outcomes(), asyncio.Event()
    broker = a_broker(url, outcomes)

    @broker.handler("orders", lease=0.6, on_lost="cancel")
    async def handle(order: Order) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await asyncio.wait_for(begun.wait(), 20)
        await redis.xclaim("orders", "g", "thief", 0, [entry_id], idle=0, justid=True)
        await until(lambda: outcomes.told != [], 20)
    assert [(fact.id, fact.outcome) for fact in outcomes.told] == [(entry_id, "lost")]


async def test_p33_what_redis_did_not_confirm_before_the_end_is_lost(new_server: Callable[..., Server]) -> None:
    server, outcomes, fates = new_server(), Outcomes(), asyncio.Semaphore(0)
    broker = Broker(
        server.url,
        group="g",
        settings=Settings(command_timeout=0.3, grace=0.5, connect_timeout=5),
        observers=[outcomes],
    )

    @broker.handler("orders", concurrency=4, retry=AT_ONCE)
    async def handle(order: Order) -> None:
        if order.number == 0:
            return
        fates.release()
        await stopped.wait()
        if order.number == 1:
            raise KeyError("too late")

    stopped = asyncio.Event()
    async with broker:
        ids = await broker.publish_many("orders", [Order(number) for number in range(4)])
        for _ in range(3):
            await asyncio.wait_for(fates.acquire(), 20)
        await until(lambda: outcomes.of("acknowledged") == ids[:1], 20)
        server.stop(signal.SIGKILL)
        stopped.set()
        await asyncio.sleep(0)
    assert outcomes.of("acknowledged") == ids[:1]
    assert sorted(outcomes.of("lost")) == ids[1:]
    assert len(outcomes.told) == 4


# -- without a broker -------------------------------------------------------------------------------------------


async def test_p33_an_iterator_has_attempts_too(url: str, redis: Redis) -> None:
    outcomes = Outcomes()
    async with Connection(url) as connection:
        async with Broker(url) as publisher:
            ids = await publisher.publish_many("orders", [Order(number) for number in range(4)])
        consumer = StreamConsumer(
            connection, "orders", "g", payload_type=Order, lease=0.6, telemetry=Telemetry([outcomes])
        )
        async with consumer:
            events = consumer.subscribe()
            got = [await anext(events) for _ in range(3)]
            assert await consumer.acknowledge(got[0]) == 1
            await redis.xclaim("orders", "g", "thief", 0, [got[1].id], idle=0, justid=True)
            await until(lambda: outcomes.of("lost") == [got[1].id], 20)
            assert await consumer.acknowledge(got[1]) == 0
            await events.aclose()
    assert {outcome: outcomes.of(outcome) for outcome in outcomes.sums} == {
        "acknowledged": ids[:1],
        "lost": ids[1:2],
        "released": ids[2:3],
    }, "the fourth was given to nobody"
    assert {fact.handler for fact in outcomes.told} == {""}


# -- the books --------------------------------------------------------------------------------------------------


class Calls:
    """The books of one process: which calls of handlers began, and which ended."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def of(self, order: Order, delivery: Delivery) -> None:
        self.begun[delivery.id] += 1
        try:
            await asyncio.sleep(0.002 * (order.number % 4))
            if order.number % 7 == 3:
                raise Reject("seven") if order.number % 2 else KeyError("always")
            if order.number % 5 == 0 and delivery.failures == 0 and order.number % 2:
                raise KeyError("once")
        finally:
            self.ended[delivery.id] += 1


def a_member(url: str, number: int, outcomes: Outcomes, calls: Calls) -> Broker:
    broker = a_broker(url, outcomes, consumer=f"member-{number}", grace=0.02)

    @broker.handler("orders", lease=1.0, retry=AT_ONCE, concurrency=4)
    async def bill(order: Order, delivery: Delivery) -> None:
        await calls.of(order, delivery)

    @broker.handler("orders", group="mails", lease=1.0, retry=AT_ONCE, batch=8, within=0.01)
    async def mail(orders: list[Order], batch: BatchDelivery) -> None:
        for at, (order, delivery) in enumerate(zip(orders, batch, strict=True)):
            try:
                await calls.of(order, delivery)
            except (KeyError, Reject) as error:
                batch.reject(at, "told to") if isinstance(error, Reject) else batch.fail(at, error)

    return broker


async def test_p33_the_sums_are_what_the_books_say(url: str, redis: Redis) -> None:
    """Three members come and go, in drains that cancel handlers; the last one stays until all is settled."""
    outcomes, calls = Outcomes(), Calls()
    async with Broker(url) as publisher:
        ids = await publisher.publish_many("orders", [Order(number) for number in range(300)])
    for number in range(4):
        async with a_member(url, number, outcomes, calls) as broker:
            del broker
            await asyncio.sleep(0.05 * number)
    async with a_member(url, 9, outcomes, calls) as broker:
        await until(lambda: all(each.running == 0 for each in broker.status) and untold(broker) == 0, 30)
        await until_settled(redis, ("g", "mails"))
        await until(lambda: untold(broker) == 0, 30)
    told = Counter(fact.outcome for fact in outcomes.told)
    dead = await redis.xlen(DEAD) + await redis.xlen("{orders}:mails:dead")
    assert told["dead_letter"] == dead > 0
    assert told["acknowledged"] == 2 * len(ids) - dead, "nobody lost a lease"
    assert told["lost"] == 0
    assert told["retried"] > 0
    assert sum(told.values()) == sum(Counter(fact.id for fact in outcomes.told).values())
    for entry_id in ids:
        attempts = [fact for fact in outcomes.told if fact.id == entry_id]
        for group in ("g", "mails"):
            ends = [
                fact.outcome for fact in attempts if fact.group == group and fact.outcome not in ("retried", "released")
            ]
            assert len(ends) == 1, (group, attempts)
    in_one_by_one = [fact for fact in outcomes.told if fact.handler == "bill"]
    assert len(in_one_by_one) + len([1 for fact in outcomes.told if fact.handler == "mail"]) >= sum(
        calls.ended.values()
    )


async def until_settled(redis: Redis, groups: Sequence[str]) -> None:
    async with asyncio.timeout(60):
        while True:
            found = {each["name"]: each for each in await redis.xinfo_groups("orders")}
            if all(found[name]["lag"] == 0 and found[name]["pending"] == 0 for name in groups):
                return
            await asyncio.sleep(0.02)
