"""Options of handlers and of publishing, as users write them. A marked line must be an error to mypy and pyright."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from redis_streams_aio import (
    Broker,
    CallNext,
    Connection,
    Delivery,
    JsonCodec,
    Outgoing,
    PublishNext,
    RetryPolicy,
    Router,
    StreamProducer,
)
from redis_streams_aio.testing.running import Harness
from tests.events import Order

broker = Broker("memory://", group="billing")
router = Router(
    group="mail", retry=RetryPolicy(), lease=5, concurrency=2, middleware=(), codec=JsonCodec(), prefix="eu."
)


async def timed(delivery: Delivery, call_next: CallNext) -> None: ...
async def stamped(event: Outgoing, call_next: PublishNext) -> None:
    entry_id: str | None = await call_next(event.with_headers({"a": "b"}))
    await call_next()
    await call_next("orders")  # type: ignore[arg-type]
    event.with_headers({"a": len(entry_id or "")})  # type: ignore[dict-item]


Broker("memory://", publish_middleware=[stamped])
StreamProducer(Connection("memory://"), publish_middleware=(stamped,))
Broker("memory://", publish_middleware=[timed])  # type: ignore[list-item]


@broker.handler(
    "orders",
    group="mail",
    event_type="Order",
    concurrency=8,
    order="key",
    key=lambda order: order.id,
    start=datetime(2026, 1, 1, tzinfo=UTC),
    lease=10,
    timeout=5.0,
    retry=RetryPolicy(max_failures=3),
    dead_letter="graves",
    codec=JsonCodec(),
    middleware=[timed],
    unknown="skip",
    on_lost="continue",
    deduplicate=60,
    batch=10,
    within=0.5,
)
@router.handler(stream="orders")
async def bill(order: Order) -> None: ...


unchanged: Callable[[Order], Coroutine[Any, Any, None]] = bill
bill("no order")  # type: ignore[arg-type, unused-coroutine]

broker.handler()  # type: ignore[call-arg]
broker.handler(3)  # type: ignore[arg-type]
broker.handler("orders", "mail")  # type: ignore[call-arg]
broker.handler("orders", lese=30)  # type: ignore[call-arg]
broker.handler("orders", lease="30")  # type: ignore[arg-type]
broker.handler("orders", order="any")  # type: ignore[arg-type]
router.handler("orders", retry=3)  # type: ignore[arg-type]
router.handler("orders", groop="mail")  # type: ignore[call-arg]
Router(grup="mail")  # type: ignore[call-arg]
Router(lease="30")  # type: ignore[arg-type]
broker.handler("orders")(3)  # type: ignore[type-var]


async def publishing(producer: StreamProducer, delivery: Delivery, harness: Harness) -> None:
    entry_id: str = await broker.publish(
        "orders", {}, event_type="Order", key="ada", event_id="o-1", headers={"a": "b"}
    )
    entry_id = await producer.publish(stream="orders", payload=Order(1), key=None)
    entry_id = await harness.publish("orders", Order(1))
    ids: list[str] = await broker.publish_many("orders", [Order(1)], event_type="Order", headers={})
    await broker.publish("orders", Order(1), durability="replicated")
    await broker.publish("orders", Order(1), when_behind="wait")
    await broker.wait_for_capacity("orders", timeout=5)
    await harness.wait_for_capacity("orders")
    why: str = (await broker.pause("orders", group="billing", by="ada", why="a bad deploy")).why
    was_paused: bool = await broker.resume("orders", by=why)
    await producer.publish_many("orders", [Order(1)], durability="disk")
    delivery.publish("orders", Order(len(entry_id)), key="ada", atomic=bool(ids))

    await broker.publish("orders")  # type: ignore[call-arg]
    await broker.publish("orders", {}, when_behind="later")  # type: ignore[arg-type]
    await broker.pause("orders", by=was_paused)  # type: ignore[call-arg, arg-type]
    await broker.publish("orders", {}, "Order")  # type: ignore[call-arg]
    await broker.publish("orders", {}, kye="ada")  # type: ignore[call-arg]
    await producer.publish("orders", {}, headers={"a": 1})  # type: ignore[dict-item]
    await harness.publish(3, {})  # type: ignore[arg-type]
    await broker.publish("orders", {}, durability="tape")  # type: ignore[arg-type]
    await broker.publish_many("orders", [], key="ada")  # type: ignore[call-arg]
    await producer.publish_many("orders", 3)  # type: ignore[arg-type]
    delivery.publish("orders", {}, "Order")  # type: ignore[call-arg]
    delivery.publish("orders", {}, atomic="no")  # type: ignore[arg-type]
    delivery.publish("orders", {}, kye="ada")  # type: ignore[call-arg]
