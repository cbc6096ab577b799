"""The testing kit as its users meet it: on `memory://`, and on a real server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    ConfigError,
    Delivery,
    Reject,
    RetryLater,
    RetryPolicy,
    Router,
    Settings,
    telemetry,
    testing,
)
from redis_streams_aio.connection import Connection, replies
from redis_streams_aio.events import keys
from redis_streams_aio.exceptions import RedisUnavailableError
from redis_streams_aio.testing.waiting import until
from tests.events import Order

PLACES = ["memory://", "embedded://"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def broker(place: str) -> Broker:
    """As the plugin's fixtures make them."""
    return Broker(place, group="test")


async def test_what_is_published_is_handled_and_recorded(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(1), Order(2)])
        await h.settled()
        assert h.handled() == h.handled("orders") == h.handled(handler=bill) == [Order(1), Order(2)]
        assert h.handled("others") == h.handled(handler="others") == []
        h.assert_handled(Order(1))
        h.assert_not_handled(Order(3))
        assert await h.published("orders", Order) == [Order(1), Order(2)]
        assert sum(fact.count for fact in h.facts_of(telemetry.Settled)) == 2
    assert broker._supervisor is None


async def test_retries_take_no_time_and_end_as_dead_letters(broker: Broker) -> None:
    """P11, P12: five failures with a backoff of minutes."""

    @broker.handler("orders", retry=RetryPolicy(max_failures=5, base=60, jitter=False))
    async def bill(order: Order) -> None:
        if order.number == 1:
            raise ValueError("no such customer")

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(1), Order(2)])
        await h.settled()
        assert h.handled() == [Order(2)]
        assert [call.failures for call in h.calls if call.payload == Order(1)] == [0, 1, 2, 3, 4]
        h.assert_dead_letter(Order(1))
        h.assert_dead_letter(Order(1), "failures")
        [letter] = await h.dead_letters()
        assert letter.error == "ValueError: no such customer"
        with pytest.raises(AssertionError, match="Order.*is not a dead letter.*rejected.*what happened"):
            h.assert_dead_letter(Order(1), "rejected")
        with pytest.raises(AssertionError, match="number=2.* is not a dead letter"):
            h.assert_dead_letter(Order(2))


async def test_time_passes_by_hand(broker: Broker) -> None:
    """P11: never early, and on time."""
    calls: list[int] = []

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        calls.append(order.number)
        if len(calls) < 3:
            raise RetryLater(30)

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.idle()
        assert len(calls) == 1
        for wrong in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="forward"):
                await h.advance(wrong)
        await h.advance(29)
        await h.idle()
        assert len(calls) == 1
        await h.advance(1)
        await h.idle()
        assert len(calls) == 2
        await h.settled()
        assert len(calls) == 3


async def test_a_deadline_is_reached_by_time_that_passed(broker: Broker) -> None:
    """P11: `deadline` counts from the first failure."""

    @broker.handler("orders", retry=RetryPolicy(max_failures=100, base=30, factor=1, jitter=False, deadline=100))
    async def bill(order: Order) -> None:
        raise ValueError("no")

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.settled()
        h.assert_dead_letter(Order(1), "deadline")
        assert len(h.calls) == 4  # at 0, 30, 60 and 90 s; the next would be beyond


async def test_failures_can_be_ordered(broker: Broker) -> None:
    @broker.handler("orders", concurrency=4, retry=RetryPolicy(give_up_on=(KeyError,)))
    async def bill(order: Order) -> None: ...

    @broker.handler("orders", group="mail")
    async def mail(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        h.fail_next(2, ConnectionError("no mail server"), handler=mail)
        await h.publish("orders", Order(1))
        await h.settled()
        assert [str(call.error) for call in h.calls if call.handler == "mail"] == ["no mail server"] * 2 + ["None"]
        assert [call.returned for call in h.calls if call.handler == "bill"] == [True]
        h.fail_next(error=KeyError("x"), handler="bill")
        h.fail_next(0, stream="orders")
        await h.publish("orders", Order(2))
        await h.settled()
        h.assert_dead_letter(Order(2), "gave_up")
        h.assert_handled(Order(2), handler=mail)
        with pytest.raises(AssertionError, match="was handled once, not twice"):
            h.assert_handled(Order(2), times=2)


async def test_a_crash_in_the_middle_of_a_handler_comes_again_when_the_lease_has_run_out(broker: Broker) -> None:
    """P2: and what was acknowledged does not."""
    begun: list[tuple[int, int]] = []
    may_end = asyncio.Event()

    @broker.handler("orders", lease=600)
    async def bill(order: Order, delivery: Delivery) -> None:
        begun.append((order.number, delivery.deliveries))
        if order.number:
            await may_end.wait()

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(0))
        await h.settled()
        await h.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: len(begun) == 2 and broker.status[0].buffered == 1)
        await h.crash()
        may_end.set()
        await h.idle()
        assert begun == [(0, 1), (1, 1)], "the lease has not run out"
        await h.advance(300)
        await h.idle()
        assert len(begun) == 2
        await h.settled()
        assert begun == [(0, 1), (1, 1), (1, 2), (2, 2)]
        assert isinstance(h.calls[1].error, asyncio.CancelledError)
        h.assert_handled(Order(1))


