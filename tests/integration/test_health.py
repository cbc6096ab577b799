"""`broker.health()`: live, ready and started, each with its reasons (P19)."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable

import msgspec
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Check, Health, RetryLater, Settings
from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

FAST = Settings(block_ms=100, command_timeout=2, reclaim_interval=0.2)
DEADLINE = 30
YES = Check(ok=True)


def consumer(url: str, *, lease: float = 30, settings: Settings = FAST) -> tuple[Broker, asyncio.Event]:
    """A broker whose handler waits until the event is set."""
    broker, may_end = Broker(url, group="g", settings=settings), asyncio.Event()

    @broker.handler("orders", lease=lease)
    async def bill(order: Order) -> None:
        await may_end.wait()

    return broker, may_end


def health_of(broker: Broker) -> Health:
    """The health without the delay, which is another one each time."""
    return msgspec.structs.replace(broker.health(), loop_delay=None)


async def reason(broker: Broker, pattern: str) -> str:
    """Wait until one reason says so why it is not ready."""

    def found() -> str | None:
        health = broker.health()
        assert health.live == health.started == YES, health
        return next((each for each in health.ready.reasons if re.search(pattern, each)), None)

    return str(await until(found, DEADLINE, pattern))


async def test_p19_healthy_from_the_start_to_the_end(url: str) -> None:
    broker, may_end = consumer(url)
    closed = Check(ok=False, reasons=("the broker is not open",))
    assert health_of(broker) == Health(YES, closed, closed)
    async with broker:
        assert health_of(broker) == Health(YES, YES, YES)
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].running == 1)
        leaving = asyncio.create_task(broker.__aexit__(None, None, None))
        await until(lambda: health_of(broker) == Health(YES, Check(ok=False, reasons=("draining",)), YES))
        may_end.set()
        await leaving
        assert health_of(broker) == Health(YES, closed, closed)


async def test_p19_starting_says_what_it_waits_for(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.freeze()
    broker, _ = consumer(server.url)
    opening = asyncio.create_task(broker.__aenter__())
    starting = Check(ok=False, reasons=("connecting to Redis",))
    await until(lambda: health_of(broker) == Health(YES, starting, starting))
    server.thaw()
    await opening
    assert health_of(broker) == Health(YES, YES, YES)
    await broker.__aexit__(None, None, None)


async def test_p19_a_group_that_cannot_be_joined_is_named(new_server: Callable[..., Server]) -> None:
    server = new_server()
    async with Redis.from_url(server.url, protocol=2) as redis:
        await redis.config_set("maxmemory", "1")  # a group cannot be created
        broker, _ = consumer(server.url)
        opening = asyncio.create_task(broker.__aenter__())
        joining = Check(ok=False, reasons=("joining orders/g",))
        await until(lambda: broker.health().started == joining)
        await redis.config_set("maxmemory", "0")
        await asyncio.wait_for(opening, DEADLINE)
        assert broker.health().started == YES
        await broker.__aexit__(None, None, None)


async def test_p19_an_outage_is_a_reason_not_to_be_ready_with_its_error(new_server: Callable[..., Server]) -> None:
    server = new_server()
    broker, _ = consumer(server.url)
    async with broker:
        server.stop()
        await reason(
            broker, r"orders/g: its read has been failing for \d+ s: redis://127.0.0.1:\d+/0: Connection refused"
        )
        assert not broker.ready
        server.start()
        await until(lambda: health_of(broker) == Health(YES, YES, YES), DEADLINE)


async def test_p19_silence_is_a_reason(new_server: Callable[..., Server]) -> None:
    server = new_server()
    broker, _ = consumer(server.url, settings=Settings(block_ms=100, command_timeout=20, reclaim_interval=0.2))
    async with broker:
        server.freeze()
        await reason(broker, r"orders/g: its read is overdue by [1-9]\d* s: Redis is silent")
        server.thaw()
        await until(lambda: broker.ready, DEADLINE)


async def test_p19_starving_is_a_reason(url: str) -> None:
    broker = Broker(url, group="g", settings=FAST)

    @broker.handler("orders", lease=0.4, order="stream")
    async def bill(order: Order) -> None:
        raise RetryLater(3600)

    async with broker:
        await broker.publish_many("orders", [Order(number) for number in range(500)])
        await reason(broker, r"orders/g: has read nothing for \d+ s: it starves, because all that it holds waits")


@pytest.mark.parametrize("lease_thread", [False, True])
async def test_p3_p19_leases_that_are_not_renewed_are_a_reason(
    new_server: Callable[..., Server], lease_thread: bool
) -> None:
    """Only renewals are refused: reads come back."""
    server = new_server()
    settings = Settings(block_ms=100, reclaim_interval=0.2, lease_thread=lease_thread)
    broker, may_end = consumer(server.url, lease=0.6, settings=settings)
    async with Redis.from_url(server.url, protocol=2) as redis, broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.status[0].running == 1)
        await redis.execute_command("ACL", "SETUSER", "default", "-xclaim")
        assert re.fullmatch(r"leases have not been renewed for \d+ s", await reason(broker, "leases"))
        assert all(status.ready for status in broker.status)
        await redis.execute_command("ACL", "SETUSER", "default", "+xclaim")
        await until(lambda: broker.ready, DEADLINE)
        may_end.set()


async def test_p14_the_error_that_ended_it_is_the_reason_for_all_three(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Acknowledgements) -> None:
        raise ZeroDivisionError("a bug")

    broker, may_end = consumer(url)
    may_end.set()
    await asyncio.create_task(broker.__aenter__())
    monkeypatch.setattr(Acknowledgements, "depart", broken)
    await broker.publish("orders", Order(1))
    await until(lambda: broker.failed is not None, DEADLINE)
    ended = Check(ok=False, reasons=("an error ended the broker, and only a restart helps: ZeroDivisionError: a bug",))
    assert health_of(broker) == Health(ended, ended, ended)
    with pytest.raises(ZeroDivisionError):
        await broker.__aexit__(None, None, None)


async def test_p19_a_blocked_event_loop_is_seen_from_another_thread(url: str) -> None:
    broker = Broker(url, group="g", settings=FAST)
    seen: list[Check] = []
    over = threading.Event()

    @broker.handler("orders", lease=0.6)
    async def bill(order: Order) -> None:
        deadline = time.monotonic() + DEADLINE
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)

    def probe() -> None:
        while not over.wait(0.01):
            if not (live := broker.health().live).ok:
                seen.append(live)

    async with broker:
        thread = threading.Thread(target=probe)
        thread.start()
        await broker.publish("orders", Order(1))
        await until(lambda: seen, DEADLINE)
        await until(lambda: broker.health().live == YES, DEADLINE)
        delay = broker.health().loop_delay
        assert delay is not None
        assert delay > 0
        over.set()
        thread.join()
    [text] = seen[0].reasons
    assert re.match(r"event loop blocked for [\d.]+ s by handler bill, at .*test_health.py:\d+ in bill", text)


async def test_p19_handlers_that_hang_and_pauses_are_notes_and_fail_nothing(url: str) -> None:
    broker, may_end = consumer(url, lease=0.4)
    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: broker.health().notes, DEADLINE)
        [note] = broker.health().notes
        assert re.match(r"orders/g: running for [\d.]+ s: Order \S+ in bill, at .*test_health.py:\d+ in bill", note)
        assert broker.ready
        await until(lambda: broker.health().notes[0] != note, DEADLINE, "it goes on")
        may_end.set()
        await until(lambda: not broker.health().notes, DEADLINE)
        assert broker._supervisor is not None
        [subscription] = broker._supervisor.subscriptions
        subscription.pause()
        assert health_of(broker) == Health(YES, YES, YES, ("orders/g: paused by code of this process",))
        subscription.resume()
        assert health_of(broker) == Health(YES, YES, YES)


async def test_p19_a_broker_that_only_publishes_is_healthy_while_it_is_open(url: str) -> None:
    broker = Broker(url)
    async with broker:
        assert health_of(broker) == Health(YES, YES, YES)
    assert not broker.health().ready.ok
