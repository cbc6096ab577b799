"""What is told when something is wrong: of failures, outages, starts and stops; once each, in a line and as a fact."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

import pytest
from redis.asyncio import Redis

from redis_streams_aio import BatchDelivery, Broker, Delivery, Reject, RetryLater, RetryPolicy, Settings
from redis_streams_aio.telemetry import (
    DeadLettered,
    Drained,
    Fact,
    Postponed,
    ReadingAgain,
    RetryScheduled,
    StepFailed,
    Subscribed,
)
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

AT_ONCE = RetryPolicy(max_failures=3, base=0.01, jitter=False)
LOGGER = "redis_streams_aio"


def of(facts: list[Fact], kind: type[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, kind)]


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == LOGGER and part in record.getMessage()]


async def test_p14_the_first_failure_has_its_traceback_and_later_ones_are_one_line(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    facts: list[Fact] = []
    caplog.set_level(logging.INFO, LOGGER)
    broker = Broker(url, group="billing", observers=[facts.append])

    @broker.handler("orders", retry=AT_ONCE)
    async def bill(order: Order) -> None:
        await asyncio.sleep(0.02)
        raise KeyError("missing")

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await until(lambda: of(facts, DeadLettered))

    retries, [dead] = of(facts, RetryScheduled), of(facts, DeadLettered)
    assert [fact.failures for fact in retries] == [1, 2]  # type: ignore[attr-defined]
    for fact in (*retries, dead):
        assert isinstance(fact, RetryScheduled | DeadLettered)
        assert (fact.handler, fact.event_type, fact.id) == ("bill", "Order", entry_id)
        assert fact.seconds is not None
        assert 0.02 <= fact.seconds < 5
        assert isinstance(fact.exception, KeyError)
        assert fact.exception.__traceback__ is not None
    first, second = lines(caplog, "retry in")
    assert first.getMessage().startswith("orders/billing: retry in 0.01 s after failure 1 of Order ")
    assert first.getMessage().endswith(f"{entry_id} in bill: KeyError: 'missing'")
    assert first.exc_info is not None
    assert first.exc_info[1] is retries[0].exception  # type: ignore[attr-defined]
    assert second.exc_info is None
    [last] = lines(caplog, "in bill after 3 failures: KeyError")
    assert last.exc_info is None
    assert vars(first)["fact"] == "RetryScheduled"
    assert vars(first)["handler"] == "bill"
    assert "exception" not in vars(first)
    assert first.args == (retries[0],)


@pytest.mark.parametrize("raised", [ValueError("no"), Reject("no")], ids=["an error", "Reject"])
async def test_p14_a_dead_letter_that_is_the_first_failure_has_its_traceback(
    url: str, caplog: pytest.LogCaptureFixture, raised: Exception
) -> None:
    broker = Broker(url, group="g")

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def bill(order: Order) -> None:
        raise raised

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: lines(caplog, "dead letter"))
    [record] = lines(caplog, "dead letter")
    assert record.exc_info is not None
    assert record.exc_info[1] is raised


async def test_an_event_that_cannot_be_decoded_is_told_of_with_its_handler(
    url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with broker:
        await redis.xadd("orders", {"event_type": "Order", "payload": "{"})
        await redis.xadd("orders", {"event_type": "Else", "payload": "{}"})
        await until(lambda: len(of(facts, DeadLettered)) == 2)
    undecodable, unhandled = of(facts, DeadLettered)
    assert isinstance(undecodable, DeadLettered)
    assert (undecodable.reason, undecodable.handler, undecodable.seconds) == ("undecodable", "bill", None)
    assert undecodable.exception is not None
    assert isinstance(unhandled, DeadLettered)
    assert (unhandled.reason, unhandled.handler, unhandled.event_type) == ("unhandled", "", "Else")
    assert unhandled.exception is None


async def test_a_batch_that_raises_logs_its_traceback_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", batch=10, within=0.2, retry=RetryPolicy(base=60))
    async def bill(orders: list[Order], batch: BatchDelivery) -> None:
        raise ValueError("all of them")

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await until(lambda: len(of(facts, RetryScheduled)) == 10)
    assert [record.exc_info is not None for record in lines(caplog, "retry in")] == [True] + [False] * 9
    assert all(fact.exception is not None for fact in facts if isinstance(fact, RetryScheduled))


@pytest.mark.parametrize("how", ["raise", "delivery.retry"])
async def test_p11_a_wish_is_no_warning(url: str, caplog: pytest.LogCaptureFixture, how: str) -> None:
    facts: list[Fact] = []
    caplog.set_level(logging.INFO, LOGGER)
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders")
    async def bill(order: Order, delivery: Delivery) -> None:
        if not of(facts, Postponed):
            if how == "raise":
                raise RetryLater(0.01)
            delivery.retry(0.01)

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
    [postponed] = of(facts, Postponed)
    assert isinstance(postponed, Postponed)
    assert (postponed.id, postponed.handler, postponed.event_type) == (entry_id, "bill", "Order")
    assert (postponed.delay, of(facts, RetryScheduled)) == (0.01, [])
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == []
    assert len(lines(caplog, "retry in 0.01 s, as its handler asked: Order")) == 1


class Big:
    """What a handler had in hand."""


async def test_what_a_failed_handler_had_in_hand_is_not_kept_while_redis_is_full(
    new_server: Callable[..., Server],
) -> None:
    """P14, P16: a fate that waits for Redis keeps its exception, to be told of, and not the handler's variables."""
    server = new_server()
    facts: list[Fact] = []
    seen: list[weakref.ref[Big]] = []
    broker = Broker(server.url, group="g", observers=[facts.append])

    @broker.handler("orders", retry=RetryPolicy(base=60))
    async def bill(order: Order) -> None:
        big = Big()
        seen.append(weakref.ref(big))
        async with Redis.from_url(server.url) as admin:
            await admin.config_set("maxmemory", 1)
        raise ValueError(f"with {type(big)} in hand")

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: any(isinstance(fact, StepFailed) and "settle" in fact.duty for fact in facts))
        gc.collect()
        assert seen[0]() is None
        async with Redis.from_url(server.url) as admin:
            await admin.config_set("maxmemory", 0)
        await until(lambda: of(facts, RetryScheduled))
    [fact] = of(facts, RetryScheduled)
    assert isinstance(fact, RetryScheduled)
    assert isinstance(fact.exception, ValueError)
    assert fact.exception.__traceback__ is not None, "where it was raised is still known"


