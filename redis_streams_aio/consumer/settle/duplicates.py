"""Duplicates: events that were published twice under one `event_id` are handled once (`deduplicate=`).

**Theory.** For each `event_id` a key beside the stream records the state of the event. It contains the id of the entry
that is being handled, or `done` (for `deduplicate` seconds). The script that acknowledges the entry writes `done`, so
both become true at the same moment.

* No key: the event is new. Its entry's id is written, and it is handled.
* The id of this entry: an earlier attempt failed or crashed. The entry is handled. A crash causes a second run, never a
  loss, because no copy is dropped for an entry that is not done.
* The id of another pending entry: another consumer is handling a copy, or the copy waits for its retry. This entry
  waits too, and asks again. The two are never handled at the same time. The consumer of the copy may die, and then the
  copy may come here, so this entry holds nothing that the copy could need (`AwaitCopy`).
* The id of another entry that is no longer pending: it was given up, or is gone. This entry takes its place.
* `done`: a copy was handled. This entry is acknowledged.

Within one process, copies are handled one after another anyway (`work.lanes`). If Redis cannot be asked, the entry
waits, and keeps its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...connection.steps.duplicates import Begun, begin_events
from ...events.wire_format import EVENT_ID, get
from ...exceptions import RedisStreamsError
from ...handlers.fates import ACK, AwaitCopy, Fate, Postpone
from ...telemetry import DuplicateDropped, StepFailed
from ..entry import Entry
from ..holdings import Holdings

ASKED_AT_ONCE = 250
"""Events in one step: three commands each, about a millisecond of the server's time."""
LOOK_AGAIN = 1.0
"""Seconds after which a copy asks again whether the other one is done; less if leases are short."""
FORGOTTEN_AFTER = 86_400.0
"""Seconds after which the key of an event that was begun and never ended (its entry was deleted, say) is dropped."""


async def begin(holdings: Holdings, entries: Sequence[Entry]) -> list[Fate | None]:
    """Return for each entry `None` to handle it, or the fate of a copy, or to wait if Redis cannot be asked."""
    ids = [get(entry.fields, EVENT_ID) for entry in entries]
    asked = [(event_id, entry.raw_id) for entry, event_id in zip(entries, ids, strict=True) if event_id]
    if not asked:
        return [None] * len(entries)
    begun = await _begun(holdings, asked)
    if isinstance(begun, Postpone):
        return [begun] * len(entries)
    look_again = holdings.clock.now() + pause(holdings)
    found = iter(begun)
    return [
        _fate(holdings, entry, next(found), look_again) if event_id else None
        for entry, event_id in zip(entries, ids, strict=True)
    ]


async def _begun(holdings: Holdings, asked: Sequence[tuple[bytes, bytes]]) -> list[Begun] | Postpone:
    """Whether each event may be handled now; or until when to wait, as Redis cannot be asked."""
    now = holdings.clock.now()
    if wait := holdings.backoff.wait(now):
        return Postpone(now + wait)
    try:
        begun = await _ask(holdings, asked)
    except RedisStreamsError as error:
        now = holdings.clock.now()
        wait = holdings.backoff.refused(now)
        holdings.telemetry.emit(StepFailed.of("look for duplicates", error, wait))
        return Postpone(now + wait)
    holdings.backoff.passed()
    return begun


async def _ask(holdings: Holdings, asked: Sequence[tuple[bytes, bytes]]) -> list[Begun]:
    """Begin each event, part by part."""
    begun: list[Begun] = []
    for start in range(0, len(asked), ASKED_AT_ONCE):
        part = asked[start : start + ASKED_AT_ONCE]
        begun += await begin_events(holdings.connection, holdings.who, part, round(FORGOTTEN_AFTER * 1000))
    return begun


def _fate(holdings: Holdings, entry: Entry, begun: Begun, look_again: float) -> Fate | None:
    if begun is Begun.OURS:
        return None
    if begun is Begun.DONE:
        holdings.telemetry.emit(DuplicateDropped(**holdings.about(entry)))
        return ACK
    return AwaitCopy(look_again)


def pause(holdings: Holdings) -> float:
    """Return the seconds after which a copy asks again."""
    return min(LOOK_AGAIN, holdings.lease / 3)
