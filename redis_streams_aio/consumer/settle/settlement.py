"""Settlement: the parts that end the entries of one consumer, and the order of their end.

* `acks` gathers acknowledgements, and sends them with the next read (`acknowledgements`).
* `writer` carries all other fates to Redis (`writer`).
* `release` lets other consumers take entries over at once (`releasing`).

Closing writes every decided fate, and then releases every other entry. Each of the two is one round trip, however many
entries there are.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...connection.steps.dead_letters import DeadLetterOptions, trim_dead_letters
from ...exceptions import RedisUnavailableError
from ...handlers.fates import Complete, DeadLetter, Retry
from ...telemetry.logs import log
from ..clock import Clock
from ..entry import Entry
from ..holdings import Holdings
from .acknowledgements import Acknowledgements
from .plans import Write
from .releasing import release
from .writer import Refused, Writer


class Settlement:
    """Ends the entries of one consumer."""

    def __init__(self, holdings: Holdings, dead_letters: DeadLetterOptions) -> None:
        self._holdings = holdings
        self.clock: Clock = holdings.clock
        self._dead_letters = dead_letters
        self.acks: Acknowledgements = Acknowledgements(holdings)
        self.writer: Writer = Writer(holdings, dead_letters)

    async def finish(self) -> None:
        """Write the gathered acknowledgements, and fates that Redis could not accept before.

        Raises `RedisUnavailableError` if fates were not written, and for acknowledgements also `ServerError`.
        """
        await self.acks.flush()
        self._holdings.backoff.passed()  # the last try asks in any case
        held = self._holdings.entries()
        await self.write(held)
        if any(decided(entry) is not None for entry in held):
            raise RedisUnavailableError("Redis did not accept the last fates")

    async def write(self, entries: Iterable[Entry]) -> None:
        """Write the fates that entries keep because Redis could not accept them before.

        An entry whose fate Redis refuses for good keeps none, and can be released.
        """
        writes = [Write(entry, fate) for entry in entries if (fate := decided(entry)) is not None]
        if not writes:
            return
        results = await self.writer.send(writes)
        self.writer.apply(writes, results)
        for (entry, _), result in zip(writes, results, strict=True):
            if isinstance(result, Refused) and not entry.lost:
                log.error("%s cannot be settled and is released", entry, error=result.error)
                entry.wait(entry.until)

    def ack(self, entry: Entry) -> None:
        """Acknowledge an entry with the next group. Does not wait and cannot fail."""
        entry.write()
        self.acks.add(entry.raw_id, recorded=entry.recorded or entry.lost)

    def abandon(self, entry: Entry) -> None:
        """Stop holding an entry without writing anything. Another consumer has it, or its lease expires."""
        self._holdings.drop(entry)
        if not entry.lost:
            entry.lose()
        self._holdings.outcomes.tell((entry.raw_id,), "lost")

    async def release(self, entries: Iterable[Entry] | None = None) -> int:
        """Release all entries whose fate is not being written, or these, so that others take them over at once.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        held = self._holdings.entries() if entries is None else list(entries)
        return await release(self._holdings, held)

    async def trim_dead_letters(self) -> None:
        """Delete dead letters that are too old or too many, even if no new ones come.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await trim_dead_letters(self._holdings.connection, self._dead_letters)


def decided(entry: Entry) -> Complete | DeadLetter | Retry | None:
    """Return the fate that is still to be written; `None` if there is none."""
    fate = None if entry.settled else entry.fate
    return fate if isinstance(fate, Complete | DeadLetter | Retry) else None
