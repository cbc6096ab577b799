"""Handlers that block the event loop, run for longer than a lease, or hang: told of by name, with where they stand."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest

from redis_streams_aio import BatchDelivery, Broker, Delivery, RetryLater, Settings
from redis_streams_aio.broker import standing
from redis_streams_aio.broker.standing import NOWHERE, where
from redis_streams_aio.telemetry import Fact, HandlerSlow, LoopBlocked
from redis_streams_aio.testing.waiting import until
from tests.events import Order

LEASE = 0.6
LOGGER = "redis_streams_aio"
ROOT = Path(__file__).parent.parent.parent
F = TypeVar("F", bound=Fact)


def of(facts: list[Fact], kind: type[F]) -> list[F]:
    return [fact for fact in facts if isinstance(fact, kind)]


def line_of(text: str) -> int:
    """The number of the only line of this file that has such a comment."""
    [number] = [n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"# {text}")]
    return number


# -- the loop is blocked ------------------------------------------------------------------------------------------


async def test_p3_a_handler_that_blocks_the_loop_is_named_with_where_it_stands(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    facts: list[Fact] = []
    told_while_it_lasted: list[str] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", lease=LEASE)
    async def bill(order: Order) -> None:
        time.sleep(1.5)  # here it blocks
        told_while_it_lasted.extend(record.getMessage() for record in caplog.records)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: of(facts, LoopBlocked))
        await until(lambda: broker.status[0].settled == 1)
    place = f"{__file__}:{line_of('here it blocks')} in bill"
    [fact] = of(facts, LoopBlocked)
    assert (fact.handler, fact.where) == ("bill", place)
    assert 1.0 < fact.seconds < 10
    [line] = [text for text in told_while_it_lasted if "event loop blocked" in text]
    assert line.endswith(f" by handler bill, at {place}")
    lines = [record.getMessage() for record in caplog.records if "event loop blocked" in record.getMessage()]
    assert len(lines) == 2, "while it lasts, and when it is over"
    assert lines[1] == str(fact)


async def test_each_blockage_is_told_of_once_and_what_is_no_handler_too(url: str) -> None:
    """A handler that merely waits meanwhile is not blamed."""
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])
    go = asyncio.Event()

    @broker.handler("orders", lease=LEASE)
    async def bill(order: Order) -> None:
        await go.wait()

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].running == 1)
        for times in (1, 2):
            time.sleep(1)
            await until(lambda n=times: len(of(facts, LoopBlocked)) == n)
        go.set()
    assert [fact.handler for fact in of(facts, LoopBlocked)] == ["", ""]
    assert __file__ in of(facts, LoopBlocked)[0].where


async def test_a_loop_that_handles_without_blocking_is_not_told_of(url: str) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])

    @broker.handler("orders", lease=LEASE, concurrency=4, order="none")
    async def bill(order: Order) -> None:
        await asyncio.sleep(0.1)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(40)])
        await until(lambda: broker.status[0].settled == 40)
    assert of(facts, LoopBlocked) == []
    assert of(facts, HandlerSlow) == []


async def test_p26_the_watching_thread_ends_with_the_broker(url: str) -> None:
    before = threading.active_count()
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def bill(order: Order) -> None: ...

    async with broker:
        assert "redis_streams_aio loop watch" in {thread.name for thread in threading.enumerate()}
        began = time.monotonic()
    assert time.monotonic() - began < 1, "nobody waits for its next turn"
    assert threading.active_count() == before


class Billing:
    async def bill(self, order: Order) -> None:
        time.sleep(1)

    async def __call__(self, order: Order) -> None:
        time.sleep(1)


async def in_a_task_of_its_own(delivery: Delivery | BatchDelivery, call_next: object) -> None:
    """A middleware under which the worker's task only waits."""
    await asyncio.create_task(call_next())  # type: ignore[operator]


async def test_a_method_in_a_task_of_its_own_is_named_too(url: str) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append], middleware=[in_a_task_of_its_own])
    broker.handler("orders", lease=LEASE)(Billing().bill)
    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: of(facts, LoopBlocked))
    assert of(facts, LoopBlocked)[0].handler == "bill"
    assert of(facts, LoopBlocked)[0].where.endswith(" in bill")


def test_the_code_of_every_kind_of_handler_is_found() -> None:
    from redis_streams_aio.broker.loop_watch import _code_of

    billing = Billing()
    assert _code_of(billing.bill) is Billing.bill.__code__
    assert _code_of(billing) is Billing.__call__.__code__
    assert _code_of(partial(billing.bill)) is Billing.bill.__code__
    assert _code_of(partial(partial(billing))) is Billing.__call__.__code__
    assert _code_of(print) is None
    assert where([]) == NOWHERE


