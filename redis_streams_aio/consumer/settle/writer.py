"""The writer carries decided fates to Redis, many in one round trip, and says for each of them what became of it.

A fate is a value (`handlers.fates`), a write is a value (`Write`), and a result is a value:

| result | meaning | then `apply` |
|---|---|---|
| `Written` | Redis has carried the fate out | ends the entry, or lets it wait for its retry |
| `NOT_OURS` | another consumer has the entry, or the group is lost; nothing was written | drops the entry as lost |
| `Later` | Redis cannot accept it now, or did not answer | lets the entry wait with its fate, held and renewed |
| `Refused` | Redis will never accept it | leaves the entry to its lease; a success becomes a failure |

Until a fate is written, its entry stays pending in Redis and held here: a process that dies in between causes a second
run, never a loss. Each write is one atomic step that checks first: a failure is written only by the owner of the entry,
a success only while the entry is pending, so that of two processes that handled it one writes.

When things fail:

* Redis is away or refuses for the moment: only one write at a time tries (`backoff.SharedBackoff`), and workers go on
  with other entries, so that a full Redis is drained.
* A connection is refused (its password was changed): the same, until a new one is accepted.
* A write was sent and not answered: it may have been carried out. It is sent again, and a dead letter that stands there
  already is recognised as ours.
* Follow-ups with `atomic=False` are sent before, in a round trip of their own. Where Redis refuses one for good, the
  entry is not completed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...connection.errors import passing
from ...connection.replies import Answer
from ...connection.steps.consumer import NOT_OURS, NotOurs
from ...connection.steps.dead_letters import DeadLetterOptions
from ...connection.steps.sending import send
from ...events.outgoing import Command
from ...exceptions import RedisStreamsError, RedisUnavailableError, ServerError, StreamNotFoundError
from ...handlers.fates import Complete, DeadLetter, Retry
from ...telemetry import StepFailed
from ...telemetry.logs import log
from ..entry import Entry
from ..holdings import Holdings
from . import reports
from .plans import Planned, Write, Written, plan


class Later(NamedTuple):
    """Redis cannot accept the fate before a time on the broker's clock."""

    until: float


class Refused(NamedTuple):
    """Redis will never accept the fate."""

    error: RedisStreamsError


Result = Written | NotOurs | Later | Refused


