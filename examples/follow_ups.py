"""Doing things once: follow-ups that are published with the acknowledgement, and duplicates that are dropped.

Each order makes an invoice. The invoice is published in one atomic step with the acknowledgement of the order, so
there is one for each order however often its handler is tried. An order that was published twice, as its publisher
could not know whether the first time had worked, is billed once.

    python examples/follow_ups.py

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import asyncio
import os

import msgspec

from redis_streams_aio import Broker, Delivery, RedisUnavailableError, RetryPolicy
from redis_streams_aio.telemetry import DuplicateDropped, Fact

INVOICES = "{orders}:invoices"  # the braces: on the same slot of a Cluster as `orders`, where one step can write both


class OrderPlaced(msgspec.Struct, frozen=True):
    """A payload; its name is the event type."""

    order_id: str
    customer: str
    total: float


class Invoice(msgspec.Struct, frozen=True):
    """The payload of the follow-up."""

    order_id: str
    customer: str
    total: float


def tell(fact: Fact) -> None:
    """An observer."""
    match fact:
        case DuplicateDropped():
            print(f"{fact.group}: dropped a duplicate")


broker = Broker(
    os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"),
    group="billing",
    observers=[tell],
)


@broker.handler("orders", deduplicate=3600, retry=RetryPolicy(base=0.05))
async def bill(order: OrderPlaced, delivery: Delivery) -> None:
    """Fails for grace the first time: then nothing is published, and the next try publishes anew."""
    delivery.publish(INVOICES, Invoice(order.order_id, order.customer, order.total), key=order.customer)
    if order.customer == "grace" and delivery.failures == 0:
        print(f"billing: {order.order_id} failed")
        raise ConnectionError("the tax office is not there")
    print(f"billing: {order.order_id} billed")


@broker.handler(INVOICES, group="post")
async def send(invoice: Invoice) -> None:
    """Gets one invoice for each order."""
    print(f"post: {invoice.customer} owes {invoice.total:.2f} for {invoice.order_id}")


async def place(order: OrderPlaced) -> None:
    """Publish until Redis has said that it has the order. Copies that this makes have the same `event_id`."""
    published = False
    while not published:
        try:
            await broker.publish("orders", order, event_id=f"placed:{order.order_id}")
            published = True
        except RedisUnavailableError:  # also when no answer came: the order may be there, or not
            await asyncio.sleep(0.1)


async def until_all_is_settled() -> None:
    """Until no group has anything left to read, to handle or to try again."""
    reports = await broker.measure_lag()
    while any(report.behind for report in reports):
        await asyncio.sleep(0.05)
        reports = await broker.measure_lag()


async def main() -> None:
    """Open the broker, publish, wait, close it."""
    async with broker:
        await place(OrderPlaced("o-1", "ada", 42.0))
        await place(OrderPlaced("o-2", "grace", 7.5))
        await place(OrderPlaced("o-1", "ada", 42.0))  # as if the answer to the first had been lost
        await until_all_is_settled()


if __name__ == "__main__":
    asyncio.run(main())
