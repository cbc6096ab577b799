"""Settlement: carries out the fate of deliveries.

**Theory.** A fate is decided once, by a pure function, and is a value (`fates.Fate`). Until it is durably
written, the entry stays pending in Redis and held here (P1): a process that dies in between causes a second run,
never a loss.

* *Ack, discard*: the id joins the `acknowledgements` that leave together, with the next XACK.
* *Complete*: what a handler publishes with its acknowledgement, and the mark that drops later copies of the event, are
  written by the script that acknowledges. It looks first whether the entry is still pending, so that of two processes
  that both handled it only one writes.
* *Retry*: failures, due time, first failure and last error are written to Redis first, by a script that checks the
  owner. The entry stays pending under its own id.
* *Dead letter*: one script adds it to the dead-letter stream and acknowledges it, or does neither (P12).
* *Postpone*, *await a copy*: it waits here; nothing is written.
* *Release* (at a drain): the entry is given back, see `releasing`. So our own name can leave the group (P22).

When things fail: Redis away or refusing: the fate is kept with the delivery, which waits aside, held and renewed, and
is written when Redis takes it; one at a time asks (`backoff.Gate`), and the workers go on, so that a full Redis is
drained. The lease is lost: the script writes nothing and says so; the delivery is dropped (P4).
Redis refuses for good (say, the dead-letter key is no stream): the entry is dropped from our hands and stays
pending; it is taken up again when its lease has run out (P13: others are handled). A follow-up that Redis refuses for
good is raised: it counts as the handler's failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from ...connection.steps.completing import Completion, complete
from ...connection.steps.consumer import NOT_OURS, NotOurs
from ...connection.steps.dead_letters import DeadLetterOptions, move_to_dead_letters, trim_dead_letters
from ...events import dead_letter
from ...events.delivery import Delivery, FollowUp
from ...events.wire_format import EVENT_ID, get
from ...exceptions import RedisStreamsError, RedisUnavailableError, ServerError, StreamNotFoundError
from ...handlers.fates import Abandon, Ack, AwaitCopy, Complete, DeadLetter, Fate, Postpone, Retry
from ...telemetry import StepFailed
from ...telemetry.logs import log
from ..clock import Clock
from ..holdings import Holdings
from . import reports, retries
from .acknowledgements import Acknowledgements
from .releasing import release
from .retries import Failed, Written

Step = Callable[[], Awaitable[bool | str | NotOurs]]
"""A step at Redis that settles an entry."""


class Settlement:
    """Carries out fates for one consumer."""

    def __init__(self, holdings: Holdings, dead_letters: DeadLetterOptions) -> None:
        self._holdings = holdings
        self.clock: Clock = holdings.clock
        self._dead_letters = dead_letters
        self.acks: Acknowledgements = Acknowledgements(holdings)

    async def settle(self, delivery: Delivery, fate: Fate) -> bool:
        """Carry out a fate; whether the delivery is to be looked at again when it is `due`.

        That is so for a retry, and for a fate that Redis cannot take now: it is kept with the delivery, which waits
        aside, and is carried out later (P16: no worker waits, and no more than one asks). Raises `ServerError` when
        Redis refuses for good what belongs to a success.
        """
        match fate:
            case Ack():
                self.ack(delivery)
            case Abandon():
                self._holdings.drop(delivery)
            case Postpone() | AwaitCopy():
                return bool(_put_aside([(delivery, fate)], fate.until))
            case Retry():
                return bool(await self.retry([(delivery, fate)]))
            case Complete() | DeadLetter():
                return await self._write_if_possible(delivery, fate)
        return False

    async def _write_if_possible(self, delivery: Delivery, fate: Complete | DeadLetter) -> bool:
        if delivery.lost and not isinstance(fate, Complete):
            return False  # nothing is to be written, so nothing is learnt of Redis
        gate = self._holdings.gate
        now = self.clock.now()
        delivery.fate = fate
        if wait := gate.wait(now):
            return bool(_put_aside([(delivery, fate)], now + wait))
        try:
            await self._write_fate(delivery, fate)
        except RedisUnavailableError as error:
            return bool(_put_aside([(delivery, fate)], self._refused(delivery, error)))
        gate.passed()
        return False

    async def _write_fate(self, delivery: Delivery, fate: Complete | DeadLetter) -> None:
        """Write a fate down. Raises `RedisUnavailableError`, and for a success `ServerError`."""
        if isinstance(fate, Complete):
            await self.complete(delivery, fate)
        else:
            await self.dead_letter(delivery, fate)

    def _refused(self, delivery: Delivery, error: RedisUnavailableError) -> float:
        """Redis cannot take what is written; when to try again."""
        now = self.clock.now()
        wait = self._holdings.gate.refused(now)
        self._holdings.telemetry.emit(StepFailed.of(f"settle {delivery.id}", error, wait))
        return now + wait

    async def finish(self) -> None:
        """Write what Redis could not take before, and the acknowledgements that have gathered.

        What Redis refuses for good stays pending. Raises `RedisUnavailableError`, and for acknowledgements
        `ServerError`.
        """
        await self.acks.flush()
        held = list(self._holdings.by_id.values())
        failed = [(delivery, delivery.fate) for delivery in held if isinstance(delivery.fate, Retry)]
        for start in range(0, len(failed), retries.AT_ONCE):
            part = await retries.write(self._holdings, failed[start : start + retries.AT_ONCE])
            retries.schedule(self._holdings, part)
        for delivery in held:
            if isinstance(delivery.fate, Complete | DeadLetter) and not delivery.settled:
                try:
                    await self._write_fate(delivery, delivery.fate)
                except ServerError as error:
                    log.error("%s cannot be settled and stays pending", delivery, error=error)

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge with the next group. Does not wait and cannot fail."""
        self.acks.add(delivery)

    async def complete(self, delivery: Delivery, fate: Complete) -> None:
        """Acknowledge together with what belongs to it."""
        holdings = self._holdings
        atomic = [follow_up.command for follow_up in fate.follow_ups if follow_up.atomic]
        await self._send_before(follow_up for follow_up in fate.follow_ups if not follow_up.atomic)
        done = Completion(delivery.raw_id, get(delivery.fields, EVENT_ID), fate.remember, atomic)
        await self._end(delivery, partial(complete, holdings.connection, holdings.who, done), of_failure=False)

    async def _send_before(self, follow_ups: Iterable[FollowUp]) -> None:
        for follow_up in follow_ups:
            await self._holdings.connection.call(*follow_up.command, purpose="settle")

    async def retry(self, failed: Sequence[Failed]) -> list[Delivery]:
        """Write failures down, all those of a batch together; which are to be looked at again when they are `due`.

        Those of one delay are due at the same time. What Redis cannot take now is kept with its delivery, as in
        `settle`.
        """
        failed = [(delivery, fate) for delivery, fate in failed if not delivery.lost]
        if not failed:
            return []  # nothing is to be written, so nothing is learnt of Redis
        for delivery, fate in failed:
            delivery.fate = fate
        now = self.clock.now()
        if wait := self._holdings.gate.wait(now):
            return _put_aside(failed, now + wait)
        written: list[Written] = []
        try:
            for start in range(0, len(failed), retries.AT_ONCE):
                written += await retries.write(self._holdings, failed[start : start + retries.AT_ONCE])
        except RedisUnavailableError as error:
            until = self._refused(failed[0][0], error)
            again = retries.schedule(self._holdings, written)
            return again + _put_aside(_unwritten(failed), until)
        self._holdings.gate.passed()
        return retries.schedule(self._holdings, written)

    async def dead_letter(self, delivery: Delivery, fate: DeadLetter) -> None:
        """Move the entry to the dead letters."""
        holdings, options = self._holdings, self._dead_letters
        letter = dead_letter.compose(delivery, fate, holdings.group, holdings.consumer)
        move = partial(move_to_dead_letters, holdings.connection, holdings.who, delivery.raw_id, letter, options)
        ended = await self._end(delivery, move)
        if ended:
            reports.of_dead_letter(holdings, delivery, fate)

    async def release(self, deliveries: Iterable[Delivery] | None = None) -> int:
        """Give back what is held and not settled, all of it or these, so that another consumer has it at once.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        held = self._holdings.by_id.values() if deliveries is None else deliveries
        return await release(self._holdings, list(held))

    async def trim_dead_letters(self) -> None:
        """Drop dead letters that are past their time, and those beyond the bound, also when no new ones come.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await trim_dead_letters(self._holdings.connection, self._dead_letters)

    async def _end(self, delivery: Delivery, step: Step, *, of_failure: bool = True) -> bool:
        """Do the write that settles a delivery; whether it did.

        It counts as settled while the write is under way: the lease keeper must not take for lost what is leaving.
        """
        delivery.settled = True
        try:
            delivery.settled = await self._write(delivery, step, of_failure=of_failure)
        except BaseException:
            delivery.settled = False
            raise
        if delivery.settled:
            self._holdings.settled([delivery])
        return delivery.settled

    async def _write(self, delivery: Delivery, step: Step, *, of_failure: bool) -> bool:
        """Do a write; whether it was done. If not, it never will be.

        A delivery that is not ours any more is dropped. The write of a failure is left out for a delivery that was
        lost, and where Redis refuses it for good, the entry stays pending; for a success that is raised. Raises
        `RedisUnavailableError`.
        """
        if delivery.lost and of_failure:
            return False
        try:
            result = await step()
        except StreamNotFoundError:
            result = NOT_OURS  # the group is lost with all that was pending: recreated, it brings this one again
        except RedisUnavailableError:
            raise
        except RedisStreamsError as error:
            delivery.fate = None
            if not of_failure:
                raise
            log.error("%s cannot be settled and stays pending", delivery, error=error)
            self._holdings.leave(delivery)
            return False
        delivery.fate = None
        if result is NOT_OURS:
            delivery.settled = False
            self._holdings.lose(delivery)
            return False
        return True


def _unwritten(failed: Sequence[Failed]) -> list[Failed]:
    """The failures whose fate is still to be written."""
    return [(delivery, fate) for delivery, fate in failed if delivery.fate is not None]


def _put_aside(kept: Iterable[tuple[Delivery, Fate]], until: float) -> list[Delivery]:
    """Have deliveries wait, and their fates with them, if these could not be written; those that are still ours.

    What a handler had in hand when it failed is not kept until then.
    """
    for delivery, fate in kept:
        delivery.due = until
        if isinstance(fate, Retry | DeadLetter) and fate.failure is not None:
            fate.failure.forget_locals()
    return [delivery for delivery, _ in kept if not delivery.lost]