async def test_a_lease_that_expires_by_itself_while_a_test_waits_is_noticed(broker: Broker) -> None:
    """P2: two events of a crashed process were read some milliseconds apart, and the second is due a little later."""
    begun: list[int] = []
    may_end = asyncio.Event()

    @broker.handler("orders", lease=600)
    async def bill(order: Order) -> None:
        begun.append(order.number)
        if order.number == 1:
            await may_end.wait()

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(0))
        await h.settled()
        ids = await h.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: begun == [0, 1] and broker.status[0].buffered == 1)
        await h.crash()
        for entry_id, idle_ms in zip(ids, (300_000, 299_000), strict=True):
            await idle_for(h.connection, entry_id, idle_ms)
        await h.advance(300.5)
        await until(lambda: begun == [0, 1, 1])
        await idle_for(h.connection, ids[1], 600_000)
        may_end.set()
        await h.idle()
        assert begun == [0, 1, 1, 2]
        await h.settled()


async def idle_for(connection: Connection, entry_id: str, idle_ms: int) -> None:
    """Let time pass at Redis for an entry, whose owner stays."""
    [[_, owner, _, _]] = await connection.call("XPENDING", "orders", "test", entry_id, entry_id, 1)  # type: ignore[misc]
    await connection.call("XCLAIM", "orders", "test", owner, 0, entry_id, "IDLE", idle_ms, "JUSTID")


async def test_a_crashed_consumer_with_a_lasting_name_has_its_entries_again_at_once(place: str) -> None:
    """P5."""
    broker = Broker(place, group="test", settings=Settings(consumer="worker-1"))
    begun: list[int] = []

    @broker.handler("orders", lease=600)
    async def bill(order: Order, delivery: Delivery) -> None:
        begun.append(delivery.deliveries)
        if delivery.deliveries == 1:
            await asyncio.Event().wait()

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await until(lambda: begun)
        await h.crash()
        await h.idle()
        assert begun == [1, 2]


async def test_a_failure_survives_a_crash_and_its_retry_is_due_when_time_has_passed(broker: Broker) -> None:
    """P11: the failure count and the due time are Redis's."""

    @broker.handler("orders", lease=10, retry=RetryPolicy(base=1000, cap=1000, jitter=False))
    async def bill(order: Order, delivery: Delivery) -> None:
        if not delivery.failures:
            raise ValueError("once")

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.idle()
        await h.advance(500)
        await h.crash()
        await h.advance(490)  # the lease is over, the retry is not due
        await until(lambda: h.facts_of(telemetry.Reclaimed))
        await h.idle()
        assert len(h.calls) == 1
        await h.advance(10)
        await h.idle()
        assert [call.failures for call in h.calls] == [0, 1]
        await h.settled()


async def test_what_was_handled_can_be_delivered_again(broker: Broker) -> None:
    """P1: as after an acknowledgement that did not arrive."""

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    @broker.handler("orders", group="once", deduplicate=3600)
    async def once(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        first = await h.publish("orders", Order(1), event_id="o-1")
        await h.publish("orders", Order(2), event_id="o-2")
        await h.settled()
        assert await h.redeliver(first) == 2
        await h.settled()
        assert h.handled(handler=bill) == [Order(1), Order(2), Order(1)]
        assert h.handled(handler=once) == [Order(1), Order(2)]
        assert [fact.id for fact in h.facts_of(telemetry.DuplicateDropped)] == [first]
        assert await h.redeliver() == 4
        await h.settled()
        assert len(h.handled(handler=bill)) == 5


async def test_marks_of_handled_events_expire(broker: Broker) -> None:
    @broker.handler("orders", deduplicate=3600)
    async def once(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1), event_id="o-1")
        await h.settled()
        await h.advance(3599)
        await h.publish("orders", Order(1), event_id="o-1")
        await h.settled()
        h.assert_handled(Order(1), times=1)
        await h.advance(3601)
        await h.publish("orders", Order(1), event_id="o-1")
        await h.settled()
        h.assert_handled(Order(1), times=2)


