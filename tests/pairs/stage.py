"""The stage: two brokers with the same handlers, A and B, and what they are given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from redis_streams_aio import Broker, DeadLetters, RedisUnavailableError, Settings
from redis_streams_aio.consumer.subscription import Subscription
from redis_streams_aio.testing.waiting import until
from tests.pairs.books import At, Books, Entry, Followed, Item, Letter
from tests.pairs.handlers import Handlers, Script, follow_ups
from tests.pairs.invariants import key_of
from tests.pairs.place import Place, merged
from tests.pairs.times import COUNT
from tests.pairs.traits import Order, Trait, lease_of

CALM: Mapping[str, object] = {
    "count": COUNT,
    "block_ms": 200,
    "reclaim_interval": 0.1,
    "checkpoint_interval": 0.05,
    "command_timeout": 2.0,
    "grace": 30.0,
}


class Side:
    """One of the brokers."""

    def __init__(self, broker: Broker, handlers: Handlers) -> None:
        self.broker = broker
        self.handlers = handlers
        self._closing: asyncio.Task[None] | None = None

    @property
    def subscriptions(self) -> dict[At, Subscription]:
        """Those that run."""
        running = self.broker._supervisor.subscriptions if self.broker._supervisor else []
        return {At(one.options.stream, one.options.group): one for one in running}

    @property
    def is_open(self) -> bool:
        """Whether it is neither closed nor closing."""
        return self.broker._supervisor is not None and self._closing is None

    def in_hand(self) -> set[Entry]:
        """What it holds."""
        return {
            Entry(at, raw_id.decode())
            for at, running in self.subscriptions.items()
            for raw_id in tuple(running.holdings.by_id)
        }

    def holds_only_what_runs(self) -> bool:
        """Whether nothing waits for a worker, or for its time."""
        return not any(each.buffered or each.delayed for each in self.broker.status)

    async def open(self) -> None:
        """As an application does."""
        await self.broker.__aenter__()

    def begin_to_close(self) -> None:
        """Begin to drain."""
        self._closing = asyncio.create_task(self.broker.__aexit__(None, None, None))

    async def close_now(self) -> None:
        """Drain, and give handlers no more time."""
        if (supervisor := self.broker._supervisor) is None:
            return
        if self._closing is None:
            self.begin_to_close()
        supervisor.stop_now()
        assert self._closing is not None
        await asyncio.wait_for(self._closing, 20)

    async def crash(self) -> None:
        """Die, as with SIGKILL."""
        self.handlers.is_dead = True
        if (supervisor := self.broker._supervisor) is not None:
            supervisor.stop_now()
            await self.broker.connection.close()
            await self.close_now()


class Stage:
    """What a play goes on at."""

    def __init__(self, place: Place, traits: tuple[Trait, Trait], script: Script) -> None:
        self.place = place
        self.traits = traits
        self.script = script
        self.books = Books()
        self.orders: dict[str, Order] = {
            str(order): order for order in next((one.orders for one in traits if one.orders), ("stream", "none"))
        }
        """By stream: a stream is named after the order that its handlers have."""
        groups = max(trait.groups for trait in traits)
        self.everywhere = [At(stream, f"g{number}") for stream in self.orders for number in range(groups)]
        self.pad = "x" * max(trait.bytes for trait in traits)
        self.has_copies = any(trait.copies for trait in traits)
        self.lease = lease_of(traits)
        self._stack = AsyncExitStack()
        self._publisher: Broker
        self.a: Side
        self.b: Side

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stage]:
        """With two brokers that are ready to be opened, and closed in the end."""
        async with self._stack as stack:
            line = merged([trait.line for trait in self.traits if trait.line])
            self.a = self._side("A", await self.place.line(line, stack))
            self.b = self._side("B", await self.place.line(line if line and line.of_both else None, stack))
            await self.meet_primary()
            try:
                yield self
            finally:
                self.script.gate.set()
                self.script.room.set()
                await asyncio.gather(self.a.close_now(), self.b.close_now())

    async def meet_primary(self) -> None:
        """Publish, and look after dead letters, at whoever is the primary now."""
        self._publisher = await self._stack.enter_async_context(Broker(self.place.primary.url))

    def _side(self, who: str, url: str) -> Side:
        options = dict(CALM)
        for trait in self.traits:
            options |= trait.settings
        broker = Broker(url, settings=Settings(**options), observers=[self.books.facts.append])  # type: ignore[arg-type]
        handlers = Handlers(who, self.script, self.books)
        for at in self.everywhere:
            order = self.orders[at.stream]
            at_once = {"stream": 1, "key": 3, "none": len(self.script.holding)}
            handlers.declare(broker, at, order, at_once[order], self.traits)
        return Side(broker, handlers)

    # -- publishing -------------------------------------------------------------------------------------------

    async def publish(self, numbers: Sequence[int], by: Broker | None = None) -> None:
        """An event of each number, to each stream."""
        for stream in self.orders:
            for number in numbers:
                await self._publish(by or self._publisher, stream, number)

    async def publish_by_who_is_left(self, number: int) -> None:
        """A broker that lives publishes too, as soon as it can."""
        for stream in self.orders:
            async with asyncio.timeout(15):
                while True:
                    try:
                        await self._publish(self.b.broker, stream, number)
                        break
                    except RedisUnavailableError:
                        await asyncio.sleep(0.02)

    async def _publish(self, broker: Broker, stream: str, number: int) -> None:
        event_id = f"e{number}" if self.has_copies else None
        item = Item(number, self.pad)
        entry_id = await broker.publish(stream, item, event_type="Item", key=key_of(number), event_id=event_id)
        self.books.published[stream][entry_id] = number

    # -- looking ----------------------------------------------------------------------------------------------

    def letters(self, at: At) -> DeadLetters:
        """The dead letters of a group."""
        return DeadLetters(self._publisher.connection, at.stream, at.group)

    async def in_hand_of_a(self) -> set[Entry]:
        """What A holds, and what Redis has given it, though it may not have arrived."""
        in_hand = self.a.in_hand()
        for at, running in self.a.subscriptions.items():
            name = running.holdings.consumer
            found = await self.place.look.xpending_range(at.stream, at.group, "-", "+", 1000, consumername=name)
            in_hand |= {Entry(at, one["message_id"]) for one in found}
        return in_hand

    def is_handled_elsewhere(self) -> bool:
        """Whether B has handled what A had to leave, but for what waits, or waits behind that."""
        handled = {attempt.entry for attempt in self.books.attempts if attempt.outcome == "ok"}
        return all(
            entry in handled
            for entry in self.books.moved
            if self.orders[entry.at.stream] != "stream"
            and self.books.published[entry.at.stream][entry.id] not in self.script.filling
        )

    async def settled(self) -> bool:
        """Whether everything in the streams was delivered to every group, and settled."""
        look = self.place.look
        for stream in self.orders:
            last = (await look.xinfo_stream(stream))["last-generated-id"]
            groups = {group["name"]: group for group in await look.xinfo_groups(stream)}
            for at in self.everywhere:
                group = groups.get(at.group)
                if at.stream == stream and (group is None or group["pending"] or group["last-delivered-id"] != last):
                    return False
        return True

    async def until_settled(self, seconds: float) -> None:
        """Wait until it is; say what is not."""
        try:
            await until(self.settled, seconds, "everything is settled")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.unsettled()}") from None

    async def unsettled(self) -> str:
        """What is left, and what happened."""
        pending = []
        for at in self.everywhere:
            try:
                pending += await self.place.look.xpending_range(at.stream, at.group, "-", "+", 20)
            except Exception as error:  # noqa: BLE001  # the test fails anyway: say what can be said
                pending.append(repr(error))
        lines = [f"pending {one}" for one in pending]
        lines += [f"{side.handlers.who}: {status}" for side in (self.a, self.b) for status in side.broker.status]
        return "\n".join([*lines, self.books.story(), *map(str, self.books.facts[-30:])])

    async def close_the_books(self) -> None:
        """Write down what Redis says in the end."""
        look = self.place.look
        for at in self.everywhere:
            for entry_id, fields in await look.xrange(at.stream):
                item = msgspec.json.decode(fields["payload"], type=Item)
                self.books.entries[Entry(at, entry_id)] = item.number
            for _, fields in await look.xrange(follow_ups(at)):
                followed = msgspec.json.decode(fields["payload"], type=Followed)
                self.books.follow_ups.append(Entry(at, followed.entry))
            self.books.letters += [
                Letter(Entry(at, one.entry_id), one.reason, one.failures, one.replays)
                for one in await self.letters(at).list(count=1000)
            ]
