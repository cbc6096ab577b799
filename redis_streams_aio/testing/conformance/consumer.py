"""A consumer as a process of its own, to be killed and frozen: prints a line for each start and end of a handler.

python -m redis_streams_aio.testing.conformance.consumer URL STREAM [--lease 0.4] [--hang 3] ...
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time

from redis_streams_aio import Broker, Delivery, RetryPolicy, Settings
from redis_streams_aio.testing.waiting import until

from .kit import LEASE, Order, subscriber

_NOBODY = -1


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _build(options: argparse.Namespace) -> Broker:
    async def work(order: Order, _: Delivery) -> None:
        _say("start", order.number)
        if order.number == options.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if order.number == options.hang:
            await asyncio.Event().wait()
        if order.number == options.block:
            time.sleep(options.work)  # noqa: ASYNC251  # the very fault
        await asyncio.sleep(options.work)
        if order.number == options.fail:
            raise ValueError("told to fail")
        _say("end", order.number)

    settings = Settings(
        consumer=options.name, grace=options.grace, lease_thread=options.lease_thread, reclaim_interval=0.1
    )
    retry = RetryPolicy(base=0.05, max_deliveries=options.max_deliveries)
    return subscriber(
        options.url,
        options.stream,
        work,
        settings=settings,
        concurrency=options.concurrency,
        lease=options.lease,
        retry=retry,
    )


async def _run(options: argparse.Namespace) -> None:
    broker = _build(options)
    running = asyncio.create_task(broker.run())
    await until(lambda: broker.status or running.done(), 20, "the consumer is ready")
    _say("ready")
    await running


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("stream")
    parser.add_argument("--name")
    parser.add_argument("--lease-thread", action="store_true")
    for option, seconds in (("lease", LEASE), ("work", 0.005), ("grace", 30.0)):
        parser.add_argument(f"--{option}", type=float, default=seconds)
    for option, number in (("concurrency", 1), ("max-deliveries", 20)):
        parser.add_argument(f"--{option}", type=int, default=number)
    for fault in ("hang", "die", "fail", "block"):
        parser.add_argument(f"--{fault}", type=int, default=_NOBODY, metavar="NUMBER")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="log %(message)s")
    logging.getLogger("redis_streams_aio").setLevel(logging.INFO)
    asyncio.run(_run(_options()))
