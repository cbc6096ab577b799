"""Tests of handlers: what they do when the bank is away, when they are cut off, and when an event comes twice.

pip install 'redis-streams-aio[testing]'
pytest examples/test_orders.py
"""

import asyncio

import msgspec
import pytest

from redis_streams_aio import Broker, Delivery, Reject, RetryPolicy, testing


class OrderPlaced(msgspec.Struct):
    """An order, as it is published."""

    order_id: str
    customer: str
    total: float


# -- the application: as a rule in modules of its own -----------------------------------------------------------

broker = Broker("redis://localhost:6379/0", group="billing")
billed: dict[str, float] = {}
mails: list[str] = []


@broker.handler("orders", retry=RetryPolicy(max_failures=3, base=60))
async def bill(order: OrderPlaced, delivery: Delivery) -> None:
    """Bill an order; doing it twice does no harm."""
    if not order.total:
        raise Reject("nothing to bill")
    await asyncio.sleep(0.1)  # the bank
    billed[order.order_id] = order.total
    delivery.publish("{orders}:billed", order, event_id=order.order_id)


@broker.handler("{orders}:billed", group="mail", deduplicate=3600)
async def mail(order: OrderPlaced) -> None:
    """Write to the customer."""
    mails.append(order.customer)


# -- its tests --------------------------------------------------------------------------------------------------

ORDER = OrderPlaced("o-1", "ada", 42.0)


@pytest.fixture(autouse=True)
def _nothing_billed() -> None:
    billed.clear()
    mails.clear()


@pytest.mark.asyncio
async def test_an_order_is_billed_when_the_bank_is_back() -> None:
    """The delays of a minute and two take no time."""
    async with testing.harness(broker, "memory://") as h:
        h.fail_next(2, ConnectionError("no bank"), handler=bill)
        await h.publish("orders", ORDER)
        await h.settled()
        h.assert_handled(ORDER, handler=bill)
    assert billed == {"o-1": 42.0}
    assert mails == ["ada"]


@pytest.mark.asyncio
async def test_a_bank_that_stays_away_makes_a_dead_letter() -> None:
    """Three failures are enough."""
    async with testing.harness(broker, "memory://") as h:
        h.fail_next(3, ConnectionError("no bank"), handler=bill)
        await h.publish("orders", ORDER)
        await h.settled()
        h.assert_dead_letter(ORDER, "failures")
        assert await h.published("{orders}:billed", OrderPlaced) == []


@pytest.mark.asyncio
async def test_an_order_is_billed_though_the_process_dies_in_the_middle() -> None:
    """On a real server, because it can be had."""
    async with testing.harness(broker, "embedded://") as h:
        await h.publish("orders", ORDER)
        await h.called(bill)
        await h.crash()
        assert billed == {}
        await h.settled()
        h.assert_handled(ORDER, handler=bill)
    assert mails == ["ada"]


@pytest.mark.asyncio
async def test_a_customer_gets_one_mail_though_everything_is_delivered_twice() -> None:
    """The bill is made again, which does no harm; the second follow-up of one `event_id` is dropped."""
    async with testing.harness(broker, "memory://") as h:
        await h.publish("orders", ORDER)
        await h.settled()
        assert await h.redeliver() == 2
        await h.settled()
        h.assert_handled(ORDER, handler=bill, times=2)
        h.assert_handled(ORDER, handler=mail, times=1)
    assert mails == ["ada"]


@pytest.mark.asyncio
async def test_orders_about_nothing_are_rejected() -> None:
    """At once: a rejection is no failure that could be tried again."""
    async with testing.harness(broker, "memory://") as h:
        await h.publish("orders", OrderPlaced("o-2", "ada", 0.0))
        await h.settled()
        [letter] = await h.dead_letters("orders")
        assert (letter.reason, letter.error) == ("rejected", "nothing to bill")