async def test_a_lost_lease_is_told_and_the_event_comes_again(broker: Broker) -> None:
    """P4."""
    told: list[bool] = []

    @broker.handler("orders", lease=60)
    async def bill(order: Order, delivery: Delivery) -> None:
        if delivery.deliveries > 1:
            return
        try:
            await asyncio.Event().wait()
        finally:
            told.append(delivery.lost)

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.called()
        assert await h.lose_lease() == 1
        await until(lambda: told)
        assert told == [True]
        assert len(h.facts_of(telemetry.LeaseLost)) == 1
        await h.settled()
        assert [call.deliveries for call in h.calls] == [1, 2]


async def test_batches_are_recorded_item_by_item_and_do_not_wait_to_be_full(broker: Broker) -> None:
    """P15."""

    @broker.handler("orders", batch=100, within=600)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        for index, order in enumerate(orders):
            if order.number == 2:
                batch.reject(index, "bad row")

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(n) for n in range(5)])
        await h.settled()
        assert h.handled() == [Order(n) for n in range(5)]
        h.assert_dead_letter(Order(2), "rejected")
        assert len(h.facts_of(telemetry.DeadLettered)) == 1


async def test_settled_waits_for_what_handlers_publish(broker: Broker) -> None:
    """Two streams down, in both orders of declaration."""

    @broker.handler("c")
    async def last(order: Order) -> None:
        await asyncio.sleep(0.01)

    @broker.handler("b")
    async def middle(order: Order, delivery: Delivery) -> None:
        await asyncio.sleep(0.01)
        await broker.publish("c", order)

    @broker.handler("a")
    async def first(order: Order) -> None:
        await broker.publish("b", order)

    async with testing.harness(broker) as h:
        for number in range(20):
            await h.publish("a", Order(number))
            await h.settled()
            h.assert_handled(Order(number), handler=last)


