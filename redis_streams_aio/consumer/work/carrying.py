"""Carry out decided fates: acknowledge, wait, or write, all writes of a batch in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...handlers.fates import Abandon, Complete, DeadLetter, Fate, Postpone, Retry
from ...handlers.routes import Route
from ..entry import WAITING, Entry
from ..settle.plans import Write
from ..settle.settlement import Settlement
from ..settle.writer import Refused
from .attempt import Ended, fate_after, to_its_end


class Decided(NamedTuple):
    """An entry whose fate is decided, and its handler; where none was called, the fate again."""

    entry: Entry
    fate: Fate
    admitted: Route | Fate


def acknowledge(settlement: Settlement, entry: Entry, admitted: Route | Fate) -> None:
    """Acknowledge a handled entry with the next group."""
    if isinstance(admitted, Route) and not admitted.shows_delivery:
        entry.payload = None  # nothing can read it any longer, and the garbage collector has less to do
    settlement.ack(entry)


async def write_fates(settlement: Settlement, decided: Sequence[Decided]) -> list[Entry]:
    """Carry out fates, and return the entries to handle again when they are due, in order.

    A fate that Redis cannot accept now is kept with its entry, which is returned too. If Redis refuses a follow-up of a
    handler for good, that counts as the handler's failure.
    """
    writes: list[Write] = []
    for each in decided:
        fate = each.fate
        if isinstance(fate, Complete) or (isinstance(fate, Retry | DeadLetter) and not each.entry.lost):
            writes.append(Write(each.entry, fate))
        else:
            _carry_out_here(settlement, each)
    await _write(settlement, writes, {each.entry: each.admitted for each in decided})
    return [each.entry for each in decided if each.entry.state is WAITING]


def _carry_out_here(settlement: Settlement, decided: Decided) -> None:
    """Carry out a fate that needs no write of its own. The failure of a lost entry is not written."""
    entry, fate, admitted = decided
    if isinstance(fate, Postpone):
        entry.wait(fate.until)
    elif isinstance(fate, Abandon | Retry | DeadLetter):
        settlement.abandon(entry)
    else:
        acknowledge(settlement, entry, admitted)


async def _write(settlement: Settlement, writes: Sequence[Write], admitted: Mapping[Entry, Route | Fate]) -> None:
    """Write fates until each has a result. Only the end of a drain cancels it."""
    if not writes:
        return
    results = await to_its_end(lambda: settlement.writer.send(writes))
    settlement.writer.apply(writes, results)
    failed = [
        _failure(settlement, write.entry, result, admitted)
        for write, result in zip(writes, results, strict=True)
        if isinstance(write.fate, Complete) and isinstance(result, Refused)
    ]
    await _write(settlement, [write for write in failed if not write.entry.lost], admitted)


def _failure(settlement: Settlement, entry: Entry, refused: Refused, admitted: Mapping[Entry, Route | Fate]) -> Write:
    """Return the write of a success whose follow-ups Redis refuses for good: it counts as the handler's failure."""
    route = admitted[entry]
    if not isinstance(route, Route):
        raise refused.error
    fate = fate_after(Ended(refused.error, None), entry, route, settlement.clock.now())
    if not isinstance(fate, Retry | DeadLetter):
        raise refused.error
    return Write(entry, fate)


def tell_once(error: BaseException | None, decided: Sequence[Decided]) -> None:
    """Log the traceback of a batch's error only with the first of its items."""
    failures = [each.fate.failure for each in decided if isinstance(each.fate, Retry | DeadLetter)]
    for failure in [failure for failure in failures if failure is not None and failure.exception is error][1:]:
        failure.is_told = True