class Writer:
    """Writes the fates of one consumer's entries."""

    def __init__(self, holdings: Holdings, dead_letters: DeadLetterOptions) -> None:
        self._holdings = holdings
        self._dead_letters = dead_letters
        self._unanswered: set[bytes] = set()
        """Entries whose fate was sent, and may have been carried out."""

    async def send(self, writes: Sequence[Write]) -> list[Result]:
        """Write fates, and return their results. Does not raise errors of Redis.

        A write that is cancelled may be repeated: its entry waits with its fate.
        """
        now = self._holdings.clock.now()
        if wait := self._holdings.backoff.wait(now):
            return [Later(now + wait) for _ in writes]
        for entry, fate in writes:
            entry.write(fate)
        try:
            results = await self._send(writes)
        except BaseException:
            for entry, fate in writes:
                entry.wait(now, fate)
            raise
        if not any(isinstance(result, Later) for result in results):
            self._holdings.backoff.passed()
        return results

    async def _send(self, writes: Sequence[Write]) -> list[Result]:
        results: dict[bytes, Result] = await self._send_before(writes)
        left = [write for write in writes if write.entry.raw_id not in results]
        planned = plan(left, self._holdings, self._dead_letters, self._unanswered)
        self._unanswered.update(entry.raw_id for entry, _ in left)
        for each, outcome in zip(planned, await self._outcomes(planned), strict=True):
            results.update(self._results(each, outcome))
        return [results[entry.raw_id] for entry, _ in writes]

    async def _send_before(self, writes: Sequence[Write]) -> dict[bytes, Result]:
        """Send follow-ups that are not part of a step, and return the results of entries that must not complete."""
        sent = [(entry, command) for entry, fate in writes for command in _sent_before(fate)]
        answers = await self._answers([command for _, command in sent])
        reports.of_follow_ups(self._holdings, _published(sent, answers))
        return {
            entry.raw_id: self._failed(entry, answer)
            for (entry, _), answer in zip(sent, answers, strict=True)
            if isinstance(answer, RedisStreamsError)
        }

    async def _answers(self, commands: Sequence[Command]) -> Sequence[Answer]:
        """Send commands, and return their replies or errors."""
        if not commands:
            return []
        try:
            return await self._holdings.connection.call_many(commands, purpose="settle")
        except (RedisUnavailableError, ServerError) as error:
            return [passing(error)] * len(commands)

    async def _outcomes(self, planned: Sequence[Planned]) -> list[object]:
        """Run the steps, and return for each its result or its error."""
        if not planned:
            return []
        try:
            return list(
                await send(
                    self._holdings.connection.link("settle", self._holdings.stream), [each.step for each in planned]
                )
            )
        except (RedisUnavailableError, ServerError) as error:
            return [passing(error)] * len(planned)

    def _results(self, planned: Planned, outcome: object) -> Iterable[tuple[bytes, Result]]:
        """Return the result of each entry of a step."""
        if isinstance(outcome, RedisStreamsError):
            for entry in planned.entries:
                if not isinstance(outcome, RedisUnavailableError):
                    self._unanswered.discard(entry.raw_id)
                yield entry.raw_id, self._failed(entry, outcome)
            return
        for entry, result in zip(planned.entries, planned.read(outcome), strict=True):
            self._unanswered.discard(entry.raw_id)
            yield entry.raw_id, result

    def _failed(self, entry: Entry, error: RedisStreamsError) -> Result:
        if isinstance(error, StreamNotFoundError):
            return NOT_OURS  # the group is lost with all pending entries; when recreated, it delivers this one again
        if not isinstance(error, RedisUnavailableError):
            return Refused(error)
        holdings = self._holdings
        now = holdings.clock.now()
        wait = holdings.backoff.refused(now)
        holdings.telemetry.emit(StepFailed.of(f"settle {entry.raw_id.decode()}", error, wait))
        return Later(now + wait)

    def apply(self, writes: Sequence[Write], results: Sequence[Result]) -> None:
        """Carry out what results mean for their entries. Entries that are handled again are `WAITING` then.

        Retries that were decided together are due at the same time. A `Complete` that Redis refuses is left to the
        caller: it counts as the handler's failure.
        """
        now = self._holdings.clock.now()
        for write, result in zip(writes, results, strict=True):
            self._apply(write, result, now)

    def _apply(self, write: Write, result: Result, now: float) -> None:
        entry, fate = write
        match result:
            case Later(until):
                _keep(entry, fate, until)
            case Written():
                self._written(write, result, now)
            case Refused(error) if not isinstance(fate, Complete):
                log.error("%s cannot be settled and stays pending", entry, error=error)
                self._holdings.leave(entry)
                entry.lose()
            case NotOurs():
                self._holdings.lose(entry)
            case _:
                pass
        if entry.lost and not isinstance(result, Written):
            self._holdings.outcomes.tell((entry.raw_id,), "lost")

    def _written(self, write: Write, written: Written, now: float) -> None:
        holdings, (entry, fate) = self._holdings, write
        if isinstance(fate, Retry):
            report = reports.of_retry if _retry(entry, fate, written.first_ms, now) else reports.of_wish
            report(holdings, entry, fate)
            return
        holdings.settled([entry.raw_id])
        if isinstance(fate, DeadLetter):
            reports.of_dead_letter(holdings, entry, fate)
        else:
            if written.wrote_follow_ups:
                reports.of_follow_ups(holdings, (each.command for each in fate.follow_ups if each.atomic))
            holdings.outcomes.tell((entry.raw_id,), "acknowledged")


def _published(sent: Sequence[tuple[Entry, Command]], answers: Sequence[Answer]) -> list[Command]:
    """Return the commands that were answered with an entry id."""
    told = zip(sent, answers, strict=True)
    return [command for (_, command), answer in told if not isinstance(answer, RedisStreamsError)]


def _sent_before(fate: Complete | Retry | DeadLetter) -> list[Command]:
    """Return the follow-ups of a fate that are sent before it."""
    follow_ups = fate.follow_ups if isinstance(fate, Complete) else ()
    return [each.command for each in follow_ups if not each.atomic]


def _keep(entry: Entry, fate: Complete | Retry | DeadLetter, until: float) -> None:
    """Let an entry wait with its unwritten fate. Local variables of the failed handler are released."""
    entry.wait(until, fate)
    if not isinstance(fate, Complete) and fate.failure is not None:
        fate.failure.forget_locals()


def _retry(entry: Entry, fate: Retry, first_ms: int, now: float) -> bool:
    """Let an entry wait for its retry from this moment on, and return whether this was a failure."""
    entry.wait(now + fate.delay)
    entry.recorded = True
    counted = fate.failures > entry.failures
    if counted:
        entry.first_failure = first_ms / 1000
        entry.failing_since = entry.failing_since or now
        entry.failures = fate.failures
    return counted
