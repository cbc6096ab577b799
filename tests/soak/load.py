"""The work: six streams, each handled in another way, with a bounded backlog.

`outstanding` has the numbers of the events that were published and not yet handled to their end. It holds the
publisher back, and shows at the end whether an event was lost. Whoever is not answered publishes again: handlers take
an event twice, and so does the set.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import msgspec

from redis_streams_aio import Broker, Delivery, RedisStreamsError, Retention, RetryPolicy, Settings, StreamSettings
from redis_streams_aio.telemetry import EntriesVanished, Fact

SHARES = {"orders": 100, "mail": 100, "clicks": 80, "rows": 100, "payments": 8, "flaky": 12}
"""Events of each stream in one round of publishing."""
GROUP = "g"
BACKLOG = 4000
"""Events that may be published and not yet handled."""
ROUNDS_KEPT = 500
"""Rounds of publishing that the streams have room for: many seconds, so that nothing is trimmed while it is pending."""
DEAD_LETTERS = 100
MAX_FAILURES = 3
LEASE = 2.0
REMEMBERED = 3.0
"""Seconds for which copies of a payment are dropped."""


class Event(msgspec.Struct):
    """`fails`: how often its handler raises."""

    number: int
    customer: int
    fails: int = 0


class Load:
    """Publishes and handles events for as long as the soak lasts."""

    def __init__(self, url: str, consumer_expiry: float) -> None:
        self.url = url
        self.published = 0
        self.handled = 0
        """Handlers that came to their end, copies and second runs included."""
        self.outstanding: set[int] = set()
        self.facts: Counter[str] = Counter()
        """What happened, by the names of facts; entries that vanished are counted one by one."""
        self._room = asyncio.Event()
        self._settings = Settings(
            streams={
                stream: StreamSettings(retention=Retention(max_length=share * ROUNDS_KEPT))
                for stream, share in SHARES.items()
            },
            consumer_expiry=consumer_expiry,
            dead_letter_maxlen=DEAD_LETTERS,
        )

    def broker(self) -> Broker:
        """A broker that does all of the work; any number of them share it."""
        broker = Broker(self.url, group=GROUP, settings=self._settings, observers=[self._count])

        @broker.handler("orders", lease=LEASE)
        async def one_after_another(event: Event) -> None:
            self._done(event)

        @broker.handler("mail", lease=LEASE, concurrency=8, key=lambda event: event.customer)
        async def by_key(event: Event) -> None:
            await asyncio.sleep(0)
            self._done(event)

        @broker.handler("clicks", lease=LEASE, concurrency=32)
        async def in_any_order(event: Event) -> None:
            await asyncio.sleep(0)
            self._done(event)

        @broker.handler("rows", lease=LEASE, batch=500, within=0.05)
        async def in_batches(events: list[Event]) -> None:
            for event in events:
                self._done(event)

        @broker.handler("payments", lease=LEASE, concurrency=16, deduplicate=REMEMBERED)
        async def once(event: Event) -> None:
            self._done(event)

        retry = RetryPolicy(max_failures=MAX_FAILURES, base=0.01)

        @broker.handler("flaky", lease=LEASE, concurrency=8, retry=retry)
        async def failing(event: Event, delivery: Delivery) -> None:
            if delivery.failures + 1 >= MAX_FAILURES or delivery.failures >= event.fails:
                self._done(event)
            if delivery.failures < event.fails:
                raise ValueError(f"number {event.number} fails {event.fails} times")

        return broker

    async def publish_round(self, broker: Broker) -> None:
        """One round, as soon as there is room for it."""
        while len(self.outstanding) >= BACKLOG:
            self._room.clear()
            await self._room.wait()
        await asyncio.gather(*(self._publish(broker, stream, share) for stream, share in SHARES.items()))

    async def _publish(self, broker: Broker, stream: str, share: int) -> None:
        events = [Event(number, number % 100, _failures_of(number)) for number in self._numbers(share)]
        while True:
            try:
                if stream == "payments":
                    await asyncio.gather(
                        *(broker.publish(stream, event, event_id=str(event.number)) for event in _with_copies(events))
                    )
                else:
                    await broker.publish_many(stream, events)
                return
            except RedisStreamsError:  # a connection was cut: nobody knows what is in the stream
                continue

    def _numbers(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self.published += 1
            self.outstanding.add(self.published)
            yield self.published

    def _count(self, fact: Fact) -> None:
        self.facts[type(fact).__name__] += len(fact.ids) if isinstance(fact, EntriesVanished) else 1

    def _done(self, event: Event) -> None:
        self.handled += 1
        self.outstanding.discard(event.number)
        if len(self.outstanding) < BACKLOG:
            self._room.set()


def _failures_of(number: int) -> int:
    """One of ten is given up, two of ten succeed the second time."""
    return {0: MAX_FAILURES, 1: 1, 2: 1}.get(number % 10, 0)


def _with_copies(events: list[Event]) -> list[Event]:
    return events + events[::4]
