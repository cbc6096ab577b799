"""A broker in a plain asyncio script: publish orders, handle them in two groups, stop when all are settled.

Shows typed handlers, two groups that both get every order, order per customer beside concurrency, a handler that
fails and is retried, one that rejects an order for good, and an observer that tells of both.

    python examples/script.py

Without further ado it runs on an embedded Valkey (extra `embedded`). For a server of yours:

    REDIS_STREAMS_REDIS_URL=redis://localhost:6379/0 python examples/script.py
"""

import asyncio
import os

import msgspec

from redis_streams_aio import Broker, Delivery, Reject, RetryPolicy
from redis_streams_aio.telemetry import DeadLettered, Fact, RetryScheduled


class OrderPlaced(msgspec.Struct, frozen=True):
    """A payload; its name is the event type."""

    order_id: str
    customer: str
    total: float


def tell(fact: Fact) -> None:
    """An observer: gets every fact, picks what it wants."""
    match fact:
        case RetryScheduled():
            print(f"{fact.group}: failed {fact.failures} times, will be tried again: {fact.error}")
        case DeadLettered():
            print(f"{fact.group}: dead-lettered ({fact.reason}): {fact.error}")


broker = Broker(
    os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"),
    group="billing",
    observers=[tell],
)


@broker.handler("orders")
async def bill(order: OrderPlaced) -> None:
    """One after another, in stream order. Returning acknowledges, raising has it tried again."""
    if order.total <= 0:
        raise Reject("nothing to bill")  # no use in trying again: to the dead letters
    print(f"billing: {order.customer} owes {order.total:.2f} for {order.order_id}")


@broker.handler(
    "orders",
    group="mail",
    concurrency=8,
    key=lambda order: order.customer,  # customers beside each other, one customer's orders in their order
    retry=RetryPolicy(max_failures=5, base=0.1),
)
async def mail(order: OrderPlaced, delivery: Delivery) -> None:
    """Fails for grace the first time; `delivery` tells how often that happened."""
    if order.customer == "grace" and delivery.failures == 0:
        raise ConnectionError("the mail server is not there")
    print(f"mail: wrote to {order.customer} about {order.order_id}")


async def until_all_is_settled() -> None:
    """Until no group has anything left to read, to handle or to try again."""
    reports = await broker.measure_lag()
    while any(report.behind for report in reports):
        await asyncio.sleep(0.05)
        reports = await broker.measure_lag()


async def main() -> None:
    """Open the broker, publish, wait, close it."""
    async with broker:
        await broker.publish("orders", OrderPlaced("o-1", "ada", 42.0))
        await broker.publish_many(
            "orders",
            [OrderPlaced("o-2", "grace", 7.5), OrderPlaced("o-3", "ada", 0.0), OrderPlaced("o-4", "grace", 12.25)],
        )
        await until_all_is_settled()
    print("all settled")


if __name__ == "__main__":
    asyncio.run(main())
