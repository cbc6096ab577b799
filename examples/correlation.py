"""One id for everything that follows from one request: in the events, in handlers, and in log lines.

A request places an order, the order makes an invoice, and the invoice is sent. The id of the request is in the headers
of both events, and in each line that is logged on the way.

    python examples/correlation.py

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import asyncio
import logging
import os
import sys

import msgspec

from redis_streams_aio import Broker, Delivery, RetryPolicy
from redis_streams_aio.middleware import Correlation, LogContext, timeout

INVOICES = "{orders}:invoices"  # the braces: on the same slot of a Cluster as `orders`, where one step can write both

correlation = Correlation()
context = LogContext(correlation)
log = logging.getLogger("shop")


class OrderPlaced(msgspec.Struct, frozen=True):
    """A payload; its name is the event type."""

    order_id: str


class Invoice(msgspec.Struct, frozen=True):
    """The payload of the follow-up."""

    order_id: str


class Lines(logging.Formatter):
    """Shows the id, the handler and the attempt, where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        of = " ".join(str(getattr(record, name)) for name in ("handler", "attempt") if hasattr(record, name))
        return f"[{getattr(record, 'correlation_id', '-')}] {of or 'request'}: {record.getMessage()}"


broker = Broker(
    os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"),
    group="shop",
    middleware=[correlation.handling, context.handling, timeout(30)],
    publish_middleware=[correlation.publishing],
)


@broker.handler("orders", retry=RetryPolicy(base=0.05))
async def bill(order: OrderPlaced, delivery: Delivery) -> None:
    """Fails the first time: the next attempt has the same id."""
    if delivery.attempt == 1:
        log.info("the tax office is not there")
        raise ConnectionError
    log.info("%s billed", order.order_id)
    delivery.publish(INVOICES, Invoice(order.order_id))


@broker.handler(INVOICES)
async def send(invoice: Invoice) -> None:
    """Knows the id of a request that is long over."""
    log.info("invoice for %s sent", invoice.order_id)
    sent.set()


sent = asyncio.Event()


async def request(request_id: str, order_id: str) -> None:
    """Stand for an HTTP request that has an id."""
    with correlation.using(request_id):
        log.info("%s placed", order_id)
        await broker.publish("orders", OrderPlaced(order_id))


async def main() -> None:
    """Open the broker, publish, wait, close it."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(Lines())
    lines.addFilter(context)
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    async with broker:
        await request("req-7f3", "o-1")
        await sent.wait()


if __name__ == "__main__":
    asyncio.run(main())
