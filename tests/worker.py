"""A consumer as a process of its own, for tests that kill and freeze it: prints a line for each start and end of a
handler.

python -m tests.worker URL [--group g] [--lease 1] [--work 0.01] [--concurrency 1] [--name N] [--hang N] [--die N]
[--fail N] [--grace 30] [--order none] [--later SECONDS] [--most-waiting N] [--sweep g,h]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from redis_streams_aio import Broker, Delivery, Retention, RetryLater, RetryPolicy, Settings, StreamSettings
from redis_streams_aio.consumer import room
from redis_streams_aio.monitoring import sweeper
from tests.events import Order


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def build(options: argparse.Namespace) -> Broker:
    settings = Settings(
        consumer=options.name,
        reclaim_interval=options.reclaim,
        grace=options.grace,
        checkpoint_interval=0.05,
        streams={options.stream: StreamSettings(retention=_retention(options))},
    )
    broker = Broker(options.url, group=options.group, settings=settings)
    retry = RetryPolicy(base=0.05, max_failures=options.max_failures, max_deliveries=options.max_deliveries)

    if options.batch:
        _batches(broker, options, retry)
        return broker

    @broker.handler(
        options.stream,
        concurrency=options.concurrency,
        order=options.order,
        lease=options.lease,
        retry=retry,
        deduplicate=options.deduplicate,
    )
    async def handle(order: Order, delivery: Delivery) -> None:
        say("start", order.number, delivery.deliveries, delivery.failures)
        if order.number == options.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if order.number == options.hang:
            await asyncio.sleep(3600)
        if options.later:
            raise RetryLater(options.later)
        await asyncio.sleep(options.work)
        if order.number == options.fail:
            raise ValueError("told to fail")
        if options.follow_up:
            delivery.publish(options.follow_up, order)
        say("end", order.number)

    return broker


def _retention(options: argparse.Namespace) -> Retention | None:
    return Retention(acknowledged=True, groups=options.sweep.split(",")) if options.sweep else None  # type: ignore[arg-type]


def _batches(broker: Broker, options: argparse.Namespace, retry: RetryPolicy) -> None:
    @broker.handler(options.stream, batch=options.batch, within=0.05, lease=options.lease, retry=retry)
    async def load(orders: list[Order]) -> None:
        for order in orders:
            say("start", order.number)
            if order.number == options.die:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(options.work)
        for order in orders:
            say("end", order.number)


async def run(options: argparse.Namespace) -> None:
    room.MOST_WAITING = options.most_waiting
    sweeper.INTERVAL = 0.02
    broker = build(options)
    running = asyncio.create_task(broker.run())
    while not broker.status and not running.done():
        await asyncio.sleep(0.001)
    say("ready")
    await running
    say("stopped")


def main() -> None:
    logging.basicConfig(stream=sys.stdout, format="log %(message)s")
    logging.getLogger("redis_streams_aio").setLevel(logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--stream", default="orders")
    parser.add_argument("--group", default="g")
    parser.add_argument("--name")
    parser.add_argument("--follow-up")
    parser.add_argument("--deduplicate", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--order")
    parser.add_argument("--sweep", help="groups that must have settled what is deleted")
    for option, kind, default in (
        ("lease", float, 1.0),
        ("work", float, 0.01),
        ("reclaim", float, 0.2),
        ("grace", float, 30.0),
        ("later", float, 0.0),
        ("most-waiting", int, room.MOST_WAITING),
        ("concurrency", int, 1),
        ("max-failures", int, 5),
        ("max-deliveries", int, 20),
        ("hang", int, -1),
        ("die", int, -1),
        ("fail", int, -1),
    ):
        parser.add_argument(f"--{option}", type=kind, default=default)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
