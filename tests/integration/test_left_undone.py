"""What a handler, a middleware or a codec leaves undone counts as a failure (P14, P24): nothing is lost in silence."""

from __future__ import annotations

import asyncio
import collections.abc
import typing
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import pytest

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    ConfigError,
    Delivery,
    EventMessage,
    HandlerDefinitionError,
    RetryPolicy,
    testing,
)
from tests.events import Order

ONCE = RetryPolicy(max_failures=1)
T = TypeVar("T")


async def work(_: object) -> None:
    raise AssertionError("nobody awaits it")


async def returns(delivery: object, call_next: Any) -> Any:
    return call_next()


async def forgets(delivery: object, call_next: Any) -> None:
    call_next()


async def passes(delivery: object, call_next: Any) -> None:
    await call_next(delivery)


async def left(broker: Broker) -> list[str]:
    """The errors of the dead letters of one event."""
    async with testing.harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.settled()
        return [letter.error for letter in await h.dead_letters()]


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("options", [{}, {"timeout": 5}, {"deduplicate": 60}])
async def test_p14_a_coroutine_that_a_handler_returns_is_a_failure(batch: int | None, options: dict[str, Any]) -> None:
    broker = Broker("memory://", group="g")
    if batch is None:

        @broker.handler("orders", retry=ONCE, **options)
        async def one(order: Order) -> Any:
            return work(order)
    else:

        @broker.handler("orders", retry=ONCE, batch=batch, **options)
        async def many(orders: list[Order]) -> Any:
            return work(orders)

    [error] = await left(broker)
    assert error.startswith("TypeError: the handler returned a coroutine, which nobody awaits: write 'await'")


@pytest.mark.parametrize(
    ("middleware", "error"),
    [
        (returns, "TypeError: middleware returns called call_next() and did not await it: write 'await'"),
        (forgets, "TypeError: middleware forgets called call_next() and did not await it: write 'await'"),
        (passes, "TypeError: call_next takes no arguments: write 'await call_next()'"),
    ],
)
async def test_p14_a_middleware_that_does_not_await_the_handler_fails(middleware: Any, error: str) -> None:
    broker, handled = Broker("memory://", group="g"), list[Order]()

    @broker.handler("orders", retry=ONCE, middleware=[middleware])
    async def handle(order: Order) -> None:
        handled.append(order)

    assert (await left(broker), handled) == ([error], [])


async def test_p14_a_middleware_does_not_run_a_handler_twice() -> None:
    broker, handled = Broker("memory://", group="g"), list[Order]()

    async def twice(delivery: Delivery, call_next: Callable[[], Awaitable[None]]) -> None:
        await call_next()
        await call_next()

    @broker.handler("orders", retry=ONCE, middleware=[twice])
    async def handle(order: Order) -> None:
        handled.append(order)

    [error] = await left(broker)
    assert error.startswith("RuntimeError: call_next was called before and has not failed")
    assert len(handled) == 1


async def test_p14_a_middleware_may_call_nothing_or_once_more_after_a_failure() -> None:
    broker, calls = Broker("memory://", group="g"), list[str]()

    async def once_more(delivery: Delivery, call_next: Callable[[], Awaitable[None]]) -> None:
        try:
            await call_next()
        except ValueError:
            await call_next()

    async def drops(delivery: Delivery, call_next: Callable[[], Awaitable[None]]) -> None:
        calls.append("dropped")

    @broker.handler("orders", retry=ONCE, middleware=[once_more])
    async def handle(order: Order) -> None:
        calls.append("called")
        if len(calls) == 1:
            raise ValueError

    @broker.handler("orders", group="other", retry=ONCE, middleware=[drops])
    async def never(order: Order) -> None:
        calls.append("never")

    assert await left(broker) == []
    assert sorted(calls) == ["called", "called", "dropped"]


class Box(msgspec.Struct, Generic[T]):
    item: T | None = None


@pytest.mark.parametrize(
    ("annotation", "event_type"),
    [
        (Box[int], "Box"),
        (Annotated[Box[int], "a box"], "Box"),
        (collections.abc.Mapping, None),
        (collections.abc.Mapping[str, int], None),
        (typing.Mapping[str, int], None),
        (msgspec.Raw, None),
        (dict[str, int], None),
        (Order | None, None),
        (Order, "Order"),
    ],
)
def test_p24_types_without_a_name_of_their_own_take_every_event_type(annotation: Any, event_type: str | None) -> None:
    broker = Broker("memory://", group="g")

    async def handle(order: object) -> None: ...

    handle.__annotations__ = {"order": annotation}
    broker.handler("orders")(handle)
    [declared] = broker._router.declarations
    assert declared.event_type == event_type


