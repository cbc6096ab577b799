"""Consumers die, as processes of their own: nothing they held is lost (P2, P5, P10, P13)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from redis_streams_aio import Broker, Connection, DeadLetters, Delivery
from redis_streams_aio.testing.waiting import until

from .kit import BRISK, LEASE, Order, nothing_left, noting, publish, subscriber
from .processes import Consumer

Start = Callable[..., Awaitable[Consumer]]

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_17_what_a_consumer_killed_in_its_handler_held_is_taken_over(url: str, stream: str, start: Start) -> None:
    """On a stream where nothing new arrives, and it counts as a delivery, not as a failure (P2, P10)."""
    taken: list[tuple[int, int]] = []

    async def work(order: Order, delivery: Delivery) -> None:
        taken.append((delivery.deliveries, delivery.failures))
        got.append(order.number)

    got: list[int] = []
    await publish(url, stream, range(10))
    victim = await start("--hang", 3)
    await until(lambda: victim.said("start", 3))
    await victim.kill()
    async with subscriber(url, stream, work, settings=BRISK, lease=LEASE):
        await nothing_left(url, stream)
    assert set(victim.numbers("end")) | set(got) == set(range(10))
    assert taken[got.index(3)] == (2, 0)


async def test_18_a_storm_of_kills_under_load_loses_nothing_and_makes_nothing_up(
    url: str, stream: str, start: Start, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Acknowledged publishes - handled = 0, handled - attempted = 0 (P1, P2)."""
    attempted: list[int] = []
    acknowledged: list[int] = []
    stop = asyncio.Event()

    async def publish_on() -> None:
        async with Broker(url) as broker:
            while not stop.is_set():
                attempted.append(len(attempted))
                await broker.publish(stream, Order(attempted[-1]))
                acknowledged.append(attempted[-1])
                await asyncio.sleep(0.001)  # the pace of the load

    async def struck() -> list[int]:
        victim = await start("--concurrency", 8)
        await until(lambda: len(victim.numbers("end")) >= 50, 20, "the consumer handled 50")
        await victim.kill()
        return victim.numbers("end")

    publishing = asyncio.create_task(publish_on())
    handled = [number for _ in range(2) for two in await asyncio.gather(struck(), struck()) for number in two]
    stop.set()
    await publishing
    async with subscriber(url, stream, noting(handled), settings=BRISK, concurrency=8, lease=LEASE):
        await nothing_left(url, stream)
    assert set(acknowledged) - set(handled) == set(), "lost"
    assert set(handled) - set(attempted) == set(), "unexpected"
    record_testsuite_property("duplicates", sum(times - 1 for times in Counter(handled).values()))


async def test_19_an_event_that_kills_the_process_each_time_is_a_dead_letter_in_the_end(
    url: str, stream: str, start: Start, connection: Connection
) -> None:
    """And those behind it are handled (P10, P13)."""
    await publish(url, stream, range(3))
    for _ in range(3):
        victim = await start("--name", "me", "--die", 1, "--max-deliveries", 3)
        await victim.ended()
        assert victim.numbers("start")[-1] == 1
    survivor = await start("--name", "me", "--die", 1, "--max-deliveries", 3)
    await until(lambda: survivor.said("end", 2))
    await nothing_left(url, stream)
    [letter] = await DeadLetters(connection, stream, "g").list()
    assert (letter.reason, letter.failures, letter.deliveries) == ("deliveries", 0, 4)


async def test_20_a_restart_under_the_same_name_picks_up_what_it_held_at_once(
    url: str, stream: str, start: Start
) -> None:
    """Whatever is left of its lease, here ten minutes (P5)."""
    options = ("--name", "me", "--lease", 600, "--concurrency", 3)
    await publish(url, stream, range(3))
    victim = await start(*options, "--hang", 1)
    await until(lambda: victim.said("start", 1) and {0, 2} <= set(victim.numbers("end")))
    await victim.kill()
    heir = await start(*options)
    await until(lambda: heir.said("end", 1), 3)
