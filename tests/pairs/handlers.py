"""The handlers of the play: they do what the script of an event says, and write it into the books."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from redis_streams_aio import BatchDelivery, Broker, Delivery, Reject, RetryLater, RetryPolicy
from redis_streams_aio.events import keys
from tests.pairs.books import At, Attempt, Books, Entry, Followed, Item, Outcome
from tests.pairs.times import AGAIN, FILLER_AGAIN, MOST_FAILURES
from tests.pairs.traits import Order, Trait, Word, lease_of

RETRY = RetryPolicy(base=AGAIN, factor=1, jitter=False, max_failures=MOST_FAILURES)
_handled: ContextVar[int | None] = ContextVar("handled", default=None)
"""Set by each call: the next one must not see it."""


@dataclass
class Script:
    """What becomes of the events of a play."""

    words: Mapping[int, tuple[Word, ...]]
    """By number; others are handled at once."""
    holding: frozenset[int]
    """Those that stay in their handler, in broker A, until the gate is open."""
    filling: frozenset[int]
    """Those that ask for later until there is room."""
    follows: bool
    cleans_up_badly: bool
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)


class Handlers:
    """Those of one broker."""

    def __init__(self, who: str, script: Script, books: Books) -> None:
        self.who = who
        self.is_dead = False
        """A process that has crashed cleans nothing up."""
        self._script = script
        self._books = books
        self._calls = itertools.count()

    def declare(self, broker: Broker, at: At, order: Order, concurrency: int, traits: Sequence[Trait]) -> None:
        """Declare the one for a stream and group."""
        options: dict[str, object] = {"group": at.group, "event_type": "Item", "retry": RETRY}
        options |= {"order": order, "concurrency": concurrency, "lease": lease_of(traits)}
        for trait in traits:
            options |= trait.options
        decorate = broker.handler(at.stream, **options)  # type: ignore[arg-type]
        if "batch" in options:

            async def together(items: list[Item], batch: BatchDelivery) -> None:
                await self._call(at, items, list(batch))

            decorate(together)
        else:

            async def alone(item: Item, delivery: Delivery) -> None:
                await self._call(at, [item], [delivery])

            decorate(alone)

    async def _call(self, at: At, items: list[Item], deliveries: list[Delivery]) -> None:
        call = next(self._calls)
        attempts = [self._begin(at, call, *pair) for pair in zip(items, deliveries, strict=True)]
        _handled.set(items[0].number)
        words = [self._word(attempt) for attempt in attempts]
        self._say(attempts, words)
        handled = [pair for pair, word in zip(zip(attempts, deliveries, strict=True), words, strict=True) if not word]
        for attempt, delivery in handled if self._script.follows else ():
            delivery.publish(follow_ups(at), Followed(attempt.entry.id))
        try:
            if self.who == "A" and any(attempt.number in self._script.holding for attempt, _ in handled):
                await self._script.gate.wait()
        except asyncio.CancelledError:
            outcome: Outcome = "cleanup" if self._script.cleans_up_badly and not self.is_dead else "cut"
            for attempt in attempts:
                self._books.end(attempt, outcome)
            if outcome == "cleanup":
                raise RuntimeError("the rollback failed") from None
            raise
        self._end(attempts, deliveries, words)

    def _begin(self, at: At, call: int, item: Item, delivery: Delivery) -> Attempt:
        attempt = Attempt(
            self.who,
            Entry(at, delivery.id),
            item.number,
            call,
            delivery.failures,
            delivery.history is not None,
            _handled.get(),
            time.monotonic(),
        )
        self._books.attempts.append(attempt)
        return attempt

    def _word(self, attempt: Attempt) -> Word | None:
        """What its script says now; `None`: return."""
        if attempt.number in self._script.filling:
            return None if self._script.room.is_set() else "later"
        words = self._script.words.get(attempt.number, ())
        said = self._books.said(attempt.entry)
        return words[said] if said < len(words) else None

    def _say(self, attempts: Sequence[Attempt], words: Sequence[Word | None]) -> None:
        """Raise what one of them has to raise, for all of its batch."""
        loud = next((word for word in words if word in ("raise", "later")), None)
        if loud is None:
            return
        fills = loud == "later" and any(attempt.number in self._script.filling for attempt in attempts)
        again = FILLER_AGAIN if fills else AGAIN
        for attempt, word in zip(attempts, words, strict=True):
            self._books.end(attempt, loud, own=word == loud, again=again)
        raise ValueError("told to fail") if loud == "raise" else RetryLater(again)

    def _end(self, attempts: list[Attempt], deliveries: list[Delivery], words: Sequence[Word | None]) -> None:
        for attempt, delivery, word in zip(attempts, deliveries, words, strict=True):
            self._books.end(attempt, "ok" if word is None else word, own=True)
            if word == "reject" and len(attempts) > 1:
                delivery.reject("told to")
            elif word == "reject":
                raise Reject("told to")


def follow_ups(at: At) -> str:
    """The stream of what handlers publish with their acknowledgements."""
    return keys.sibling(at.stream, at.group, "followed")