async def test_failures_that_can_hit_nobody_are_refused(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async def mail(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        with pytest.raises(ValueError, match=r"handler 'bil': the broker has bill$"):
            h.fail_next(handler="bil")
        with pytest.raises(ValueError, match=r"the broker has bill$"):
            h.fail_next(handler=mail)
        with pytest.raises(ValueError, match=r"stream 'order': the broker handles orders$"):
            h.fail_next(stream="order")


async def test_numbers_that_are_none_are_refused_with_the_name_of_the_argument() -> None:
    broker = Broker("memory://", group="g")

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        for times in ("2", 1.5, True, None, -1):
            with pytest.raises(ValueError, match=f"^times='?{times}'?: expected a whole number, 0 or more$"):
                h.fail_next(times, stream="orders")  # type: ignore[arg-type]
        for seconds in ("3", None, True, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"^seconds='?{seconds}'?: expected a number of seconds, 0 or more; "):
                await h.advance(seconds)  # type: ignore[arg-type]
        await h.publish("orders", Order(1))
        await h.settled()
        h.assert_handled(Order(1))


async def test_a_broker_of_a_client_is_told_where_to_run() -> None:
    client = Redis()
    with pytest.raises(ConfigError, match="memory://"):
        async with testing.harness(Broker(client=client, group="g")):
            pass
    await client.aclose()


async def test_what_is_not_settled_is_told(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None:
        await asyncio.Event().wait()

    @broker.handler("orders", group="mail")
    async def mail(order: Order) -> None:
        raise Reject("no address")

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(1), Order(2)])
        with pytest.raises(AssertionError) as told:
            await h.settled(0.3)
        with pytest.raises(AssertionError, match=r"not idle within 0.1 s"):
            await h.idle(0.1)
        with pytest.raises(AssertionError, match=r"bill was called once within 0.1 s, not twice"):
            await h.called(bill, times=2, timeout=0.1)
    text = str(told.value)
    assert text.startswith("not settled within 0.3 s:\n  orders/test: 1 running, ")
    assert "orders/mail: 0 running, 0 buffered, 0 waiting for their time; 0 pending, 0 unread at Redis\n" in text
    assert "\nwhat happened:\n" in text
    assert "orders/test: bill(Order(number=1, customer='ada', total=1.0)) runs (delivery 1)" in text
    assert "mail(Order(number=1, customer='ada', total=1.0)) raised Reject: no address" in text


async def test_an_applications_broker_runs_elsewhere_and_is_as_before_afterwards() -> None:
    """The application publishes through its own broker, whose URL leads nowhere."""
    broker = Broker("redis://localhost:1/0", group="shop", settings=Settings(connect_timeout=0.1))
    router = Router()

    @router.handler("orders")
    async def bill(order: Order) -> None: ...

    broker.include(router)
    before = (broker.connection, broker.settings)
    async with testing.harness(broker, "memory://") as h:
        await broker.publish("orders", Order(1))
        await h.settled()
        h.assert_handled(Order(1))
        with pytest.raises(RuntimeError, match="open"):
            async with testing.harness(broker, "memory://"):
                pass
    assert (broker.connection, broker.settings) == before
    async with testing.harness(broker, "memory://") as h:
        assert await h.published("orders", Order) == []
        assert h.calls == []


async def test_it_works_on_a_server_that_is_there(url: str) -> None:
    """The server of the matrix."""
    broker = Broker(url, group="test")

    @broker.handler("orders", concurrency=5, lease=60, retry=RetryPolicy(base=60))
    async def bill(order: Order, delivery: Delivery) -> None:
        if delivery.deliveries == 1 and order.number == 3:
            await asyncio.Event().wait()

    async with testing.harness(broker) as h:
        h.fail_next(3)
        await h.publish_many("orders", [Order(n) for n in range(5)])
        await h.called(bill, times=5)
        await h.crash()
        await h.settled()
        handled = {order.number for order in h.handled() if isinstance(order, Order)}
        assert handled == {0, 1, 2, 3, 4}  # some of them twice: their acknowledgements were lost


async def test_an_error_in_the_test_comes_out_and_a_handler_that_hangs_holds_nothing_up(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None:
        await asyncio.Event().wait()

    began = asyncio.get_running_loop().time()
    with pytest.raises(ZeroDivisionError):
        async with testing.harness(broker) as h:
            await h.publish("orders", Order(1))
            await h.called("bill")
            _ = 1 / 0
    assert asyncio.get_running_loop().time() - began < 2


async def test_time_that_passes_undoes_nothing_that_is_written_meanwhile(broker: Broker) -> None:
    """P11: what falls due while time passes fails again, or ends; its record is the newer one, or gone."""

    @broker.handler("orders", concurrency=20, retry=RetryPolicy(max_failures=10, base=10, factor=1, jitter=False))
    async def bill(order: Order, delivery: Delivery) -> None:
        if order.number % 2 or delivery.failures < 3:
            raise ValueError("no")

    async def failures() -> list[int]:
        records = replies.rows(await h.connection.call("HGETALL", keys.failures("orders", "test")))
        return [int(record.split(b" ")[0]) for record in records[1::2] if isinstance(record, bytes)]

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(n) for n in range(40)])
        await h.idle()
        for times in (2, 3, 4):
            await h.advance(10)
            await h.idle()
            assert await failures() == [times] * (40 if times < 4 else 20)


async def test_a_mark_that_is_written_after_time_has_passed_is_young(broker: Broker) -> None:
    """The retry that falls due writes it at once."""

    @broker.handler("orders", deduplicate=20, concurrency=20, retry=RetryPolicy(base=60, jitter=False))
    async def once(order: Order, delivery: Delivery) -> None:
        if not delivery.failures:
            raise ValueError("no")

    async with testing.harness(broker) as h:
        for _ in range(2):
            for number in range(20):
                await h.publish("orders", Order(number), event_id=f"o-{number}")
            await h.settled()
        assert len(h.handled()) == 20
        assert len(h.facts_of(telemetry.DuplicateDropped)) == 20


