"""A producer process: publishes to every line, one task each, and notes every attempt and what came of it.

python -m tests.chaos.producer URL NAME INCARNATION FOLDER SEED
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from pathlib import Path

from redis_streams_aio.broker import Broker
from redis_streams_aio.config import Settings
from redis_streams_aio.exceptions import RedisUnavailableError, UnansweredError
from tests.chaos import child
from tests.chaos.history import History
from tests.chaos.workload import COMMAND_TIMEOUT, LINES, PUBLISHED, Work, make_work

PAUSE = 0.07
"""Seconds between two events of a line, on average."""
TWICE = 0.05
"""The part of `payments` that is published twice though the first was acknowledged."""
COPIES = 3
"""Copies of each of `payments` that fails at first: another process may have one while the first one fails."""
SPREAD = 0.5
"""Seconds within which they are published."""


class Publisher:
    """Publishes until it is stopped."""

    def __init__(self, broker: Broker, history: History, seed: str) -> None:
        self._broker = broker
        self._history = history
        self._seed = seed
        self._copies: list[tuple[float, Work]] = []
        self.stopping: asyncio.Event = asyncio.Event()

    async def run(self) -> None:
        """All lines beside each other."""
        async with asyncio.TaskGroup() as lines:
            for line in PUBLISHED:
                lines.create_task(self._run_line(line))

    async def _run_line(self, line: str) -> None:
        source = random.Random(f"{self._seed}/{self._history.process}/{line}")
        number = 0
        while not self.stopping.is_set():
            number += 1
            work = make_work(line, self._history.process, number, source)
            if line == "payments":
                await self._pay(work)
                for copy in self._copies_of(work, source):
                    await self._publish("payments", copy, event_id=copy.name)
            else:
                await self._publish(line, work)
            await asyncio.sleep(source.uniform(0, 2 * PAUSE))

    async def _pay(self, work: Work) -> None:
        """Published until it is acknowledged, always under the same `event_id`."""
        acknowledged = False
        while not acknowledged and not self.stopping.is_set():
            acknowledged = await self._publish("payments", work, event_id=work.name)

    def _copies_of(self, work: Work, source: random.Random) -> list[Work]:
        """The copies to publish now: some of this event at once; those of one that fails at first come by and by."""
        now = asyncio.get_running_loop().time()
        if work.fails:
            self._copies += [(now + source.uniform(0, SPREAD), work) for _ in range(COPIES)]
        elif source.random() < TWICE:
            self._copies.append((now, work))
        due = [copy for copy in self._copies if copy[0] <= now]
        self._copies = [copy for copy in self._copies if copy[0] > now]
        return [work for _, work in due]

    async def _publish(self, line: str, work: Work, event_id: str | None = None) -> bool:
        """One attempt; whether it was acknowledged."""
        note = self._history.note
        note("attempted", line=line, name=work.name)
        try:
            entry_id = await self._broker.publish(LINES[line].stream, work, event_id=event_id)
        except UnansweredError:
            note("unanswered", line=line, name=work.name)
        except RedisUnavailableError:
            note("refused", line=line, name=work.name)
        else:
            note("acknowledged", line=line, id=entry_id, name=work.name)
            return True
        return False


async def run(url: str, history: History, seed: str) -> None:
    """Until SIGTERM."""
    child.obey(history)
    broker = Broker(url, settings=Settings(command_timeout=COMMAND_TIMEOUT))
    publisher = Publisher(broker, history, seed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, publisher.stopping.set)
    watching = asyncio.create_task(child.pulse(history))
    history.note("started")
    async with broker:
        await publisher.run()
    watching.cancel()
    history.note("stopped")


def main() -> None:
    """Run a producer until the stage ends it."""
    url, name, incarnation, folder, seed = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(levelname)s %(message)s")
    asyncio.run(run(url, History(Path(folder), f"{name}.{incarnation}"), seed))


if __name__ == "__main__":
    main()
