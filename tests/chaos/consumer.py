"""A consumer process: handles the lines of `solo` or of `team`, and notes what it does.

python -m tests.chaos.consumer URL NAME INCARNATION FOLDER
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis_streams_aio.broker import Broker
from redis_streams_aio.config import Settings
from redis_streams_aio.events.batch import BatchDelivery
from redis_streams_aio.events.delivery import Delivery
from redis_streams_aio.handlers.retry import RetryPolicy
from redis_streams_aio.telemetry import (
    DeadLettered,
    DuplicateDropped,
    Fact,
    GroupFact,
    GroupRecreated,
    LeaseLost,
    Postponed,
    RetryScheduled,
)
from tests.chaos import child
from tests.chaos.history import History
from tests.chaos.workload import COMMAND_TIMEOUT, LEASE, LINES, NAME_OF_STREAM, SOLO, WITH_LEASE_THREAD, Work, invoice

RETRY = RetryPolicy(max_failures=4, base=0.1, cap=1.0)


class Worker:
    """The handlers of one process, and its history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._batches = 0

    def observe(self, fact: Fact) -> None:
        """Note the facts that the verdict needs."""
        if not isinstance(fact, GroupFact):
            return
        line = NAME_OF_STREAM[fact.stream]
        match fact:
            case RetryScheduled(id=entry_id, delay=delay) | Postponed(id=entry_id, delay=delay):
                self.history.note("retrying", line=line, id=entry_id, detail=f"{delay}")
            case DeadLettered(id=entry_id, reason=reason):
                self.history.note("gave_up", line=line, id=entry_id, detail=reason)
            case DuplicateDropped(id=entry_id):
                self.history.note("dropped", line=line, id=entry_id)
            case LeaseLost(id=entry_id):
                self.history.note("lost", line=line, id=entry_id)
            case GroupRecreated(position=position):
                self.history.note("recreated", line=line, detail=position)

    @contextmanager
    def _noted(self, delivery: Delivery, work: Work) -> Iterator[None]:
        line, note = NAME_OF_STREAM[delivery.stream], self.history.note
        note("begun", line=line, id=delivery.id, name=work.name, detail=work.key)
        try:
            yield
        except asyncio.CancelledError:
            note("cancelled", line=line, id=delivery.id, name=work.name)
            raise
        except ValueError:
            note("failed", line=line, id=delivery.id, name=work.name)
            raise
        note("handled", line=line, id=delivery.id, name=work.name)

    async def handle(self, work: Work, delivery: Delivery) -> None:
        """Take the time it takes, and fail if it is to fail."""
        with self._noted(delivery, work):
            await asyncio.sleep(work.seconds)
            if is_to_fail(work, delivery):
                raise ValueError("told to fail")

    async def bill(self, order: Work, delivery: Delivery) -> None:
        """The same, with a follow-up."""
        with self._noted(delivery, order):
            delivery.publish(LINES["invoices"].stream, invoice(delivery.id))
            await asyncio.sleep(order.seconds)
            if is_to_fail(order, delivery):
                raise ValueError("told to fail")

    async def load(self, works: list[Work], batch: BatchDelivery) -> None:
        """A batch: each item has its fate."""
        self._batches += 1
        mark = f"{self.history.process}/{self._batches}"
        items = list(zip(works, batch, strict=True))
        for work, delivery in items:
            self.history.note("begun", line="loads", id=delivery.id, name=work.name, detail=mark)
        try:
            await asyncio.sleep(sum(work.seconds for work in works))
        except asyncio.CancelledError:
            for work, delivery in items:
                self.history.note("cancelled", line="loads", id=delivery.id, name=work.name)
            raise
        for index, (work, delivery) in enumerate(items):
            fails = is_to_fail(work, delivery)
            self.history.note("failed" if fails else "handled", line="loads", id=delivery.id, name=work.name)
            if fails:
                batch.fail(index, ValueError("told to fail"))


def is_to_fail(work: Work, delivery: Delivery) -> bool:
    """Whether this attempt is one that fails."""
    return work.poison or delivery.failures < work.fails


def build(url: str, name: str, worker: Worker) -> Broker:
    """The broker with the handlers of `solo`, or of one of the team."""
    settings = Settings(
        consumer=SOLO if name == SOLO else None,
        lease_thread=name in WITH_LEASE_THREAD,
        block_ms=500,
        command_timeout=COMMAND_TIMEOUT,
        reclaim_interval=0.3,
        checkpoint_interval=0.5,
        grace=2.0,
    )
    broker = Broker(url, settings=settings, observers=[worker.observe])
    (_solo if name == SOLO else _team)(broker, worker)
    return broker


def _solo(broker: Broker, worker: Worker) -> None:
    ledger, accounts, loads = (LINES[name] for name in ("ledger", "accounts", "loads"))
    broker.handler(ledger.stream, group=ledger.group, lease=LEASE, retry=RETRY)(worker.handle)
    broker.handler(accounts.stream, group=accounts.group, lease=LEASE, retry=RETRY, concurrency=8, key=_key)(
        worker.handle
    )
    broker.handler(loads.stream, group=loads.group, lease=LEASE, retry=RETRY, batch=20, within=0.05)(worker.load)


def _key(work: Work) -> str:
    return work.key


def _team(broker: Broker, worker: Worker) -> None:
    for name, handler in (("clicks", worker.handle), ("orders", worker.bill), ("invoices", worker.handle)):
        line = LINES[name]
        broker.handler(line.stream, group=line.group, lease=LEASE, retry=RETRY, concurrency=8)(handler)
    line = LINES["mails"]
    broker.handler(line.stream, group=line.group, lease=LEASE, retry=RETRY, concurrency=8, key=_key)(worker.handle)
    line = LINES["payments"]
    broker.handler(line.stream, group=line.group, lease=LEASE, retry=RETRY, concurrency=8, deduplicate=3600.0)(
        worker.handle
    )


async def run(url: str, name: str, history: History) -> None:
    """Until SIGTERM, and through the drain."""
    child.obey(history)
    watching = asyncio.create_task(child.pulse(history))
    history.note("started")
    await build(url, name, Worker(history)).run()
    watching.cancel()
    history.note("stopped")


def main() -> None:
    """Run a consumer until the stage ends it."""
    url, name, incarnation, folder = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(levelname)s %(message)s")
    asyncio.run(run(url, name, History(Path(folder), f"{name}.{incarnation}")))


if __name__ == "__main__":
    main()
