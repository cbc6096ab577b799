"""Settlement writes the fates of deliveries to Redis.

**Theory.** A fate is decided once, by a pure function, and is a value (`fates.Fate`). Until it is durably written, the
entry stays pending in Redis and held here: a process that dies in between causes a second run, never a loss.

* *Ack*: the id joins the `acknowledgements`, which are sent together with the next `XACK`.
* *Complete*: the script that acknowledges the entry also writes the follow-ups and the mark for `deduplicate`. It first
  checks that the entry is still pending, so if two processes have handled it, only one writes.
* *Retry*: a script that checks the owner first writes failures, due time, first failure and last error. The entry stays
  pending under its own id.
* *Dead letter*: one script adds the event to the dead letters and acknowledges its entry, or does neither.
* *Postpone*, *await a copy*: the delivery waits here, and nothing is written.
* *Release* (in a drain): see `releasing`. After it, this consumer's name can be removed from the group.

When things fail:

* Redis is away or refuses for the moment: the fate is kept with its delivery, which waits, held and renewed, and is
  written later. Only one fate at a time tries (`backoff.Gate`), and workers continue, so that a full Redis is drained.
* The lease is lost: the script writes nothing and says so, and the delivery is dropped.
* Redis refuses permanently (for example, the dead-letter key is not a stream): the entry is no longer held, and stays
  pending until its lease expires; other entries are handled. If Redis refuses a follow-up permanently, that counts as
  the handler's failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from ...connection.steps.completing import Completed, Completion, complete
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

Step = Callable[[], Awaitable[Completed | str | NotOurs]]
"""A step at Redis that settles an entry."""


class Settlement:
    """Writes the fates of one consumer's deliveries."""

    def __init__(self, holdings: Holdings, dead_letters: DeadLetterOptions) -> None:
        self._holdings = holdings
        self.clock: Clock = holdings.clock
        self._dead_letters = dead_letters
        self.acks: Acknowledgements = Acknowledgements(holdings)

    async def settle(self, delivery: Delivery, fate: Fate) -> bool:
        """Write a fate, and return whether the delivery must be handled again when it is `due`.

        That is true for a retry, and for a fate that Redis cannot accept now: the fate is kept with its delivery and
        written later. No worker waits for it, and only one fate at a time tries. Raises `ServerError` if Redis refuses
        a follow-up permanently.
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
            return False  # nothing is written, so this says nothing about Redis
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
        """Write a fate. Raises `RedisUnavailableError`, and for `Complete` also `ServerError`."""
        if isinstance(fate, Complete):
            await self.complete(delivery, fate)
        else:
            await self.dead_letter(delivery, fate)

    def _refused(self, delivery: Delivery, error: RedisUnavailableError) -> float:
        """Note that Redis refused a write, and return when to try again."""
        now = self.clock.now()
        wait = self._holdings.gate.refused(now)
        self._holdings.telemetry.emit(StepFailed.of(f"settle {delivery.id}", error, wait))
        return now + wait

    async def finish(self) -> None:
        """Write fates that Redis could not accept before, and the gathered acknowledgements.

        Entries whose fate Redis refuses permanently stay pending. Raises `RedisUnavailableError`, and for
        acknowledgements `ServerError`.
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
        """Acknowledge a delivery with the next group. Does not wait and cannot fail."""
        self.acks.add(delivery)

    async def complete(self, delivery: Delivery, fate: Complete) -> None:
        """Acknowledge a delivery together with its follow-ups and its mark."""
        holdings = self._holdings
        atomic = [follow_up.command for follow_up in fate.follow_ups if follow_up.atomic]
        await self._send_before(follow_up for follow_up in fate.follow_ups if not follow_up.atomic)
        done = Completion(delivery.raw_id, get(delivery.fields, EVENT_ID), fate.remember, atomic)
        await self._end(delivery, partial(complete, holdings.connection, holdings.who, done), of_failure=False)

    async def _send_before(self, follow_ups: Iterable[FollowUp]) -> None:
        for follow_up in follow_ups:
            await self._holdings.connection.call(*follow_up.command, purpose="settle")

    async def retry(self, failed: Sequence[Failed]) -> list[Delivery]:
        """Write failures, all of a batch together, and return the deliveries to handle again when they are `due`.

        Deliveries with the same delay are due at the same time. Failures that Redis cannot accept now are kept with
        their deliveries, as in `settle`.
        """
        failed = [(delivery, fate) for delivery, fate in failed if not delivery.lost]
        if not failed:
            return []  # nothing is written, so this says nothing about Redis
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
        """Move an event to the dead letters."""
        holdings, options = self._holdings, self._dead_letters
        letter = dead_letter.compose(delivery, fate, holdings.group, holdings.consumer)
        move = partial(move_to_dead_letters, holdings.connection, holdings.who, delivery.raw_id, letter, options)
        ended = await self._end(delivery, move)
        if ended:
            reports.of_dead_letter(holdings, delivery, fate)

    async def release(self, deliveries: Iterable[Delivery] | None = None) -> int:
        """Release all unsettled deliveries, or these, so that another consumer can take them over at once.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        held = self._holdings.by_id.values() if deliveries is None else deliveries
        return await release(self._holdings, list(held))

    async def trim_dead_letters(self) -> None:
        """Delete dead letters that are too old or too many, even if no new ones come.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await trim_dead_letters(self._holdings.connection, self._dead_letters)

    async def _end(self, delivery: Delivery, step: Step, *, of_failure: bool = True) -> bool:
        """Run the write that settles a delivery, and return whether it did.

        The delivery counts as settled during the write, so that the lease keeper does not find it lost.
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
        """Run a write, and return whether it was done. If not, it never will be.

        A delivery that another consumer has is dropped. The failure of a lost delivery is not written. If Redis refuses
        a failure permanently, the entry stays pending; for a success the error is raised. Raises
        `RedisUnavailableError`.
        """
        if delivery.lost and of_failure:
            return False
        try:
            result = await step()
        except StreamNotFoundError:
            result = NOT_OURS  # the group is lost with all pending entries; when recreated, it delivers this one again
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
    """Let deliveries wait with their unwritten fates, and return those that are not lost.

    Local variables of failed handlers are released.
    """
    for delivery, fate in kept:
        delivery.due = until
        if isinstance(fate, Retry | DeadLetter) and fate.failure is not None:
            fate.failure.forget_locals()
    return [delivery for delivery, _ in kept if not delivery.lost]
