"""A run: the stage is set, the schedule carried out, and then everything has to come to rest by itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.chaos import child, look
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.chaos.schedule import Topology, schedule
from tests.chaos.stage import Stage, set_up
from tests.chaos.workload import CONSUMERS, PRODUCERS

TIME_TO_SETTLE = 40.0
"""Seconds after the last fault in which nothing may be left pending or unread."""


async def run(seed: int, minutes: float, kind: str, folder: Path, topology: Topology) -> None:
    """One run; what happened is in the histories in `folder`. Raises `LookupError` where there is no such server."""
    history = History(folder, "nemesis")
    pulse = asyncio.create_task(child.pulse(history))
    try:
        async with set_up(topology, kind, folder, seed, history) as stage:
            history.note("started")
            nemesis = Nemesis(stage)
            began = time.monotonic()
            await nemesis.run(schedule(seed, minutes, topology))
            await asyncio.sleep(max(0.0, began + minutes * 60 - time.monotonic()))
            await _come_to_rest(stage, nemesis)
            history.note("stopped")
    finally:
        pulse.cancel()
        history.close()


async def _come_to_rest(stage: Stage, nemesis: Nemesis) -> None:
    await stage.drain(PRODUCERS)
    seen = await nemesis.look()
    deadline = time.monotonic() + TIME_TO_SETTLE
    while not look.settled(seen.values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        seen = await nemesis.look()
    for name, one in seen.items():
        for entry_id, event in one.open.items():
            stage.history.note("stuck", line=name, id=entry_id, name=event)
        if one.pending and not one.open:
            stage.history.note("stuck", line=name, detail=f"{one.pending} pending ids without entries")
    if nemesis.sets is not None:
        for line, entry_id, event in await asyncio.to_thread(list, nemesis.sets.kept()):
            stage.history.note("kept", line=line, id=entry_id, name=event)
    stage.history.note("drained")
    await stage.drain(CONSUMERS)
    nemesis.note_dead(await nemesis.look())
