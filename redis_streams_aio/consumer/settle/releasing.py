"""Release entries of this consumer, so that another consumer can take them over at once.

They get the reserved consumer name `keys.RELEASED`, under which they can be claimed at once. A release takes back the
count of the delivery. However many entries there are, they leave in one round trip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from ...connection.steps import releasing as steps
from ...connection.steps.releasing import Released as ReleasedThere
from ...connection.steps.script import Step
from ...connection.steps.sending import send
from ...exceptions import RedisStreamsError, StreamNotFoundError
from ...telemetry import Released
from ..entry import Entry
from ..holdings import Holdings

AT_ONCE = 250
"""Entries in one script: two commands each, less than a millisecond of the server's time."""


async def release(holdings: Holdings, entries: Sequence[Entry]) -> int:
    """Release entries whose fate is not being written, and return how many this consumer still had.

    Raises `RedisUnavailableError`, `ServerError`; entries that were not released are held as before.
    """
    released = [entry for entry in entries if not entry.settled and not entry.lost]
    if not released:
        return 0
    for entry in released:
        entry.write()  # so that the lease keeper does not find it lost
    parts = _parts(released)
    try:
        results = await send(
            holdings.connection.link("settle", holdings.stream), [_step(holdings, part) for part in parts]
        )
    except BaseException:
        _keep(released)
        raise
    return await _apply(holdings, parts, results)


def _parts(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    return [entries[start : start + AT_ONCE] for start in range(0, len(entries), AT_ONCE)]


def _step(holdings: Holdings, part: Sequence[Entry]) -> Step[ReleasedThere]:
    return steps.release(holdings.who, [(entry.raw_id, max(0, entry.deliveries - 1)) for entry in part])


async def _apply(
    holdings: Holdings, parts: Sequence[Sequence[Entry]], results: Sequence[ReleasedThere | RedisStreamsError]
) -> int:
    errors = list(map(_end_part, repeat(holdings), parts, results))
    done = [result for result in results if isinstance(result, ReleasedThere)]
    count = sum(result.count for result in done)
    holdings.released += count
    if count:
        holdings.telemetry.emit(Released(**holdings.here, count=count))
    _tell(holdings, parts, results)
    await _forget(holdings, [raw_id for result in done for raw_id in result.gone])
    for error in filter(None, errors):
        raise error
    return count


def _tell(
    holdings: Holdings, parts: Sequence[Sequence[Entry]], results: Sequence[ReleasedThere | RedisStreamsError]
) -> None:
    """Tell the outcome of attempts whose entries are let go."""
    for part, result in zip(parts, results, strict=True):
        ids = [entry.raw_id for entry in part]
        if isinstance(result, ReleasedThere):
            holdings.outcomes.tell(result.gone, "lost")
            holdings.outcomes.tell(ids, "released")
        elif isinstance(result, StreamNotFoundError):
            holdings.outcomes.tell(ids, "lost")


async def _forget(holdings: Holdings, gone: Sequence[bytes]) -> None:
    """Report deleted entries, and delete their failure records."""
    if gone:
        holdings.report_vanished(gone)
        await holdings.connection.call(*holdings.forget_command(gone), purpose="settle")


def _end_part(
    holdings: Holdings, part: Sequence[Entry], result: ReleasedThere | RedisStreamsError
) -> RedisStreamsError | None:
    """Drop released entries, or hold them as before and return the error."""
    if isinstance(result, RedisStreamsError) and not isinstance(result, StreamNotFoundError):
        _keep(part)
        return result
    _let_go(holdings, part)  # also where the group is gone, and its pending list with it
    return None


def _let_go(holdings: Holdings, part: Sequence[Entry]) -> None:
    for entry in part:
        holdings.drop(entry)
        entry.queue()  # it is not settled: it waits for a worker of another consumer


def _keep(entries: Iterable[Entry]) -> None:
    """Hold entries as before, because they were not released."""
    for entry in entries:
        if entry.fate is None and not entry.until:
            entry.queue()
        else:
            entry.wait(entry.until, entry.fate)
