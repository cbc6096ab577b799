"""Acts: what happens in the middle of a play."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis_streams_aio.events import keys
from redis_streams_aio.events.entry_ids import parse
from redis_streams_aio.testing.waiting import until
from tests.pairs.books import Entry
from tests.pairs.times import PATIENCE

if TYPE_CHECKING:
    from tests.pairs.stage import Stage


async def begin_to_drain(stage: Stage) -> None:
    """Broker A is stopped, while it has something in its handlers; they have time enough."""
    stage.books.moved |= await stage.in_hand_of_a()
    stage.a.begin_to_close()


async def end_of_drain(stage: Stage) -> None:
    """What had not begun is with others already; now its handlers get no more time."""
    await until(stage.a.holds_only_what_runs, PATIENCE, "A has given back what has not begun")
    await stage.a.close_now()


async def crash(stage: Stage) -> None:
    """The process of broker A dies: from one moment to the next it sends nothing."""
    in_hand = await stage.in_hand_of_a()
    stage.books.moved |= in_hand
    stage.books.excused |= in_hand
    await stage.a.crash()


async def lose_group(stage: Stage) -> None:
    """The groups are destroyed: what is above a checkpoint comes once more."""
    look = stage.place.look
    for at in stage.everywhere:
        checkpoint = await look.get(keys.checkpoint(at.stream, at.group))
        published = stage.books.published[at.stream]
        lost = {Entry(at, entry_id) for entry_id in published if parse(entry_id) > parse(checkpoint)}
        stage.books.moved |= lost
        stage.books.excused |= lost
        await look.xgroup_destroy(at.stream, at.group)


async def fail_over(stage: Stage) -> None:
    """The replica is promoted; the old primary lives on, and so do the connections to it."""
    await stage.place.fail_over()
    await stage.meet_primary()


async def replay_first(stage: Stage) -> None:
    """What was given up first, everywhere, is replayed."""
    for at in stage.everywhere:
        await until(lambda at=at: stage.letters(at).count(), PATIENCE, f"a dead letter of {at}")
        await stage.letters(at).replay()


async def replay_the_others(stage: Stage) -> None:
    """What was given up later is replayed, but what was replayed before."""
    for at in stage.everywhere:
        fresh = [letter.id for letter in await stage.letters(at).list(count=1000) if not letter.replays]
        if fresh:
            await stage.letters(at).replay(fresh)


async def outlast_a_lease(stage: Stage) -> None:
    """Broker A has something in hand for longer than a lease: it has to be renewed."""
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 1.5 * stage.lease, PATIENCE, "a lease has gone by")
