"""What happens together with the acknowledgement: follow-ups, marks of handled events, and what a handler says of its
own delivery (P1, P10, P12, P25)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    Delivery,
    InvalidEventError,
    NotOpenError,
    PayloadTooLargeError,
    Retention,
    RetryPolicy,
    Settings,
    SettledError,
    StreamSettings,
)
from redis_streams_aio.telemetry import DuplicateDropped, Fact, StepFailed
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.processes import worker

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=3)
DEAD = "{orders}:g:dead"
INVOICES = "{orders}:invoices"


async def settled(broker: Broker, count: int) -> None:
    await until(lambda: broker.status[0].settled == count)


# -- manual fates ---------------------------------------------------------------------------------------------


async def test_the_manual_way_ack_retry_and_reject(url: str, redis: Redis) -> None:
    came: dict[int, list[tuple[int, int]]] = {}
    broker = Broker(url, group="g")

    @broker.handler("orders", concurrency=8, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        tries = came.setdefault(order.number, [])
        tries.append((delivery.deliveries, delivery.failures))
        match order.number:
            case 1:
                delivery.ack()
                raise ValueError("after it was acknowledged")
            case 2 if len(tries) == 1:
                delivery.retry(0.01)
            case 3:
                delivery.reject("no such customer")
            case 4:
                delivery.fail(ValueError("told"))
            case 5:
                delivery.reject("thought again")
                delivery.ack()

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(6)])
        await settled(broker, 6)
    assert len(came[1]) == 1, "the decision stands, also when the handler raises"
    assert came[2] == [(1, 0), (1, 0)], "a wish is no failure"
    assert came[4] == [(1, 0), (1, 1), (1, 2)]
    dead = {fields["dead:error"]: fields["dead:reason"] for _, fields in await redis.xrange(DEAD)}
    assert dead == {"no such customer": "rejected", "ValueError: told": "failures"}


async def test_p1_nothing_is_acknowledged_while_the_handler_runs_whatever_it_said(url: str, redis: Redis) -> None:
    pending: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.ack()
        delivery.publish(INVOICES, order)
        await asyncio.sleep(0.01)
        pending.append((await redis.xpending("orders", "g"))["pending"] + await redis.xlen(INVOICES))

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert pending == [1]
    assert await redis.xlen(INVOICES) == 1


async def test_what_is_said_too_late_is_refused(url: str) -> None:
    kept: list[Delivery] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        kept.append(delivery)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
        for say in (kept[0].ack, lambda: kept[0].retry(1), lambda: kept[0].reject("x")):
            with pytest.raises(SettledError, match="before the handler returns"):
                say()
        with pytest.raises(SettledError):
            kept[0].publish(INVOICES, Order(2))


# -- follow-ups -----------------------------------------------------------------------------------------------


async def test_follow_ups_are_published_once_however_often_the_handler_is_tried(url: str, redis: Redis) -> None:
    tries: list[int] = []
    broker = Broker(
        url, group="g", settings=Settings(streams={INVOICES: StreamSettings(retention=Retention(max_length=1000))})
    )

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish(INVOICES, Order(order.number + 100), key="ada", event_id="e1", headers={"from": "order"})
        delivery.publish("{orders}:mails", {"to": "ada"}, event_type="Mail")
        tries.append(order.number)
        if len(tries) < 3:
            raise ValueError("not yet")

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert len(tries) == 3
    [(_, invoice)] = await redis.xrange(INVOICES)
    assert invoice == {
        "event_type": "Order",
        "payload": '{"number":101,"customer":"ada","total":1.0}',
        "key": "ada",
        "event_id": "e1",
        "h:from": "order",
    }
    assert [fields["event_type"] for _, fields in await redis.xrange("{orders}:mails")] == ["Mail"]
    assert (await redis.xpending("orders", "g"))["pending"] == 0
    assert await redis.exists("{orders}:g:failures") == 0


async def test_a_dead_letter_has_no_follow_ups(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish(INVOICES, order)
        delivery.reject("no")

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert await redis.exists(INVOICES) == 0


async def test_p4_of_two_that_both_handled_an_entry_only_one_publishes(url: str, redis: Redis) -> None:
    """A process that lost its lease and goes on, and the one that took over: one follow-up, one acknowledgement."""
    first_began, first_may_end = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    def make(name: str) -> Broker:
        broker = Broker(url, group="g", settings=Settings(consumer=name, reclaim_interval=0.05))

        @broker.handler("orders", lease=0.5, on_lost="continue")
        async def handle(order: Order, delivery: Delivery) -> None:
            if name == "first":
                first_began.set()
                await first_may_end.wait()
            delivery.publish(INVOICES, order)
            done.append(name)

        return broker

    first, second = make("first"), make("second")
    async with first:
        entry_id = await first.publish("orders", Order(1))
        await first_began.wait()
        await redis.xclaim("orders", "g", "thief", 0, [entry_id], idle=86_400_000)
        async with second:
            await until(lambda: second.status[0].settled == 1)
            first_may_end.set()
            await until(lambda: done == ["second", "first"])
            await until(lambda: first.status[0].running == 0)
    assert await redis.xlen(INVOICES) == 1


async def test_a_stream_on_another_slot_is_refused_or_sent_before_by_choice(url: str, redis: Redis) -> None:
    errors: list[str] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        try:
            delivery.publish("invoices", order)
        except InvalidEventError as error:
            errors.append(str(error))
        delivery.publish("invoices", order, atomic=False)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert "name it e.g. '{orders}:invoices', or set atomic=False" in errors[0]
    assert await redis.xlen("invoices") == 1


@pytest.mark.parametrize(
    ("publish", "error"),
    [
        (lambda delivery: delivery.publish(INVOICES, {"no": "type"}), InvalidEventError),
        (lambda delivery: delivery.publish("bad name", Order(1)), InvalidEventError),
        (lambda delivery: delivery.publish(INVOICES, Order(1), headers={"a": object()}), InvalidEventError),
        (lambda delivery: delivery.publish(INVOICES, b"x" * 2_000_000, event_type="Big"), PayloadTooLargeError),
    ],
)
async def test_p24_bad_follow_ups_are_refused_in_the_handler(
    url: str, publish: Callable[[Delivery], None], error: type[Exception]
) -> None:
    raised: list[Exception] = []
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        try:
            publish(delivery)
        except InvalidEventError as problem:
            raised.append(problem)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert [type(problem) for problem in raised] == [error]


async def test_a_follow_up_that_redis_refuses_for_good_is_the_handlers_failure(url: str, redis: Redis) -> None:
    """Neither happens: the first of two follow-ups is taken back, and the event is tried again, then dead-lettered."""
    await redis.set("{orders}:text", "no stream")
    tries: list[int] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        tries.append(delivery.failures)
        delivery.publish(INVOICES, order)
        delivery.publish("{orders}:text", order)

    async with broker:
        await broker.publish("orders", Order(1))
        await settled(broker, 1)
    assert tries == [0, 1, 2]
    assert await redis.xlen(INVOICES) == 0
    [(_, letter)] = await redis.xrange(DEAD)
    assert "WRONGTYPE" in letter["dead:error"]


async def test_follow_ups_wait_for_a_redis_that_is_full_and_nothing_is_half_done(
    new_server: Callable[..., Server],
) -> None:
    server = new_server()
    facts: list[Fact] = []
    broker = Broker(server.url, group="g", observers=[facts.append])
    handled: list[int] = []

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        await redis.config_set("maxmemory", "1")
        delivery.publish(INVOICES, order)
        handled.append(order.number)

    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    try:
        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: [fact for fact in facts if isinstance(fact, StepFailed) and "OOM" in fact.error])
            assert await redis.exists(INVOICES) == 0
            assert (await redis.xpending("orders", "g"))["pending"] == 1
            await redis.config_set("maxmemory", "0")
            await settled(broker, 1)
        assert handled == [1]
        assert await redis.xlen(INVOICES) == 1
    finally:
        await redis.aclose()


async def test_p2_a_crash_between_handler_and_acknowledgement_leaves_both_or_neither(url: str, redis: Redis) -> None:
    """Workers are killed again and again while they publish one follow-up for each event."""
    count = 400
    async with Broker(url) as broker:
        await broker.publish_many("orders", [Order(number) for number in range(count)])
    for kill in range(4):
        async with worker(url, "--follow-up", INVOICES, "--work", 0.001, "--lease", 0.3, "--reclaim", 0.05) as one:
            enough = (kill + 1) * count // 6
            await until(lambda enough=enough: _length(redis, INVOICES, enough), 20)
            await one.kill()
    async with worker(url, "--follow-up", INVOICES, "--work", 0.001, "--lease", 0.3, "--reclaim", 0.05):
        await until(lambda: _length(redis, INVOICES, count), 20)
        await until(lambda: _nothing_pending(redis), 20)
    numbers = [fields["payload"] for _, fields in await redis.xrange(INVOICES)]
    assert len(numbers) == len(set(numbers)) == count, "each follow-up once, though some handlers ran twice"


# -- duplicates -----------------------------------------------------------------------------------------------


async def test_p25_the_second_copy_of_an_event_is_dropped(url: str, redis: Redis) -> None:
    got: list[int] = []
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", deduplicate=60)
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        for number in (1, 2):
            for _ in range(3):
                await broker.publish("orders", Order(number), event_id=f"e{number}")
        await broker.publish("orders", Order(3))
        await broker.publish("orders", Order(3))
        await settled(broker, 8)
    assert got == [1, 2, 3, 3], "what has no event_id has no copies"
    assert len([fact for fact in facts if isinstance(fact, DuplicateDropped)]) == 4
    assert 50_000 < await redis.pttl("{orders}:g:done:e1") <= 60_000


async def test_p25_copies_handled_at_the_same_time_wait_for_each_other(url: str) -> None:
    """In one process, and in two: nobody sees a copy as done that may still fail."""
    got: list[int] = []
    running: set[int] = set()

    def make() -> Broker:
        broker = Broker(url, group="g", settings=Settings(count=1))

        @broker.handler("orders", deduplicate=60, concurrency=20, lease=0.3, retry=SOON)
        async def handle(order: Order, delivery: Delivery) -> None:
            assert order.number not in running
            running.add(order.number)
            await asyncio.sleep(0.05)
            running.discard(order.number)
            if order.number % 3 == 0 and delivery.failures == 0:
                raise ValueError("the first try fails")
            got.append(order.number)

        return broker

    first, second = make(), make()
    async with first, second:
        for number in range(20):
            for _ in range(3):
                await first.publish("orders", Order(number), event_id=f"e{number}")
        await until(lambda: first.status[0].settled + second.status[0].settled == 60, 20)
    assert sorted(got) == list(range(20))


async def test_p25_however_long_a_handler_takes_its_copy_waits(url: str, redis: Redis) -> None:
    running, most, got = 0, 0, []
    began, may_end = asyncio.Event(), asyncio.Event()

    def make() -> Broker:
        broker = Broker(url, group="g", settings=Settings(count=1))

        @broker.handler("orders", deduplicate=0.1, lease=0.2)
        async def handle(order: Order) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            began.set()
            await may_end.wait()
            running -= 1
            got.append(order.number)

        return broker

    first, second = make(), make()
    async with first, second:
        for _ in range(2):
            await first.publish("orders", Order(1), event_id="e1")
        await began.wait()
        await until(lambda: first.status[0].delayed + second.status[0].delayed == 1)
        await asyncio.sleep(0.5)  # longer than the lease, and than events are remembered
        assert (running, most) == (1, 1)
        assert await redis.exists("{orders}:g:failures") == 0, "waiting is written nowhere"
        may_end.set()
        await until(lambda: first.status[0].settled + second.status[0].settled == 2)
    assert most == 1


async def test_p25_a_copy_of_an_event_that_failed_is_handled(url: str, redis: Redis) -> None:
    """Nothing is dropped on the word of a copy that did not come to a good end."""
    got: list[str] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", deduplicate=60, concurrency=4, lease=0.3, retry=RetryPolicy(max_failures=1))
    async def handle(order: Order, delivery: Delivery) -> None:
        if delivery.id == bad:
            raise ValueError("this one")
        got.append(delivery.id)

    async with broker:
        bad = await broker.publish("orders", Order(1), event_id="e1")
        good = await broker.publish("orders", Order(1), event_id="e1")
        await settled(broker, 2)
    assert got == [good]
    assert await redis.xlen(DEAD) == 1


async def test_p2_p25_a_crash_before_the_mark_means_a_second_run_never_a_loss(url: str, redis: Redis) -> None:
    async with Broker(url) as broker:
        await broker.publish("orders", Order(1), event_id="e1")
    async with worker(url, "--deduplicate", 60, "--hang", 1, "--lease", 0.3) as one:
        await until(lambda: one.said("start", 1))
        await one.kill()
    async with worker(url, "--deduplicate", 60, "--lease", 0.3, "--reclaim", 0.05) as two:
        await until(lambda: two.said("end", 1))
        async with Broker(url) as broker:
            await broker.publish("orders", Order(1), event_id="e1")
        await until(lambda: _nothing_pending(redis))
        await until(lambda: _all_read(redis))
    assert two.numbers("end") == [1]


async def test_p15_p25_copies_within_a_batch(url: str) -> None:
    got: list[list[int]] = []
    broker = Broker(url, group="g")

    @broker.handler("orders", batch=6, within=0.05, deduplicate=60, lease=0.3)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        got.append([order.number for order in orders])

    async with broker:
        for number in (1, 2, 1, 3, 2, 1):
            await broker.publish("orders", Order(number), event_id=f"e{number}")
        await settled(broker, 6)
    assert sorted(number for numbers in got for number in numbers) == [1, 2, 3]


async def test_an_event_id_may_be_anything_and_others_keys_stop_nothing(url: str, redis: Redis) -> None:
    got: list[int] = []
    await redis.rpush("{orders}:g:done:e1", "somebody's list")
    broker = Broker(url, group="g")

    @broker.handler("orders", deduplicate=0.5)
    async def handle(order: Order) -> None:
        got.append(order.number)

    async with broker:
        for event_id in ("e1", "with space", "é" * 300, "{x}:y"):
            await broker.publish("orders", Order(1), event_id=event_id)
            await broker.publish("orders", Order(1), event_id=event_id)
        await redis.execute_command(
            "XADD", "orders", "*", "event_type", "Order", "payload", '{"number":2}', "event_id", b"\xff\x00"
        )
        await settled(broker, 9)
        assert got == [1, 1, 1, 1, 2]
        await until(lambda: _no_marks(redis))


async def test_without_it_nothing_is_looked_up(url: str, redis: Redis) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    async with broker:
        await broker.publish("orders", Order(1), event_id="e1")
        await broker.publish("orders", Order(1), event_id="e1")
        await settled(broker, 2)
    assert await redis.keys("*done*") == []


async def test_stream_consumers_deliveries_cannot_publish(url: str) -> None:
    """`delivery.publish` is the broker's: a delivery that has none says so."""
    from redis_streams_aio.consumer.entry import Entry
    from redis_streams_aio.events.delivery import Receiver

    delivery = Delivery(Entry("orders", b"1-0", []), Receiver("orders", "g", "me", "handle"))
    with pytest.raises(InvalidEventError, match="not read by a broker"):
        delivery.publish(INVOICES, Order(1))
    with pytest.raises(NotOpenError):
        await Broker(url).publish("orders", Order(1))


async def _length(redis: Redis, stream: str, least: int) -> bool:
    return await redis.xlen(stream) >= least


async def _nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def _all_read(redis: Redis) -> bool:
    [group] = await redis.xinfo_groups("orders")
    return group["lag"] == 0


async def _no_marks(redis: Redis) -> bool:
    return await redis.eval("return #redis.call('KEYS', '*done*')", 0) == 0  # names that are no text
