"""Duplicates: events that were published twice under one `event_id` are handled once (`deduplicate=`).

**Theory.** For each `event_id` a key beside the stream says how far the event has come. It holds the id of the entry
that is being handled, or `done` (for as long as `deduplicate` says). `done` is written by the script that
acknowledges the entry, so there is no moment in which the one is true without the other.

* No key: the event is new; its entry's id is written, and it is handled.
* Our own entry's id: an attempt before this one failed, or crashed; it is handled. A crash means a second run, never
  a loss, as nothing is dropped on the word of an entry that is not done.
* The id of another entry that is pending: a copy is in somebody's hands, or waits for its retry. This one waits too,
  and asks again. However long that takes, the two are not handled at once.
* The id of another entry that is pending no more: it was given up, or is gone. This one takes its place.
* `done`: a copy was handled. This one is acknowledged.

Within one process copies are handled one after another anyway (see `Subscription`). When Redis cannot be asked, the
delivery waits aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .. import naming
from ..connection import replies
from ..connection.packing import Argument
from ..connection.scripts import BEGIN_EVENTS, DONE
from ..delivery import Delivery
from ..entries import EVENT_ID, get
from ..exceptions import RedisStreamsError
from ..retry import DISCARD, Outcome, Postpone
from ..telemetry import DuplicateDropped, StepFailed
from .holdings import Holdings

LOOK_AGAIN = 1.0
"""Seconds after which a copy asks again whether the other one is done; less where leases are short."""
FORGOTTEN_AFTER = 86_400.0
"""Seconds after which the key of an event that was begun and never ended (its entry was deleted, say) is dropped."""


async def begin(holdings: Holdings, deliveries: Sequence[Delivery]) -> list[Outcome | None]:
    """For each delivery `None`: handle it; or the fate of a copy, or to wait while that cannot be known."""
    ids = [get(delivery.fields, EVENT_ID) for delivery in deliveries]
    asked = [(delivery, event_id) for delivery, event_id in zip(deliveries, ids, strict=True) if event_id]
    if not asked:
        return [None] * len(deliveries)
    loop = asyncio.get_running_loop()
    if wait := holdings.gate.wait(loop.time()):
        return [Postpone(wait)] * len(deliveries)
    try:
        answers = iter(await _ask(holdings, [(event_id, delivery.raw_id) for delivery, event_id in asked]))
    except RedisStreamsError as error:
        wait = holdings.gate.refused(loop.time())
        holdings.telemetry.emit(StepFailed.of("look for duplicates", error, wait))
        return [Postpone(wait)] * len(deliveries)
    holdings.gate.passed()
    return [
        _fate(holdings, delivery, next(answers)) if event_id else None
        for delivery, event_id in zip(deliveries, ids, strict=True)
    ]


async def _ask(holdings: Holdings, asked: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Who is at each event, as the script says."""
    keys = [naming.done(holdings.stream, holdings.group, event_id) for event_id, _ in asked]
    entry_ids = [entry_id for _, entry_id in asked]
    arguments: list[Argument] = [holdings.group, round(FORGOTTEN_AFTER * 1000), *entry_ids]
    reply = await holdings.connection.run(
        BEGIN_EVENTS, holdings.stream, *keys, *arguments, keys=1 + len(keys), purpose="settle"
    )
    return replies.words(len(keys), reply)


def _fate(holdings: Holdings, delivery: Delivery, holder: bytes) -> Outcome | None:
    if holder == delivery.raw_id:
        return None
    if holder == DONE:
        holdings.telemetry.emit(DuplicateDropped(**holdings.about(delivery)))
        return DISCARD
    return Postpone(min(LOOK_AGAIN, holdings.lease / 3))
