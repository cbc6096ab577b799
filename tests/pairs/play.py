"""The play: any two traits on one stage.

A is open, and has settled some events. It is given the event in question, and has it in hand: in its handler, or
waiting for its time. B comes up beside it, and has something in hand too (with `deduplicate` a copy). Then what the
traits say happens. Whoever is left publishes one more event, and everything has to be settled in the end.
"""

from __future__ import annotations

import asyncio
from itertools import count

from redis_streams_aio.events import keys
from redis_streams_aio.testing.waiting import until
from tests.pairs import acts, invariants
from tests.pairs.books import At
from tests.pairs.handlers import Script
from tests.pairs.place import Place
from tests.pairs.stage import Stage
from tests.pairs.times import COUNT, MOST_FAILURES, PATIENCE
from tests.pairs.traits import Trait, Word

FIRST, ONLY_LEFT, ONLY_RIGHT, GIVEN_OUT, PLAIN = 0, 1, 2, 3, range(4, 8)
"""Events: one with the scripts of both traits, one with each of them, one that fails until it is given up."""
WARMING_UP = 8
HEAVY_WARMING_UP = 21
"""Enough for several handfuls at once, each larger than the one before."""
FILLERS = range(1000, 1024)
"""More than two brokers may hold of one subscription."""


def script(left: Trait, right: Trait) -> Script:
    """What becomes of the events."""
    words: dict[int, tuple[Word, ...]] = {FIRST: left.script + right.script}
    if left.script and right.script:
        words |= {ONLY_LEFT: left.script, ONLY_RIGHT: right.script}
    holding = frozenset(words)
    if left.gives_out or right.gives_out:
        words[GIVEN_OUT] = ("raise",) * MOST_FAILURES
    return Script(
        words,
        holding,
        frozenset(FILLERS if left.fills or right.fills else ()),
        follows=left.follows or right.follows,
        cleans_up_badly=left.cleans_up_badly or right.cleans_up_badly,
    )


async def play(place: Place, left: Trait, right: Trait) -> None:
    """Put two traits together, and see that everything holds."""
    stage = Stage(place, (left, right), script(left, right))
    async with stage.open():
        async with place.limited({**left.limits, **right.limits}):
            await _go_on(stage)
        await stage.close_the_books()
    terms = invariants.Terms(stage.traits, stage.orders, stage.script.words, filling=stage.script.filling)
    wrong = invariants.broken(stage.books, terms)
    assert not wrong, "\n".join([*wrong, stage.books.story()])


async def _go_on(stage: Stage) -> None:
    await _warm_up(stage)
    await _give_to_a(stage)
    await stage.b.open()
    await _give_to_b(stage)
    for trait in stage.traits:
        if trait.begin:
            await trait.begin(stage)
    for trait in stage.traits:
        if trait.end:
            await trait.end(stage)
    if stage.script.filling and not stage.a.is_open:
        await until(stage.is_handled_elsewhere, PATIENCE, "B, though it is full, handles what A left")
    stage.script.gate.set()
    stage.script.room.set()
    await stage.publish_by_who_is_left(PLAIN.stop)
    await stage.until_settled(PATIENCE)
    if any(trait.replays for trait in stage.traits):
        await acts.replay_the_others(stage)
        await stage.until_settled(PATIENCE)


async def _warm_up(stage: Stage) -> None:
    """Let A settle what waits for it, so that it knows how fast it is and reads more than one at a time."""
    how_many = HEAVY_WARMING_UP if stage.pad else WARMING_UP
    await stage.publish(range(100, 100 + how_many))
    await stage.a.open()
    await stage.until_settled(PATIENCE)
    look = stage.place.look

    async def saved() -> bool:
        for at in stage.everywhere:
            last = (await look.xinfo_stream(at.stream))["last-generated-id"]
            if await look.get(keys.checkpoint(at.stream, at.group)) != last:
                return False
        return True

    await until(saved, PATIENCE, "checkpoints are saved")


async def _give_to_a(stage: Stage) -> None:
    """The event in question, and some behind it."""
    replays = any(trait.replays for trait in stage.traits)
    await stage.publish([*stage.script.words, *PLAIN])
    if replays:
        await acts.replay_first(stage)
    await until(lambda: all(_has_in_hand(stage, at) for at in stage.everywhere), PATIENCE, "A has it in hand")


def _has_in_hand(stage: Stage, at: At) -> bool:
    """Whether A holds the event in question, and has begun with it."""
    attempts = stage.books.at(at, FIRST)
    if not attempts:
        return False
    if len(stage.script.words[FIRST]) == stage.books.said(attempts[-1].entry) and attempts[-1].outcome is not None:
        return attempts[-1].outcome == "reject"  # it was given up, and has come to its end
    return attempts[-1].outcome is None or stage.a.subscriptions[at].status.delayed > 0


async def _give_to_b(stage: Stage) -> None:
    """Something for B, until it has it, everywhere: copies, or other events."""
    for number in count(200):
        await stage.publish([FIRST, ONLY_LEFT, number] if stage.has_copies else [number], by=stage.b.broker)
        if all(_has_something(stage, at) for at in stage.everywhere):
            break
        await asyncio.sleep(0.01)
        assert number < 1000, f"B was given nothing:\n{await stage.unsettled()}"
    if stage.script.filling:
        await stage.publish(sorted(stage.script.filling))
        await until(lambda: all(_is_full(stage, at) for at in stage.everywhere), PATIENCE, "B is full")


def _is_full(stage: Stage, at: At) -> bool:
    """Whether B holds what waits: all that it may, where nothing else keeps it from reading."""
    running = stage.b.subscriptions[at]
    if stage.orders[at.stream] == "stream":
        return running.status.delayed > 0
    return len(running.holdings) >= running.options.concurrency * (running.options.batch or 1) + 2 * COUNT


def _has_something(stage: Stage, at: At) -> bool:
    """Whether B has begun with an event, or holds the copy that it is to hold."""
    if not stage.has_copies:
        return any(attempt.who == "B" and attempt.entry.at == at for attempt in stage.books.attempts)
    held = {entry.id for entry in stage.b.in_hand() if entry.at == at}
    return any(stage.books.published[at.stream].get(entry_id) == FIRST for entry_id in held)
