"""While entries wait in Redis, the next read leaves when an answer comes, and nothing about delivery changes by it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Settings
from redis_streams_aio.connection.reader import Reader
from redis_streams_aio.consumer.intake.group import GroupSource
from redis_streams_aio.testing.waiting import until
from tests.events import Order

MANY = 3_000
SETTINGS = Settings(count=50)


async def publish(url: str, count: int = MANY) -> None:
    async with Broker(url) as publisher:
        await publisher.publish_many("orders", [Order(number) for number in range(count)])


class Sent:
    """What happened, in its order: reads that left at the arrival of an answer, and entries that were taken in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        read_on, give_page = Reader.read_on, GroupSource._give_page

        def sending(*arguments, **named):
            self.happened.append("read")
            return read_on(*arguments, **named)

        def giving(*arguments, **named):
            self.happened.append("page")
            return give_page(*arguments, **named)

        monkeypatch.setattr(Reader, "read_on", sending)
        monkeypatch.setattr(GroupSource, "_give_page", giving)

    @property
    def early(self) -> int:
        """The reads that left before the entries of the last answer were taken in."""
        return sum(pair == ("read", "page") for pair in zip(self.happened, self.happened[1:], strict=False))


async def empty(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


async def test_p7_a_backlog_is_read_ahead_of_its_handlers_and_handled_in_order(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(url)
    sent, seen, broker = Sent(monkeypatch), list[int](), Broker(url, group="g", settings=SETTINGS)

    @broker.handler("orders", start="0")
    async def handle(order: Order) -> None:
        seen.append(order.number)

    async with broker:
        await until(lambda: broker.status[0].settled == MANY)
        assert await empty(redis)
    assert seen == list(range(MANY))
    assert sent.early > MANY / SETTINGS.count / 2


async def test_p8_a_read_that_leaves_early_asks_for_no_more_than_there_is_room_for(url: str) -> None:
    await publish(url)
    most, broker, go = 0, Broker(url, group="g", settings=SETTINGS), asyncio.Event()

    @broker.handler("orders", start="0")
    async def handle(order: Order) -> None:
        nonlocal most
        most = max(most, broker.status[0].buffered)
        if order.number == 1_000:
            await go.wait()

    async with broker:
        await until(lambda: broker.status[0].running == 1 and broker.status[0].settled > 900)
        await until(lambda: broker.status[0].buffered > SETTINGS.count)
        most = max(most, broker.status[0].buffered)
        go.set()
        await until(lambda: broker.status[0].settled == MANY)
    assert most <= 2 * SETTINGS.count


@pytest.mark.parametrize("order", ["stream", "none"])
async def test_p24_pausing_in_a_backlog_releases_what_a_read_under_way_brings(
    url: str, redis: Redis, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(url)
    sent, seen, broker = Sent(monkeypatch), list[int](), Broker(url, group="g", settings=SETTINGS)

    @broker.handler("orders", start="0", order=order)
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number % 500 == 250:
            await asyncio.sleep(0)

    async with broker:
        [subscription] = broker._task.supervisor.subscriptions  # until there is `broker.pause`
        for part in range(1, 5):
            await until(lambda part=part: len(seen) > part * 500)
            subscription.pause()
            await until(lambda: subscription.status.buffered == subscription.status.running == 0)
            subscription.resume()
        await until(lambda: len(seen) >= MANY)
        await until(lambda: broker.status[0].running == 0)
    assert sorted(seen) == list(range(MANY))
    assert seen == sorted(seen) or order == "none"
    assert sent.early
    assert await empty(redis)


async def test_p10_a_drain_in_a_backlog_leaves_nothing_pending_in_its_own_name(url: str, redis: Redis) -> None:
    await publish(url)
    seen: list[int] = []
    while len(seen) < MANY:
        broker = Broker(url, group="g", settings=SETTINGS)

        @broker.handler("orders", start="0")
        async def handle(order: Order) -> None:
            seen.append(order.number)  # the same list for all

        async with broker:
            goal = min(MANY, len(seen) + 400)
            await until(lambda goal=goal: len(seen) >= goal)
    assert seen == list(range(MANY)), "in order, each once"
    assert await empty(redis)


async def test_p3_connections_that_are_lost_in_a_backlog_lose_no_event(
    url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(url)
    seen, broker = list[int](), Broker(url, group="g", settings=SETTINGS)

    @broker.handler("orders", start="0")
    async def handle(order: Order) -> None:
        seen.append(order.number)
        if order.number % 300 == 299:
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async with broker:
        await until(lambda: len(set(seen)) == MANY, seconds=30)
        await until(lambda: broker.status[0].running == 0)
    assert sorted(set(seen)) == list(range(MANY))
    assert not [each for each in caplog.records if each.name == "asyncio" and each.levelno >= logging.ERROR]
