"""Handlers fail, and events are bad: retries, dead letters, and the fate of each (P10 to P15)."""

# ruff: noqa: S101  # tests assert
from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    Connection,
    DeadLetters,
    Delivery,
    Reject,
    RetryLater,
    RetryPolicy,
    Settings,
)
from redis_streams_aio.events import keys
from redis_streams_aio.testing.waiting import until

from .kit import BRISK, LEASE, SOON, Order, nothing_left, noting, once_each, publish, subscriber, until_count

pytestmark: pytest.MarkDecorator = pytest.mark.asyncio


async def test_04_the_first_two_deliveries_fail_and_all_still_arrive(url: str, stream: str) -> None:
    """Tried three times each, and no more (P11)."""
    attempts: Counter[int] = Counter()
    got: list[int] = []

    async def work(order: Order, _: Delivery) -> None:
        attempts[order.number] += 1
        if attempts[order.number] <= 2:
            raise ValueError("not yet")
        got.append(order.number)

    await publish(url, stream, range(100))
    async with subscriber(url, stream, work, concurrency=10, retry=SOON):
        await until_count(got, 100)
        await nothing_left(url, stream)
    once_each(got, 100)
    assert set(attempts.values()) == {3}


async def test_08_three_consumers_that_always_fail_then_a_good_one_and_all_arrive(url: str, stream: str) -> None:
    """The failures of all three are counted, and nothing is given up (P10, P11)."""
    not_too_soon = RetryPolicy(base=1, factor=1, jitter=False, max_failures=1000)
    failed: Counter[int] = Counter()
    failures_before: list[int] = []
    got: list[int] = []

    async def fail(order: Order, _: Delivery) -> None:
        failed[order.number] += 1
        raise ValueError("always")

    async def work(order: Order, delivery: Delivery) -> None:
        failures_before.append(delivery.failures)
        got.append(order.number)

    async def until_each_failed(times: int) -> None:
        await until(lambda: len(failed) == 100 and min(failed.values()) >= times, 20, f"each failed {times} times")

    await publish(url, stream, range(100))
    for times in (1, 2, 3):
        async with subscriber(url, stream, fail, concurrency=10, retry=not_too_soon):
            await until_each_failed(times)
    async with subscriber(url, stream, work, concurrency=10, retry=not_too_soon):
        await nothing_left(url, stream)
    once_each(got, 100)
    assert min(failures_before) >= 3
    assert sum(failures_before) == failed.total()


async def test_26_what_cannot_be_decoded_is_a_dead_letter_and_what_is_behind_it_is_handled(
    url: str, stream: str, connection: Connection
) -> None:
    """Broken JSON, wrong types, no payload, not an event at all (P12, P13)."""
    poisons: list[dict[bytes, bytes]] = [
        {b"event_type": b"Order", b"payload": b"{"},
        {b"event_type": b"Order", b"payload": b"\xff\xfe"},
        {b"event_type": b"Order", b"payload": b'{"number":"x"}'},
        {b"event_type": b"Order"},
        {b"event_type": b"Order", b"payload": b"[" * 100_000},
        {b"event_type": b"\xff", b"payload": b"1"},
        {b"nothing": b"known"},
    ]
    for fields in poisons:
        await connection.call("XADD", stream, "*", *itertools.chain(*fields.items()))
    got: list[int] = []
    async with subscriber(url, stream, noting(got)) as broker:
        await broker.publish(stream, Order(1))
        await until_count(got, 1)
        await nothing_left(url, stream)
    letters = await DeadLetters(connection, stream, "g").list()
    reasons = Counter(letter.reason for letter in letters)
    assert reasons == {"undecodable": len(poisons) - 1, "unhandled": 1}
    assert letters[0].payload == b"{", "the original is untouched"


async def test_27_after_its_last_failure_an_event_is_a_dead_letter_and_a_replay_hands_it_out_again(
    url: str, stream: str, connection: Connection
) -> None:
    """With its history, and to the group that gave it up (P9, P12)."""
    attempts: list[tuple[str, int]] = []

    async def work(_: Order, delivery: Delivery) -> None:
        attempts.append((delivery.id, delivery.failures))
        if delivery.history is None:
            raise ValueError("no such customer")

    letters = DeadLetters(connection, stream, "g")
    retry = RetryPolicy(base=0.005, max_failures=3)
    async with subscriber(url, stream, work, settings=BRISK, retry=retry) as broker:
        entry_id = await broker.publish(stream, Order(1), headers={"trace": "t"})
        await until(letters.count)
        [letter] = await letters.list()
        assert (await letters.replay()).replayed == 1
        await until_count(attempts, 4)
        await nothing_left(url, stream)
    assert attempts == [(entry_id, 0), (entry_id, 1), (entry_id, 2), (entry_id, 0)]
    assert (letter.reason, letter.error) == ("failures", "ValueError: no such customer")
    assert (letter.failures, letter.entry_id, letter.headers) == (3, entry_id, {"trace": "t"})
    assert await letters.count() == 0


