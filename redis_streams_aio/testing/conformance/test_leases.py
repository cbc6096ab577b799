"""Leases: what a live consumer holds is its own, and what it has lost it leaves alone (P3, P4, P22)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable

import pytest

from redis_streams_aio import Connection, ConsumerGroupManager, DeadLetters, Delivery, Settings
from redis_streams_aio.connection import replies
from redis_streams_aio.connection.steps.pending import pending_messages
from redis_streams_aio.events import keys
from redis_streams_aio.testing.waiting import until

from .kit import BRISK, LEASE, Order, nothing_left, noting, once_each, orders, publish, subscriber, until_count
from .processes import Consumer

Start = Callable[..., Awaitable[Consumer]]

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_21_a_handler_ten_times_longer_than_its_lease_runs_once(url: str, stream: str) -> None:
    """With another consumer that waits to take it over (P3)."""
    started: list[int] = []

    async def work(order: Order, _: Delivery) -> None:
        started.append(order.number)
        await asyncio.sleep(10 * LEASE)

    async with (
        subscriber(url, stream, work, settings=BRISK, lease=LEASE) as one,
        subscriber(url, stream, work, settings=BRISK, lease=LEASE),
    ):
        await one.publish(stream, Order(0))
        await until_count(started, 1)
        await nothing_left(url, stream)
    assert started == [0]


async def test_22_what_waits_in_a_buffer_for_longer_than_the_lease_is_not_handled_twice(url: str, stream: str) -> None:
    """Read, and behind one that takes four leases (P3)."""
    got: list[int] = []

    async def work(order: Order, _: Delivery) -> None:
        if order.number == 20:
            await until(lambda: slow.status[0].buffered)
            second_open.set()
            await asyncio.sleep(4 * LEASE)
        got.append(order.number)

    second_open = asyncio.Event()
    slow = subscriber(url, stream, work, settings=BRISK, lease=LEASE)
    async with slow:
        await slow.publish_many(stream, orders(range(100)))
        await asyncio.wait_for(second_open.wait(), 10)
        async with subscriber(url, stream, work, settings=BRISK, lease=LEASE):
            await nothing_left(url, stream)
    once_each(got, 100)


async def test_23_a_consumer_frozen_for_longer_than_its_lease_writes_nothing_when_it_thaws(
    url: str, stream: str, start: Start, connection: Connection
) -> None:
    """SIGSTOP, another one handles the event, SIGCONT: the zombie's handler raises, and nothing is written (P4)."""
    loop = asyncio.get_running_loop()
    got: list[int] = []
    await publish(url, stream, [7])
    zombie = await start("--work", 1, "--fail", 7)
    await until(lambda: zombie.said("start", 7))
    handler_ends = loop.time() + 1
    zombie.signal(signal.SIGSTOP)
    async with subscriber(url, stream, noting(got), settings=BRISK, lease=LEASE):
        await until_count(got, 1)
        await nothing_left(url, stream)
        await asyncio.sleep(handler_ends - loop.time() + 0.1)  # so that raising is the first thing that it does
        zombie.signal(signal.SIGCONT)
        zombie.signal(signal.SIGTERM)
        await zombie.ended()
    assert got == [7]
    assert await connection.call("EXISTS", keys.failures(stream, "g")) == 0
    assert await DeadLetters(connection, stream, "g").count() == 0


async def test_24_renewing_never_takes_an_event_back_from_its_new_owner(
    url: str, stream: str, connection: Connection
) -> None:
    """Taken over while the old owner lives and renews what else it holds: it is told, and leaves it alone (P4)."""
    held: dict[int, Delivery] = {}
    idle_times: list[int] = []

    async def work(order: Order, delivery: Delivery) -> None:
        held[order.number] = delivery
        await asyncio.Event().wait()

    async def renewed_three_times() -> bool:
        [(_, idle)] = await _owners(connection, stream, held[1].id)
        idle_times.append(idle)
        return sum(later < earlier for earlier, later in itertools.pairwise(idle_times)) >= 3

    only_renewing = Settings(reclaim_interval=600, grace=0.0)
    async with subscriber(url, stream, work, settings=only_renewing, concurrency=2, lease=LEASE) as broker:
        await broker.publish_many(stream, orders(range(2)))
        await until_count(held, 2)
        await connection.call("XCLAIM", stream, "g", "thief", 0, held[0].id)
        await until(lambda: held[0].lost)
        await until(renewed_three_times)
        [(owner, _)] = await _owners(connection, stream, held[0].id)
        assert (owner, held[1].lost) == ("thief", False)


async def _owners(connection: Connection, stream: str, entry_id: str) -> list[tuple[str, int]]:
    """Who holds it, and for how many milliseconds it was not renewed."""
    found = pending_messages(await connection.call("XPENDING", stream, "g", entry_id, entry_id, 1))
    return [(pending.consumer, round(pending.idle * 1000)) for pending in found]


async def test_25_a_handler_that_blocks_the_event_loop_keeps_its_lease_where_a_thread_renews_it(
    url: str, stream: str, start: Start
) -> None:
    """Four leases long, with another consumer that waits to take it over (P3)."""
    got: list[int] = []
    await publish(url, stream, [0])
    blocked = await start("--lease-thread", "--block", 0, "--work", 4 * LEASE)
    await until(lambda: blocked.said("start", 0))
    async with subscriber(url, stream, noting(got), settings=BRISK, lease=LEASE):
        await until(lambda: blocked.said("end", 0))
        await nothing_left(url, stream)
    assert (blocked.numbers("start"), got) == ([0], [])


async def test_42_cleaning_a_consumers_name_away_while_it_reads_loses_nothing(
    stream: str, connection: Connection, url: str
) -> None:
    """A thousand reads raced with as many removals as there is time for (P22)."""
    read: list[bytes] = []
    acknowledged, removed = 0, 0

    async def clean(groups: ConsumerGroupManager) -> None:
        nonlocal removed
        while len(read) < 1000:
            removed += await groups.delete_consumer(stream, "g", "raced")

    async with Connection(url) as second:
        groups = ConsumerGroupManager(second)
        await groups.create_group(stream, "g")
        await publish(url, stream, range(1000))
        cleaning = asyncio.create_task(clean(groups))
        for _ in range(1000):
            reply = await connection.call("XREADGROUP", "GROUP", "g", "raced", "COUNT", 1, "STREAMS", stream, ">")
            [(entry_id, _)] = replies.new_entries(reply)
            read.append(entry_id)
            acknowledged += replies.integer(await connection.call("XACK", stream, "g", entry_id))
        await cleaning
    assert (len(set(read)), acknowledged) == (1000, 1000), "what was pending went with the name"
    assert removed > 0
    await nothing_left(url, stream)