def test_the_handler_of_an_application_among_the_libraries_is_where_it_stands() -> None:
    """None of the frames is outside of the libraries: the handler's own line is taken, and not the deepest."""

    def frame(file: str, name: str) -> FrameType:
        names: dict[str, Callable[[], FrameType]] = {}
        exec(compile(f"import sys\ndef {name}(): return sys._getframe()", file, "exec"), names)
        return names[name]()

    group, ours = frame("/v/site-packages/anyio/x.py", "group"), frame(standing.__file__, "ours")
    handler, client = frame("/v/site-packages/shop/x.py", "bill"), frame("/v/site-packages/httpx/x.py", "get")
    assert where([group, ours, handler, client]) == "/v/site-packages/shop/x.py:2 in bill"
    assert where([group, client]) == "/v/site-packages/httpx/x.py:2 in get"
    assert where([group, ours, handler, frame("/app/shop.py", "own"), client]) == "/app/shop.py:2 in own"


SHOP = """
import asyncio, logging, sys, time
from redis_streams_aio import Broker
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
broker = Broker(sys.argv[1], group="g")

@broker.handler("orders", lease=1)
async def bill(order: dict) -> None:
    print("begun", flush=True)
    time.sleep(4)

asyncio.run(broker.run())
"""


async def test_p3_two_processes_that_both_handle_an_event_say_why(url: str, tmp_path: Path) -> None:
    """Newcomers' commonest slip: a synchronous call for longer than the lease. Both ran it; now both logs say so."""
    shop = tmp_path / "shop.py"
    shop.write_text(SHOP)
    async with Broker(url) as broker, started(shop, url) as first, started(shop, url) as second:
        for running in (first, second):
            await running.says("bill, one at a time")
        await broker.publish("orders", {"number": 1}, event_type="Order")
        for running in (first, second):
            await running.says(f"by handler bill, at {shop}:10 in bill")
    assert [sum(line == "begun" for line in running.lines) for running in (first, second)] == [1, 1]


class Running:
    """A process, and the lines that it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def says(self, part: str) -> None:
        await until(lambda: any(part in line for line in self.lines), 20)


@asynccontextmanager
async def started(script: Path, *arguments: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        *arguments,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    running = Running(process)
    try:
        yield running
    finally:
        process.send_signal(signal.SIGKILL)
        await running.reading
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first


# -- a handler that runs on and on --------------------------------------------------------------------------------


async def reply_of_a_bank() -> None:
    await asyncio.sleep(60)  # here it waits


async def test_p3_handlers_that_hang_are_told_of_once_each_with_where_they_wait(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="billing", settings=Settings(grace=0.1), observers=[facts.append])

    @broker.handler("orders", lease=0.4, concurrency=2, order="none")
    async def bill(order: Order) -> None:
        await reply_of_a_bank()

    async with broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: len(of(facts, HandlerSlow)) == 2)
        await asyncio.sleep(0.5)  # longer than a lease: they are not told of again
        assert broker.ready
    slow = of(facts, HandlerSlow)
    assert sorted(fact.id for fact in slow) == ids
    for fact in slow:
        assert (fact.handler, fact.event_type, fact.count) == ("bill", "Order", 1)
        assert fact.where == f"{__file__}:{line_of('here it waits')} in reply_of_a_bank"
        assert 0.4 <= fact.seconds < 5
    lines = [record for record in caplog.records if "running for " in record.getMessage()]
    assert [record.levelname for record in lines] == ["WARNING"] * 2
    assert lines[0].getMessage() == str(slow[0])


async def test_a_batch_that_hangs_is_told_of_once(url: str) -> None:
    facts: list[Fact] = []
    broker = Broker(url, group="g", settings=Settings(grace=0.1), observers=[facts.append])

    @broker.handler("orders", lease=0.4, batch=3, within=5)
    async def bill(orders: list[Order], batch: BatchDelivery) -> None:
        await reply_of_a_bank()

    async with broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2), Order(3)])
        await until(lambda: of(facts, HandlerSlow))
    [fact] = of(facts, HandlerSlow)
    assert (fact.id, fact.count, fact.handler) == (ids[0], 3, "bill")


async def test_short_calls_one_after_another_are_not_one_long_call(url: str) -> None:
    """The same delivery, tried again and again at once: each call is a call of its own."""
    facts: list[Fact] = []
    broker = Broker(url, group="g", observers=[facts.append])
    calls = 0

    @broker.handler("orders", lease=0.4)
    async def bill(order: Order) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.15)
        if calls < 8:
            raise RetryLater(0)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
    assert calls == 8
    assert of(facts, HandlerSlow) == []


async def test_the_watch_is_silent_where_nothing_is_wrong(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOGGER)
    broker = Broker(url, group="g")

    @broker.handler("orders", lease=0.4)
    async def bill(order: Order) -> None: ...

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].settled == 1)
        await asyncio.sleep(0.5)
    assert caplog.records == []