async def test_28_a_dead_letter_that_cannot_be_written_leaves_its_event_pending(
    url: str, stream: str, connection: Connection
) -> None:
    """Until it can be; meanwhile the others are handled (P12)."""
    got: list[int] = []

    async def work(order: Order, _: Delivery) -> None:
        if order.number == 1:
            raise Reject("bad")
        got.append(order.number)

    in_the_way = keys.dead_letters(stream, "g")
    await connection.call("SET", in_the_way, "no stream")
    async with subscriber(url, stream, work, settings=BRISK, lease=LEASE) as broker:
        rejected = await broker.publish(stream, Order(1))
        await broker.publish(stream, Order(2))
        await until_count(got, 1)
        assert await connection.call("XPENDING", stream, "g", rejected, rejected, 1)
        await connection.call("UNLINK", in_the_way)
        await nothing_left(url, stream)
    assert got == [2]
    assert [letter.entry_id for letter in await DeadLetters(connection, stream, "g").list()] == [rejected]


async def test_29_retry_later_is_no_failure_and_never_early(url: str, stream: str) -> None:
    """Three times a tenth of a second, with a policy that allows no failure (P10, P11)."""
    loop = asyncio.get_running_loop()
    attempts: list[tuple[int, float]] = []

    async def work(_: Order, delivery: Delivery) -> None:
        attempts.append((delivery.failures, loop.time()))
        if len(attempts) < 4:
            raise RetryLater(0.1)

    async with subscriber(url, stream, work, retry=RetryPolicy(max_failures=1)) as broker:
        await broker.publish(stream, Order(1))
        await until_count(attempts, 4)
        await nothing_left(url, stream)
    assert [failures for failures, _ in attempts] == [0, 0, 0, 0]
    assert min(later[1] - earlier[1] for earlier, later in itertools.pairwise(attempts)) >= 0.099


async def test_30_the_backoff_and_the_failure_count_survive_restarts(url: str, stream: str) -> None:
    """Each attempt by a new consumer, and none of them early (P11)."""
    loop = asyncio.get_running_loop()
    attempts: list[tuple[int, float]] = []

    async def work(_: Order, delivery: Delivery) -> None:
        attempts.append((delivery.failures, loop.time()))
        raise ValueError("no")

    retry = RetryPolicy(base=0.4, factor=1, jitter=False, max_failures=4)
    await publish(url, stream, [0])
    for times in range(1, 5):
        async with subscriber(url, stream, work, settings=BRISK, retry=retry):
            await until_count(attempts, times)
    assert [failures for failures, _ in attempts] == [0, 1, 2, 3]
    assert min(later[1] - earlier[1] for earlier, later in itertools.pairwise(attempts)) >= 0.39


async def test_31_fifteen_graceful_restarts_cost_no_failure_and_no_delivery(url: str, stream: str) -> None:
    """Each stops in the middle of the handler (P10, P27)."""
    seen: list[tuple[int, int]] = []

    async def work(_: Order, delivery: Delivery) -> None:
        seen.append((delivery.failures, delivery.deliveries))
        if len(seen) <= 15:
            await asyncio.Event().wait()

    retry = RetryPolicy(max_failures=1, max_deliveries=2)
    await publish(url, stream, [0])
    for times in range(1, 16):
        async with subscriber(url, stream, work, settings=Settings(grace=0.0), retry=retry):
            await until_count(seen, times)
    async with subscriber(url, stream, work, retry=retry):
        await nothing_left(url, stream)
    assert seen == [(0, 1)] * 16


async def test_32_each_item_of_a_batch_has_a_fate_of_its_own(url: str, stream: str, connection: Connection) -> None:
    """One is rejected, one comes again, and the other eight are done (P15)."""
    batches: list[list[int]] = []
    broker = Broker(url, group="g")

    @broker.handler(stream, batch=10, within=0.05)
    async def load(items: list[Order], batch: BatchDelivery) -> None:
        batches.append([order.number for order in items])
        for index, order in enumerate(items):
            if order.number == 3:
                batch.reject(index, "bad row")
            if order.number == 5 and len(batches) == 1:
                batch.retry(index, delay=0.05)

    ids = await publish(url, stream, range(10))
    async with broker:
        await nothing_left(url, stream)
    assert batches == [list(range(10)), [5]]
    [letter] = await DeadLetters(connection, stream, "g").list()
    assert (letter.entry_id, letter.reason, letter.error) == (ids[3], "rejected", "bad row")
