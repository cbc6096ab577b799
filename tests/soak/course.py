"""The course of a soak: turn after turn, a guest comes and goes, a consumer crashes, connections are cut, a sample."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from redis_streams_aio import Broker
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.soak import samples
from tests.soak.load import GROUP, SHARES, Load
from tests.soak.verdict import Sample, Trend, growing_most, trends

CUT_EVERY = 3
"""Turns from one cut of all connections to the next."""
ABANDONED = 50
"""Entries of each stream that a crashed consumer leaves behind."""


class Plan(NamedTuple):
    """How long it goes on: until both are reached."""

    seconds: float
    events: int
    turn: float = 5.0
    """Seconds that a guest stays."""


class Report(msgspec.Struct, frozen=True):
    """What came of it."""

    samples: list[Sample]
    trends: list[Trend]
    grown: list[tuple[str, int]]
    """Types of objects that there are more of than after the warm-up."""
    published: int
    handled: int
    lost: int
    """Events that were published and never handled."""
    facts: Mapping[str, int]
    """What happened, by the names of facts."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing grew, and nothing was lost."""
        return not self.lost and all(trend.is_flat for trend in self.trends)


async def run(plan: Plan, tell: Callable[[Sample], None]) -> Report:
    """A whole soak, on a server of its own."""
    server = Server().start()
    try:
        async with Redis.from_url(server.url, protocol=2, decode_responses=True) as redis:
            return await _Course(plan, server, redis, tell).run()
    finally:
        server.remove()


class _Course:
    def __init__(self, plan: Plan, server: Server, redis: Redis, tell: Callable[[Sample], None]) -> None:
        self._plan = plan
        self._server = server
        self._redis = redis
        self._tell = tell
        self._load = Load(server.url, consumer_expiry=2 * plan.turn)
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._samples: list[Sample] = []

    async def run(self) -> Report:
        broker = self._load.broker()
        async with broker:
            async with self._publishing(broker):
                await self._turns(broker, until_part=0.2)
                before = samples.types()
                await self._turns(broker, until_part=1.0)
                after = samples.types()
            with contextlib.suppress(AssertionError):  # what is outstanding after this is in the report
                await until(lambda: not self._load.outstanding, 60)
        return Report(
            self._samples,
            trends(self._samples),
            growing_most(before, after),
            self._load.published,
            self._load.handled,
            len(self._load.outstanding),
            dict(self._load.facts),
            self._clock() - self._began,
        )

    @contextlib.asynccontextmanager
    async def _publishing(self, broker: Broker) -> AsyncIterator[None]:
        stop = asyncio.Event()

        async def publish() -> None:
            while not stop.is_set():
                await self._load.publish_round(broker)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            try:
                yield
            finally:
                stop.set()

    async def _turns(self, broker: Broker, until_part: float) -> None:
        plan, load = self._plan, self._load
        while self._clock() - self._began < plan.seconds * until_part or load.published < plan.events * until_part:
            await self._turn(broker)

    async def _turn(self, broker: Broker) -> None:
        async with self._load.broker():
            await asyncio.sleep(self._plan.turn)
        number = len(self._samples)
        for stream in SHARES:
            await self._redis.xreadgroup(GROUP, f"crashed-{number}", {stream: ">"}, count=ABANDONED)
        if number % CUT_EVERY == 0:
            await self._redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        handled = self._load.handled
        await until(lambda: broker.ready and self._load.handled > handled + 1000, 60)
        sample = await samples.take(self._redis, self._server.pid)
        sample = {"at": self._clock() - self._began, "handled": self._load.handled, **sample}
        self._samples.append(sample)
        self._tell(sample)
