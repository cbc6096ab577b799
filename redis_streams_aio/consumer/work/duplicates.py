"""Duplicates: events that were published twice under one `event_id` are handled once (`deduplicate=`).

**Theory.** For each `event_id` a key beside the stream says how far the event has come. It holds the id of the entry
that is being handled, or `done` (for as long as `deduplicate` says). `done` is written by the script that
acknowledges the entry, so there is no moment in which the one is true without the other.

* No key: the event is new; its entry's id is written, and it is handled.
* Our own entry's id: an attempt before this one failed, or crashed; it is handled. A crash means a second run, never
  a loss, as nothing is dropped on the word of an entry that is not done.
* The id of another entry that is pending: a copy is in somebody's hands, or waits for its retry. This one waits too,
  and asks again. However long that takes, the two are not handled at once. Whoever has the other one may die, and then
  it may come here: so this one holds nothing meanwhile that the other could need (`AwaitCopy`).
* The id of another entry that is pending no more: it was given up, or is gone. This one takes its place.
* `done`: a copy was handled. This one is acknowledged.

Within one process copies are handled one after another anyway (see `Subscription`). When Redis cannot be asked, the
delivery waits, and keeps its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...connection.steps.duplicates import Begun, begin_events
from ...events.delivery import Delivery
from ...events.wire_format import EVENT_ID, get
from ...exceptions import RedisStreamsError
from ...handlers.fates import ACK, AwaitCopy, Fate, Postpone
from ...telemetry import DuplicateDropped, StepFailed
from ..holdings import Holdings
from ..settle.acknowledgements import Acknowledgements
from .attempt import to_its_end
from .schedule import Schedule

ASKED_AT_ONCE = 250
"""Events in one step: three commands each, about a millisecond of the server's time."""
LOOK_AGAIN = 1.0
"""Seconds after which a copy asks again whether the other one is done; less where leases are short."""
TOGETHER = 0.3
"""Part of that by which a copy is asked after early, so that many are asked after together."""
FORGOTTEN_AFTER = 86_400.0
"""Seconds after which the key of an event that was begun and never ended (its entry was deleted, say) is dropped."""


async def begin(holdings: Holdings, deliveries: Sequence[Delivery]) -> list[Fate | None]:
    """For each delivery `None`: handle it; or the fate of a copy, or to wait while that cannot be known."""
    ids = [get(delivery.fields, EVENT_ID) for delivery in deliveries]
    asked = [(event_id, delivery.raw_id) for delivery, event_id in zip(deliveries, ids, strict=True) if event_id]
    if not asked:
        return [None] * len(deliveries)
    begun = await _begun(holdings, asked)
    if isinstance(begun, Postpone):
        return [begun] * len(deliveries)
    look_again = asyncio.get_running_loop().time() + _pause(holdings)
    found = iter(begun)
    return [
        _fate(holdings, delivery, next(found), look_again) if event_id else None
        for delivery, event_id in zip(deliveries, ids, strict=True)
    ]


async def _begun(holdings: Holdings, asked: Sequence[tuple[bytes, bytes]]) -> list[Begun] | Postpone:
    """Whether each event may be handled now; or until when to wait, as Redis cannot be asked."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    if wait := holdings.gate.wait(now):
        return Postpone(now + wait)
    try:
        begun = await _ask(holdings, asked)
    except RedisStreamsError as error:
        now = loop.time()
        wait = holdings.gate.refused(now)
        holdings.telemetry.emit(StepFailed.of("look for duplicates", error, wait))
        return Postpone(now + wait)
    holdings.gate.passed()
    return begun


def copies_to_ask_after(holdings: Holdings, schedule: Schedule, now: float) -> list[Delivery]:
    """Copies that were set aside and that it is time to ask after, or nearly so: as many as one step takes."""
    return schedule.take_aside(now + TOGETHER * _pause(holdings), ASKED_AT_ONCE)


def _pause(holdings: Holdings) -> float:
    return min(LOOK_AGAIN, holdings.lease / 3)


async def ask_again(holdings: Holdings, schedule: Schedule, acks: Acknowledgements, copies: Sequence[Delivery]) -> None:
    """Ask after copies that were set aside. They queue up to be handled, wait on, or are acknowledged as done."""
    fates = await to_its_end(lambda: begin(holdings, copies))
    next_ones: list[Delivery] = []
    for delivery, fate in zip(copies, fates, strict=True):
        if delivery.lost:
            continue
        if isinstance(fate, AwaitCopy | Postpone):
            schedule.set_aside(delivery, fate.until)
            continue
        delivery.fate = None
        if fate is None:
            next_ones.append(delivery)
        else:
            acks.add(delivery)
    schedule.queue_up(next_ones)


async def _ask(holdings: Holdings, asked: Sequence[tuple[bytes, bytes]]) -> list[Begun]:
    """Begin each event, part by part."""
    begun: list[Begun] = []
    for start in range(0, len(asked), ASKED_AT_ONCE):
        part = asked[start : start + ASKED_AT_ONCE]
        begun += await begin_events(holdings.connection, holdings.who, part, round(FORGOTTEN_AFTER * 1000))
    return begun


def _fate(holdings: Holdings, delivery: Delivery, begun: Begun, look_again: float) -> Fate | None:
    if begun is Begun.OURS:
        return None
    if begun is Begun.DONE:
        holdings.telemetry.emit(DuplicateDropped(**holdings.about(delivery)))
        return ACK
    return AwaitCopy(look_again)