# -- the application's logging ------------------------------------------------------------------------------------

request_id: ContextVar[str] = ContextVar("request_id")


@pytest.fixture
async def broken_logging() -> AsyncIterator[None]:
    """A filter that works in requests only, on a handler of the application."""

    def add_request_id(record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True

    handler, logger = logging.StreamHandler(), logging.getLogger(LOGGER)
    handler.addFilter(add_request_id)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO, logging.DEBUG])
async def test_p14_a_logging_filter_that_raises_ends_no_broker(url: str, broken_logging: None, level: int) -> None:
    logging.getLogger(LOGGER).setLevel(level)
    got: list[int] = []
    broker = Broker(url, group="g", observers=[lambda _: 1 / 0])

    @broker.handler("orders", retry=AT_ONCE)
    async def bill(order: Order) -> None:
        got.append(order.number)
        if got.count(1) == 1:
            raise ValueError("once")

    async with broker:
        for number in range(4):
            await broker.publish("orders", Order(number))
        await until(lambda: broker.status[0].settled == 4)
        assert broker.ready
        assert broker.failed is None
    assert sorted(got) == [0, 1, 1, 2, 3]


# -- starts, outages, stops ---------------------------------------------------------------------------------------


async def test_the_start_tells_what_is_handled(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    facts: list[Fact] = []
    broker = Broker(url, group="billing", observers=[facts.append])

    @broker.handler("orders", concurrency=64, order="key")
    async def bill(order: Order) -> None: ...

    @broker.handler("orders", group="mail", event_type="Order")
    async def write(order: Order) -> None: ...

    @broker.handler("orders", group="mail", event_type="Else")
    async def write_else(order: Order) -> None: ...

    async with broker:
        pass
    assert lines(caplog, "orders/billing: bill, 64 at once, per key")
    assert lines(caplog, "orders/mail: write, write_else, one at a time, in order")
    assert [fact.group for fact in facts if isinstance(fact, Subscribed)] == ["billing", "mail"]


async def test_a_broker_that_only_publishes_does_not_warn(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with Broker(url):
        pass
    assert len(lines(caplog, "no handlers: this broker publishes")) == 1
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_running_a_broker_without_handlers_warns(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    running = asyncio.create_task(Broker(url).run())
    await until(lambda: lines(caplog, "no handlers: this broker publishes"))
    running.cancel()
    await asyncio.wait((running,))
    [record] = lines(caplog, "the broker has no handlers")
    assert record.levelname == "WARNING"


async def test_p16_the_end_of_an_outage_is_told_once(
    new_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    server = new_server(appendonly=True)
    facts: list[Fact] = []
    broker = Broker(server.url, settings=Settings(block_ms=100), observers=[facts.append])
    for group in ("a", "b"):

        @broker.handler("orders", group=group)
        async def handle(order: Order) -> None: ...

    def failed_reads() -> set[str]:
        return {fact.duty for fact in facts if isinstance(fact, StepFailed) and fact.duty.startswith("read ")}

    async with broker:
        await until(lambda: broker.ready)
        assert of(facts, ReadingAgain) == []
        for times in (1, 2):
            await until(lambda: all(each._source.has_all_own_entries for each in broker._supervisor.running))
            server.stop()  # while both wait for new entries
            await until(lambda: failed_reads() == {"read orders/a", "read orders/b"})
            server.start()
            await until(lambda n=times: len(of(facts, ReadingAgain)) == 2 * n)
            await until(lambda: broker.ready)
            assert len(of(facts, ReadingAgain)) == 2 * times, "once for each outage and subscription"
            facts[:] = of(facts, ReadingAgain)
    for fact in facts:
        if isinstance(fact, ReadingAgain):
            assert 0 < fact.seconds < 30
    assert len(lines(caplog, "orders/a: reading again after ")) == 2
    for record in lines(caplog, "cannot read orders/a"):
        text = record.getMessage()
        assert "whether Redis carried it out" not in text, "it is a read: nothing is to be carried out"
        assert ".;" not in text
        assert text.count(str(server.port)) == 1, "the address once"


async def test_p27_the_end_of_a_drain_is_told_with_its_counts(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    facts: list[Fact] = []
    go = asyncio.Event()
    broker = Broker(url, group="g", settings=Settings(grace=0.3), observers=[facts.append])

    @broker.handler("orders", concurrency=2, order="none")
    async def handle(order: Order) -> None:
        await (go.wait() if order.number == 0 else asyncio.sleep(60))

    async with broker:
        for number in range(2):
            await broker.publish("orders", Order(number))
        await until(lambda: broker.status[0].running == 2)
        asyncio.get_running_loop().call_later(0.1, go.set)
    [drained] = of(facts, Drained)
    assert isinstance(drained, Drained)
    assert (drained.settled, drained.released) == (1, 1)
    assert 0.3 <= drained.seconds < 5
    [record] = lines(caplog, "drained in ")
    assert record.getMessage().endswith(" s: settled 1 meanwhile, released 1")
    assert facts[-1] is drained, "the last word"