async def test_what_is_deleted_unread_is_not_waited_for(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None:
        if order.number == 1:
            may_end.clear()
            await may_end.wait()

    may_end = asyncio.Event()
    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.called(bill)
        await h.connection.call("XDEL", "orders", await h.publish("orders", Order(2)))
        may_end.set()
        await h.settled()
        assert h.handled() == [Order(1)]


async def test_handlers_of_entries_that_were_deleted_are_waited_for() -> None:
    """A real server, which tells of a deleted stream during a read."""
    broker = Broker("embedded://", group="test")

    @broker.handler("orders", concurrency=5)
    async def bill(order: Order) -> None:
        await asyncio.sleep(0.5)

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.called(bill)
        await h.connection.call("DEL", "orders")
        await h.settled()
        assert h.handled() == [Order(1)]


async def test_dead_letters_are_not_delivered_again(broker: Broker) -> None:
    """P12: they are written and acknowledged in one step, so there is no acknowledgement to lose."""

    @broker.handler("orders", batch=3)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        batch.reject(0, "bad row")

    @broker.handler("mails")
    async def mail(order: Order) -> None:
        raise Reject("no address")

    async with testing.harness(broker) as h:
        rejected = await h.publish("mails", Order(4))
        await h.settled()
        assert (
            await h.redeliver(rejected) == 0
        )  # alone: in the same millisecond, events of two streams have the same id
        await h.publish_many("orders", [Order(n) for n in range(3)])
        await h.settled()
        assert await h.redeliver() == 2
        await h.settled()
        assert len(await h.dead_letters("mails")) == 1


async def test_a_long_story_is_told_from_its_end(place: str) -> None:
    broker = Broker(place, group="test")

    @broker.handler("orders", concurrency=10)
    async def bill(order: Order) -> None: ...

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(n) for n in range(1200)])
        await h.settled(30)
        with pytest.raises(AssertionError, match=r"what happened:\n  \.\.\. 1150 more before \.\.\.\n") as told:
            h.assert_handled(Order(-1))
        assert len(str(told.value).splitlines()) == 52
        assert await h.redeliver() == 1200


async def test_an_application_whose_lifespan_opens_the_broker_can_be_started_in_a_test() -> None:
    """Its broker is open already, and stays so after its end."""
    broker = Broker("redis://localhost:1/0", group="shop", settings=Settings(connect_timeout=0.1))

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    @asynccontextmanager
    async def aiohttp_cleanup() -> AsyncIterator[None]:
        async for _ in broker.cleanup_ctx(None):
            yield

    def in_another_loop() -> None:
        async def start() -> None:
            async with broker.lifespan(None):
                pass

        asyncio.run(start())

    async with testing.harness(broker, "memory://") as h:
        for start in (lambda: broker.lifespan(None), aiohttp_cleanup):
            async with start():
                await broker.publish("orders", Order(1))
            await h.crash()
            await h.publish("orders", Order(2))
            await h.settled()
        with pytest.raises(RuntimeError, match=r"another event loop.*TestClient.*httpx\.ASGITransport"):
            await asyncio.to_thread(in_another_loop)
        await h.settled()
        with pytest.raises(RuntimeError, match="open already"):
            await broker.__aenter__()
    assert broker._supervisor is None
    with pytest.raises(RedisUnavailableError):
        async with broker.lifespan(None):
            pass


async def test_handlers_of_one_name_are_told_apart(place: str) -> None:
    """As in the modules of an application; by its name all of them are meant."""
    broker = Broker(place, group="test")

    def declared(stream: str):
        @broker.handler(stream, retry=RetryPolicy(base=60))
        async def handle(order: Order) -> None: ...

        return handle

    bill, mail = declared("orders"), declared("mails")

    @functools.wraps(bill)
    def around(*arguments):
        return bill(*arguments)

    async with testing.harness(broker) as h:
        h.fail_next(handler=mail)
        await h.publish("orders", Order(1))
        await h.publish("mails", Order(2))
        await h.settled()
        assert h.handled(handler=bill) == h.handled(handler=around) == [Order(1)]
        assert h.handled(handler=mail) == [Order(2)]
        assert len(h.handled(handler="handle")) == 2
        assert [(call.function, str(call.error)) for call in h.calls if call.error] == [(mail, "failed by fail_next()")]
        h.assert_handled(Order(2), handler=bill, times=0)
        with pytest.raises(AssertionError, match="functools.partial.* was called never"):
            await h.called(functools.partial(bill), timeout=0.05)


async def test_a_handler_cannot_crash_its_own_process(broker: Broker) -> None:
    @broker.handler("orders")
    async def bill(order: Order) -> None:
        with pytest.raises(RuntimeError, match="let the test do it"):
            await h.crash()

    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.settled()
        h.assert_handled(Order(1))