@pytest.mark.parametrize(
    "annotation", [EventMessage[Order] | None, Annotated[EventMessage[Order], "x"], Annotated[EventMessage | None, 1]]
)
async def test_p24_an_event_in_a_union_or_annotated_is_an_event(annotation: Any) -> None:
    broker, events = Broker("memory://", group="g"), list[Any]()

    async def handle(event: object) -> None:
        events.append(event)

    async def load(batch: object) -> None:
        events.extend(batch)

    handle.__annotations__, load.__annotations__ = {"event": annotation}, {"batch": list[annotation]}
    broker.handler("orders", event_type="Order")(handle)
    broker.handler("orders", group="batches", event_type="Order", batch=1)(load)
    assert await left(broker) == []
    assert [type(event) for event in events] == [EventMessage, EventMessage]


class Codec:
    """Whatever is to be wrong with it."""

    content_type = None

    def __init__(self, reader: object) -> None:
        self.reader = reader

    def decoder(self, payload_type: object) -> Any:
        return self.reader

    def encode(self, payload: object) -> bytes:
        return b"{}"


class AsyncDecoder(Codec):
    async def decoder(self, payload_type: object) -> Any: ...  # type: ignore[override]


class AsyncEncoder(Codec):
    async def encode(self, payload: object) -> bytes: ...  # type: ignore[override]


class Thoughtless(Codec):
    def encode(self) -> bytes: ...  # type: ignore[override]


async def later(fields: object) -> object: ...


def nothing() -> object: ...


@pytest.mark.parametrize("reader", [later, nothing, None, 5])
def test_p24_a_codec_whose_reader_cannot_read_is_refused_at_the_handler(reader: object) -> None:
    broker = Broker("memory://", group="g")
    with pytest.raises(HandlerDefinitionError, match=r"not a function of \(fields\) that is not async"):

        @broker.handler("orders", codec=Codec(reader))
        async def handle(order: Order) -> None: ...


@pytest.mark.parametrize(
    ("codec", "method"),
    [(AsyncDecoder(nothing), "decoder"), (AsyncEncoder(nothing), "encode"), (Thoughtless(nothing), "encode")],
)
def test_p24_a_codec_with_methods_that_cannot_be_called_is_refused(codec: Any, method: str) -> None:
    with pytest.raises(ConfigError, match=f"expected a method {method}"):
        Broker("memory://", codec=codec)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (-1, "IndexError: index=-1: expected 0 to 1, as the batch has 2 items"),
        (2, "IndexError: index=2: expected 0 to 1, as the batch has 2 items"),
        (True, "TypeError: index=True: expected the place of a payload in the list, e.g. 0"),
        ("0", "TypeError: index='0': expected the place of a payload in the list, e.g. 0"),
    ],
)
@pytest.mark.parametrize("what", ["ack", "retry", "reject", "fail"])
async def test_p15_an_item_that_is_not_in_the_batch_is_refused(index: Any, error: str, what: str) -> None:
    broker, raised = Broker("memory://", group="g"), list[str]()
    arguments = {"ack": (), "retry": (1,), "reject": ("no",), "fail": (ValueError(),)}[what]

    @broker.handler("orders", batch=2, within=5)
    async def load(orders: list[Order], batch: BatchDelivery) -> None:
        try:
            getattr(batch, what)(index, *arguments)
        except (IndexError, TypeError) as refusal:
            raised.append(f"{type(refusal).__name__}: {refusal}")

    async with testing.harness(broker) as h:
        await h.publish_many("orders", [Order(1), Order(2)])
        await h.settled()
    assert raised == [error]


async def test_p19_any_thread_may_ask_whether_a_broker_is_ready() -> None:
    """A probe that is a plain function runs in a thread of the framework's."""
    broker = Broker("memory://", group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    async with broker:
        assert await asyncio.to_thread(lambda: (broker.ready, broker.status[0].ready, broker.failed)) == (
            True,
            True,
            None,
        )


async def test_p24_a_codec_that_is_false_is_a_codec() -> None:
    """An object with `__len__` may be empty: it is given, and not left out."""

    class Empty(Codec):
        def __len__(self) -> int:
            return 0

    broker, got = Broker("memory://", group="g"), list[object]()

    @broker.handler("orders", event_type="Order", codec=Empty(lambda _: "read by it"))
    async def handle(order: str) -> None:
        got.append(order)

    assert (await left(broker), got) == ([], ["read by it"])
