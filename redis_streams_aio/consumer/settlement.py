"""Settlement: carries out the fate of deliveries.

**Theory.** A fate is decided once, by a pure function, and is a value (`retry.Outcome`). Until it is durably
written, the entry stays pending in Redis and held here (P1): a process that dies in between causes a second run,
never a loss.

* *Ack, discard*: the id joins those that wait; while one XACK is under way the next ones gather, and leave
  together. Acknowledging twice, or after the lease was lost, is harmless: XACK is repeated until Redis answers.
* *Retry*: failures, due time, first failure and last error are written to Redis first, by a script that checks the
  owner. The entry stays pending under its own id.
* *Dead letter*: one script adds it to the dead-letter stream and acknowledges it, or does neither (P12).
* *Release* (at a drain): the entry goes to a consumer of the group that nobody is (`naming.RELEASED`), claimable at
  once; the delivery that came to nothing is not counted (P10). So our own name can leave the group (P22).

When things fail: Redis away or refusing: the write is tried again with backoff for as long as it takes, the entry
held and renewed meanwhile. The lease is lost: the script writes nothing and says so; the delivery is dropped (P4).
Redis refuses for good (say, the dead-letter key is no stream): the entry is dropped from our hands and stays
pending; it is taken up again when its lease has run out (P13: others are handled).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from .. import naming
from ..connection import replies
from ..connection.backoff import delays
from ..connection.packing import Argument, Command
from ..connection.scripts import DEAD_LETTER, RELEASE, RETRY
from ..delivery import Delivery
from ..entries import Fields
from ..exceptions import RedisStreamsError, RedisUnavailableError, StreamNotFoundError
from ..retry import DeadLetter, Retry
from ..telemetry import DeadLettered, Released, RetryScheduled, Settled, StepFailed
from .holdings import Holdings

T = TypeVar("T")

IDS_AT_ONCE = 1000
"""Ids in one XACK; more would hold up the server (10,000 block it for 3 to 8 ms)."""
_FIELDS_AT_MOST = 6000
"""Names and values that a Lua script can pass on; an entry with more is kept as one MessagePack field."""

_logger = logging.getLogger("redis_streams_aio")


class Settlement:
    """Carries out fates for one consumer."""

    def __init__(self, holdings: Holdings, dead_letter_stream: str) -> None:
        self._holdings = holdings
        self._dead_letter_stream = dead_letter_stream
        self._acks: list[Delivery] = []
        self._waiting = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.count: int = 0
        """Deliveries settled so far."""

    @property
    def unwritten(self) -> int:
        """Acknowledgements that Redis has not confirmed yet."""
        return len(self._acks)

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge with the next group. Does not wait and cannot fail."""
        delivery.settled = True
        self._acks.append(delivery)
        self._waiting.set()

    async def wait(self) -> None:
        """Until there is something to flush."""
        await self._waiting.wait()

    async def flush(self) -> None:
        """Write the acknowledgements that have gathered.

        Raises `RedisUnavailableError`, `ServerError`; what was not written is kept.
        """
        async with self._flushing:
            while self._acks:
                group = self._acks[:IDS_AT_ONCE]
                await self._write_acks(group)
                del self._acks[: len(group)]
                self._settled(group)
            self._waiting.clear()

    async def _write_acks(self, group: Sequence[Delivery]) -> None:
        holdings = self._holdings
        commands: list[Command] = [("XACK", holdings.stream, holdings.group, *(delivery.raw_id for delivery in group))]
        if failed := [delivery.raw_id for delivery in group if delivery.recorded]:
            commands.append(("HDEL", holdings.failures_key, *failed))
        acknowledged, *others = await holdings.connection.link("settle").call_many(commands)
        if isinstance(acknowledged, RedisStreamsError):
            raise acknowledged
        for answer in others:
            if isinstance(answer, RedisStreamsError):
                _logger.error("failure records of %s/%s stay: %s", holdings.stream, holdings.group, answer)

    async def retry(self, delivery: Delivery, fate: Retry) -> bool:
        """Write the failure down; whether the delivery is still ours to try again."""
        holdings = self._holdings
        reply = await self._write(
            delivery,
            lambda: holdings.connection.run(
                RETRY,
                *(holdings.stream, holdings.failures_key, holdings.group, holdings.consumer, delivery.raw_id),
                *(round(fate.delay * 1000), fate.failures, round(delivery.first_failure * 1000), fate.error),
                purpose="settle",
            ),
        )
        if not reply:
            return False
        delivery.recorded = True
        if fate.failures > delivery.failures:
            delivery.first_failure = replies.integer(reply) / 1000
            delivery.failing_since = delivery.failing_since or asyncio.get_running_loop().time()
            delivery.failures = fate.failures
        holdings.telemetry.emit(
            RetryScheduled(
                stream=holdings.stream,
                group=holdings.group,
                id=delivery.id,
                failures=fate.failures,
                delay=round(fate.delay, 3),
                error=fate.error,
            )
        )
        return True

    async def dead_letter(self, delivery: Delivery, fate: DeadLetter) -> None:
        """Move the entry to the dead letters."""
        holdings = self._holdings
        letter = _letter(delivery, fate, holdings)
        reply = await self._write(
            delivery,
            lambda: holdings.connection.run(
                DEAD_LETTER,
                *(holdings.stream, holdings.failures_key, self._dead_letter_stream),
                *(holdings.group, holdings.consumer, delivery.raw_id, *letter),
                purpose="settle",
            ),
        )
        if reply:
            delivery.settled = True
            self._settled([delivery])
            holdings.telemetry.emit(
                DeadLettered(
                    stream=holdings.stream, group=holdings.group, id=delivery.id, reason=fate.reason, error=fate.error
                )
            )

    async def release(self) -> int:
        """Give back everything that is held and not settled, so that another consumer has it at once.

        Raises `RedisUnavailableError`.
        """
        holdings = self._holdings
        unsettled = [delivery for delivery in holdings.by_id.values() if not delivery.settled]
        released = 0
        for start in range(0, len(unsettled), IDS_AT_ONCE):
            group = unsettled[start : start + IDS_AT_ONCE]
            pairs = [item for delivery in group for item in (delivery.raw_id, max(0, delivery.deliveries - 1))]
            try:
                reply = await holdings.connection.run(
                    RELEASE,
                    *(holdings.stream, holdings.group, holdings.consumer, naming.RELEASED, *pairs),
                    purpose="settle",
                )
            except StreamNotFoundError:
                reply = 0  # the group is gone, and its pending list with it
            released += replies.integer(reply)
            for delivery in group:
                holdings.drop(delivery)
        if released:
            holdings.telemetry.emit(Released(stream=holdings.stream, group=holdings.group, count=released))
        return released

    def _settled(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._holdings.drop(delivery)
        self.count += len(deliveries)
        if self._holdings.telemetry.active:
            self._holdings.telemetry.emit(
                Settled(stream=self._holdings.stream, group=self._holdings.group, count=len(deliveries))
            )

    async def _write(self, delivery: Delivery, step: Callable[[], Awaitable[T]]) -> T | None:
        """Do a fenced write, however long Redis is away.

        `None` when it cannot be done. A delivery that is not ours any more is dropped.
        """
        for wait in delays():
            if delivery.lost:
                return None
            try:
                reply = await step()
            except (
                StreamNotFoundError
            ):  # the group is lost with all that was pending: made again, it brings this one again
                reply = None
            except RedisUnavailableError as error:
                self._holdings.telemetry.emit(StepFailed(duty=f"settle {delivery.id}", error=str(error), delay=wait))
                await asyncio.sleep(wait)
                continue
            except RedisStreamsError:
                _logger.exception("%s cannot be settled and stays pending", delivery)
                self._holdings.drop(delivery)
                return None
            if reply in (None, b""):
                self._holdings.lose(delivery)
            return reply
        raise AssertionError("the waits have no end")


def _letter(delivery: Delivery, fate: DeadLetter, holdings: Holdings) -> list[Argument]:
    """The dead letter's fields: the original ones untouched, then what became of it."""
    became: dict[str, Argument] = {
        "reason": fate.reason,
        "error": fate.error,
        "traceback": fate.traceback,
        "failures": fate.failures,
        "deliveries": delivery.deliveries,
        "first_failure": f"{delivery.first_failure:.3f}",
        "stream": holdings.stream,
        "group": holdings.group,
        "consumer": holdings.consumer,
        "id": delivery.raw_id,
    }
    return [*_original(delivery.fields), *(item for name, value in became.items() for item in (f"dead:{name}", value))]


def _original(fields: Fields) -> Fields:
    return fields if len(fields) <= _FIELDS_AT_MOST else [b"dead:fields", msgspec.msgpack.encode(fields)]
