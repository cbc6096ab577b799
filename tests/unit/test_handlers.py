"""Handlers are checked when they are decorated: what cannot work is a clear error at import time."""

from __future__ import annotations

from datetime import datetime

import pytest

from redis_streams_aio import Broker, Delivery, FieldsCodec, HandlerDefinitionError, RawCodec, RetryPolicy, Router
from tests.events import Cancelled, Order


def broker() -> Broker:
    return Broker("memory://", group="g")


def test_a_function_that_is_no_coroutine_function() -> None:
    with pytest.raises(HandlerDefinitionError, match="handler bill: .*write it as 'async def bill"):

        @broker().handler("orders")  # type: ignore[type-var]
        def bill(order: Order) -> None: ...


def test_no_annotation() -> None:
    with pytest.raises(HandlerDefinitionError, match="handler bill: annotate 'order'"):

        @broker().handler("orders")
        async def bill(order) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize("count", [0, 3])
def test_wrong_number_of_parameters(count: int) -> None:
    async def none() -> None: ...

    async def three(a: Order, b: Delivery, c: int) -> None: ...

    with pytest.raises(HandlerDefinitionError, match=r"takes \(payload\) or \(payload, delivery: Delivery\)"):
        broker().handler("orders")(none if count == 0 else three)


def test_a_second_parameter_that_is_no_delivery() -> None:
    with pytest.raises(HandlerDefinitionError, match="annotate 'other' with Delivery"):

        @broker().handler("orders")
        async def bill(order: Order, other: int) -> None: ...


def test_an_annotation_that_cannot_be_resolved() -> None:
    class Local: ...

    with pytest.raises(HandlerDefinitionError, match="'Local' is not defined; define the payload's type at the top"):

        @broker().handler("orders")
        async def bill(order: Local) -> None: ...


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"concurrency": 0}, "concurrency=0: expected a whole number, 1 to 10000"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"key": len, "order": "stream"}, 'key with order="stream"'),
        ({"key": len, "order": "none"}, 'key with order="none"'),
        ({"order": "stream", "concurrency": 2}, "stream order means one at a time"),
        ({"order": "random"}, 'expected "stream", "key" or "none"'),
        ({"lease": 0}, "lease=0: expected seconds"),
        ({"lease": "30s"}, "lease='30s': expected seconds"),
        ({"timeout": 0}, "timeout=0: expected seconds above 0"),
        ({"start": "yesterday"}, "start='yesterday'"),
        ({"start": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"unknown": "drop"}, 'expected "dead_letter" or "skip"'),
        ({"group": ""}, "group: the name is empty"),
        ({"dead_letter": "a b"}, "dead_letter: the name"),
        ({"event_type": ""}, "event_type: is empty"),
        ({"codec": RawCodec()}, "RawCodec gives bytes, the handler takes Order"),
    ],
)
def test_options_that_cannot_work(options: dict[str, object], expected: str) -> None:
    with pytest.raises(HandlerDefinitionError, match=f"handler bill: .*{expected}"):

        @broker().handler("orders", **options)  # type: ignore[arg-type]
        async def bill(order: Order) -> None: ...


def test_fields_have_no_bytes() -> None:
    with pytest.raises(HandlerDefinitionError, match="FieldsCodec reads fields, not bytes"):

        @broker().handler("orders", codec=FieldsCodec())
        async def bill(order: bytes) -> None: ...


def test_two_handlers_for_one_event_type() -> None:
    both = broker()

    @both.handler("orders")
    async def one(order: Order) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="handlers one and two both take event type 'Order' of 'orders'"):

        @both.handler("orders")
        async def two(order: Order) -> None: ...

    @both.handler("orders", event_type="Other")
    async def three(order: Order) -> None: ...

    @both.handler("orders", group="another")
    async def four(order: Order) -> None: ...

    @both.handler("orders")
    async def five(order: dict) -> None: ...  # type: ignore[type-arg]

    with pytest.raises(HandlerDefinitionError, match="both take every event type"):

        @both.handler("orders")
        async def six(order: bytes) -> None: ...


def test_handlers_that_share_a_subscription_must_agree() -> None:
    both = broker()

    @both.handler("orders", concurrency=4)
    async def one(order: Order) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="one and two share the subscription orders/g and differ in conc"):

        @both.handler("orders")
        async def two(cancelled: Cancelled) -> None: ...

    @both.handler("orders", concurrency=4, retry=RetryPolicy(max_failures=1), timeout=5)
    async def three(cancelled: Cancelled) -> None: ...


def test_no_group_anywhere() -> None:
    with pytest.raises(HandlerDefinitionError, match="handler bill: has no group; give group= here"):

        @Broker("memory://").handler("orders")
        async def bill(order: Order) -> None: ...


def test_a_router_checks_within_itself_and_again_when_it_is_included() -> None:
    router, whole = Router(), broker()

    @router.handler("orders")
    async def one(order: Order) -> None: ...

    with pytest.raises(HandlerDefinitionError):

        @router.handler("orders")
        async def two(order: Order) -> None: ...

    whole.include(router)
    whole.include(router, prefix="eu:")
    with pytest.raises(HandlerDefinitionError, match="both take"):
        whole.include(router)
    assert "2 handlers" in repr(whole)


async def test_the_function_itself_is_unchanged() -> None:
    @broker().handler("orders")
    async def bill(order: Order) -> None:
        seen.append(order)

    seen: list[Order] = []
    await bill(Order(1))
    assert seen == [Order(1)]
