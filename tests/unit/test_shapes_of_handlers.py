"""Shapes of handlers: which functions are taken and how they are called, and what the others are told (P14)."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    Delivery,
    EventMessage,
    FieldsCodec,
    HandlerDefinitionError,
    JsonCodec,
    MsgpackCodec,
    RawCodec,
    Router,
)
from redis_streams_aio.checks.functions import name_of
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events.delivery import Receiver
from redis_streams_aio.handlers.declaration import declare
from redis_streams_aio.handlers.options import HandlerOptions
from tests.events import Order

T = TypeVar("T")
ORDER = Order(7)


RECEIVER = Receiver("orders", "g", "c", "handle")


def entry(order: Order = ORDER) -> Entry:
    one = Entry("orders", b"1-0", [b"event_type", b"Order"])
    one.payload = order
    return one


async def called(handler: Any, *, batch: int | None = None) -> list[object]:
    """What a handler is called with, as it says it itself."""
    declared = declare(handler, HandlerOptions(stream="orders", batch=batch))
    if batch is None:
        return await declared.call(ORDER, Delivery(entry(), RECEIVER))  # type: ignore[return-value]
    return await declared.call([ORDER], BatchDelivery([entry()], RECEIVER))  # type: ignore[return-value]


# -- shapes that work -------------------------------------------------------------------------------------------


async def alone(order: Order) -> Any:
    return [order]


async def second(order: Order, delivery: Delivery) -> Any:
    return [order, delivery]


async def by_name(order: Order, *, delivery: Delivery) -> Any:
    return [order, delivery]


async def optional(order: Order, delivery: Delivery | None = None) -> Any:
    return [order, delivery]


async def optional_by_name(order: Order, *, delivery: Delivery | None = None) -> Any:
    return [order, delivery]


async def noted(order: Order, delivery: Annotated[Delivery, "what a linter wants"]) -> Any:
    return [order, delivery]


async def of_both(order: Order, delivery: Delivery | BatchDelivery) -> Any:
    return [order, delivery]


async def first(delivery: Delivery, order: Order) -> Any:
    return [order, delivery]


async def all_by_name(*, order: Order, delivery: Delivery) -> Any:
    return [order, delivery]


async def with_rest(order: Order, *rest: object, **options: object) -> Any:
    return [order, *rest, *options]


async def bound_early(order: Order, word="early") -> Any:  # type: ignore[no-untyped-def]
    return [order, word]


async def bound_before_the_delivery(order: Order, word="early", delivery: Delivery | None = None) -> Any:  # type: ignore[no-untyped-def]
    return [order, word, delivery]


async def bound_by_name(order: Order, delivery: Delivery, *, words: list[str] = ["early"]) -> Any:  # noqa: B006
    return [order, words[0], delivery]


async def needs(word: str, order: Order, delivery: Delivery) -> Any:
    return [word, order, delivery]


async def needs_last(order: Order, word: str, delivery: Delivery) -> Any:
    return [word, order, delivery]


async def only_delivery(delivery: Delivery) -> Any:
    return [delivery.payload, delivery]


async def event(event: EventMessage[Order]) -> Any:
    return [event.payload]


async def any_event(event: EventMessage, delivery: Delivery) -> Any:  # type: ignore[type-arg]
    return [event.payload, delivery]


async def events(events: list[EventMessage[Order]]) -> Any:
    return [event.payload for event in events]


async def only_batch(batch: BatchDelivery) -> Any:
    return [batch[0].payload, batch[0]]


async def batch_by_name(orders: list[Order], *, batch: BatchDelivery | None = None) -> Any:
    assert batch is not None
    return [*orders, batch[0]]


class Billing:
    """Handlers as methods."""

    async def bill(self, order: Order) -> Any:
        return [order]

    async def __call__(self, order: Order, delivery: Delivery) -> Any:
        return [order, delivery]

    @staticmethod
    async def without_self(order: Order) -> Any:
        return [order]

    @classmethod
    async def of_class(cls, order: Order) -> Any:
        return [order]


def logged(handler: Callable[..., Any]) -> Any:
    @functools.wraps(handler)
    async def wrapper(*args: object, **kwargs: object) -> object:
        return await handler(*args, **kwargs)

    return wrapper


WORKING = [
    *(alone, second, by_name, optional, optional_by_name, noted, of_both, first, all_by_name, with_rest, only_delivery),
    *(event, any_event, Billing(), Billing().bill, Billing.of_class, Billing().of_class),
    *(vars(Billing)["without_self"], Billing.without_self, logged(by_name), logged(second), logged(alone)),
    *(functools.partial(alone), functools.partial(Billing()), functools.partial(functools.partial(second))),
]


@pytest.mark.parametrize("handler", WORKING, ids=name_of)
async def test_each_parameter_gets_what_its_annotation_says(handler: Any) -> None:
    got = await called(handler)
    assert got[0] == ORDER
    assert len(got) == 1 or (isinstance(got[1], Delivery) and len(got) == 2)


@pytest.mark.parametrize(
    "handler",
    [
        functools.partial(needs, "db"),
        functools.partial(needs, word="db"),
        functools.partial(needs_last, word="db"),
        functools.partial(functools.partial(needs), "db"),
    ],
    ids=name_of,
)
async def test_what_a_partial_has_bound_is_not_asked_for(handler: Any) -> None:
    word, order, one = await called(handler)
    assert (word, order) == ("db", ORDER)
    assert isinstance(one, Delivery)


class Session:
    """Passed by a decorator; no payload can become one."""


async def in_session(order: Order, session: Session) -> Any:
    return [order, session]


async def session_first(session: Session, order: Order) -> Any:
    return [order, session]


def given_a_session(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(order: Order) -> object:
        return await handler(order=order, session=Session())

    return wrapper


def without_the_delivery(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(order: Order) -> object:
        return await handler(order, delivery=None)

    return wrapper


def by_other_names(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(one: Any, other: Any) -> object:
        return await handler(one, other)

    return wrapper


def with_more(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(order: Any, *args: object, **kwargs: object) -> object:
        return await handler(order, *args, **kwargs)

    return wrapper


def rest_by_name(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(order: Any, **kwargs: object) -> object:
        return await handler(order, **kwargs)

    return wrapper


def all_by_name(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(**kwargs: object) -> object:
        return await handler(**kwargs)

    return wrapper


def one_by_name(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(order: Any, *, delivery: Any, **kwargs: object) -> object:
        return await handler(order, delivery, **kwargs)

    return wrapper


def places_alone(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(*args: object) -> object:
        return await handler(*args)

    return wrapper


async def with_delivery(order: Order, delivery: Delivery) -> Any:
    return [order, delivery]


async def keyword_only(order: Order, *, delivery: Delivery) -> Any:
    return [order, delivery]


async def places_only(order: Order, delivery: Delivery, /) -> Any:
    return [order, delivery]


@pytest.mark.parametrize(
    "handler",
    [
        *(wrapper(with_delivery) for wrapper in (rest_by_name, all_by_name, one_by_name, places_alone)),
        *(wrapper(keyword_only) for wrapper in (rest_by_name, all_by_name, with_more)),
        places_alone(places_only),
    ],
    ids=name_of,
)
async def test_a_wrapper_is_called_as_it_passes_on(handler: Any) -> None:
    order, one = await called(handler)
    assert order == ORDER
    assert isinstance(one, Delivery)


@pytest.mark.parametrize(
    ("handler", "missing"),
    [
        (places_alone(keyword_only), "delivery"),
        (rest_by_name(places_only), "delivery"),
        (all_by_name(places_only), "order"),
    ],
    ids=["by place", "by name", "all by name"],
)
def test_a_wrapper_that_passes_a_parameter_nothing_is_refused(handler: Any, missing: str) -> None:
    with pytest.raises(HandlerDefinitionError, match=f"its wrapper passes nothing on to '{missing}'; give the wrapper"):
        declare(handler, HandlerOptions(stream="orders"))


def taking_a_word(handler: Any) -> Any:
    @functools.wraps(handler)
    async def wrapper(word: str, order: Order) -> object:
        return [*await handler(order), word]

    return wrapper


@pytest.mark.parametrize("handler", [given_a_session(in_session), given_a_session(session_first)], ids=name_of)
async def test_what_a_wrapper_passes_itself_is_not_asked_for(handler: Any) -> None:
    order, session = await called(handler)
    assert order == ORDER
    assert isinstance(session, Session)


async def test_a_wrapper_is_called_with_what_it_takes_itself() -> None:
    handler = without_the_delivery(optional)
    assert await called(handler) == [ORDER, None]
    assert not declare(handler, HandlerOptions(stream="orders")).takes_delivery
    assert await called(functools.partial(taking_a_word(alone), "bound")) == [ORDER, "bound"]


@pytest.mark.parametrize(
    "handler",
    [by_other_names(second), by_other_names(by_other_names(second)), with_more(second), with_more(logged(second))],
    ids=name_of,
)
async def test_a_wrapper_has_the_types_of_what_it_wraps(handler: Any) -> None:
    order, one = await called(handler)
    assert order == ORDER
    assert isinstance(one, Delivery)


async def test_a_wrapper_with_other_parameters_than_it_wraps_is_told_to_use_their_names() -> None:
    @functools.wraps(in_session)
    async def wrapper(placed: Order) -> None: ...

    with pytest.raises(HandlerDefinitionError, match="annotate .placed. .*; functools.wraps hides its annotation"):
        declare(wrapper, HandlerOptions(stream="orders"))


async def bound_unknown(db: Unknown, order: Order) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
    return [order, db]


async def asks_unknown(order: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def test_types_that_no_call_needs_are_not_looked_up() -> None:
    """They may be imported under TYPE_CHECKING alone."""
    for handler in (functools.partial(bound_unknown, "db"), functools.partial(bound_unknown, db="db")):
        assert await called(handler) == [ORDER, "db"]
    for asking in (asks_unknown, functools.partial(asks_unknown)):
        with pytest.raises(HandlerDefinitionError, match="name 'Unknown' is not defined; define the payload's type at"):
            declare(asking, HandlerOptions(stream="orders"))


async def test_a_list_of_typing_is_a_list() -> None:
    async def all_of_it(payload: typing.List) -> None: ...  # type: ignore[type-arg]  # noqa: UP006

    declared = declare(all_of_it, HandlerOptions(stream="orders"))
    assert typing.get_origin(declared.payload_type) is list
    assert declared.event_type is None
    with pytest.raises(HandlerDefinitionError, match="a batch handler takes a list; annotate 'payload' e.g. "):
        declare(all_of_it, HandlerOptions(stream="orders", batch=2))


@pytest.mark.parametrize("handler", [bound_early, bound_before_the_delivery, bound_by_name])
async def test_a_value_that_a_default_binds_early_stays(handler: Any) -> None:
    """The loop's `name=name`: nobody can take it for something that is to be injected."""
    order, word, *rest = await called(handler)
    assert (order, word) == (ORDER, "early")
    assert all(isinstance(one, Delivery) for one in rest)


@pytest.mark.parametrize("handler", [events, only_batch, batch_by_name])
async def test_p15_batch_handlers_have_the_same_shapes(handler: Any) -> None:
    assert (await called(handler, batch=2))[0] == ORDER


@pytest.mark.parametrize(
    ("handler", "payload_type", "event_type", "takes_delivery"),
    [
        (event, Order, "Order", True),
        (any_event, Any, None, True),
        (only_delivery, Any, None, True),
        (by_name, Order, "Order", True),
        (functools.partial(alone), Order, "Order", False),
    ],
)
def test_the_type_in_an_event_is_the_payloads(
    handler: Any, payload_type: object, event_type: str | None, takes_delivery: bool
) -> None:
    declared = declare(handler, HandlerOptions(stream="orders"))
    assert (declared.payload_type, declared.event_type, declared.takes_delivery) == (
        *(payload_type, event_type, takes_delivery),
    )


def test_a_handler_is_told_by_its_own_name() -> None:
    for handler, name in (
        (functools.partial(needs, "db"), "needs"),
        (Billing(), "Billing"),
        (Billing().bill, "bill"),
        (vars(Billing)["without_self"], "without_self"),
    ):
        assert declare(handler, HandlerOptions(stream="orders")).name == name  # type: ignore[arg-type]


async def test_what_each_shape_is_given_comes_through_a_broker() -> None:
    """Every shape that is accepted handles an event that was published."""
    broker, got = Broker("memory://", group="g"), dict[str, list[object]]()

    def keeping(name: str, handler: Any) -> Any:
        @functools.wraps(handler)
        async def keep(*args: object, **kwargs: object) -> None:
            got[name] = await handler(*args, **kwargs)

        return keep

    shapes = {handler.__name__: handler for handler in WORKING if isinstance(handler, types.FunctionType)}
    for name, handler in shapes.items():
        broker.handler(f"orders.{name}")(keeping(name, handler))
    from redis_streams_aio.testing import harness

    async with harness(broker) as running:
        for name in shapes:
            await broker.publish(f"orders.{name}", ORDER)
        await running.settled()
    assert set(got) == set(shapes)
    assert all(msgspec.convert(values[0], Order) == ORDER for values in got.values())


# -- shapes that are refused ------------------------------------------------------------------------------------


class Service:
    """What decorates its own methods."""

    async def bill(self, order: Order) -> None: ...


class Sync:
    """An object that is called, and does not wait."""

    def __call__(self, order: Order) -> None: ...


class Broken:
    """An object of which nothing can be asked."""

    def __repr__(self) -> str:
        raise OSError

    @property
    def __name__(self) -> str:
        raise OSError


def generator(order: Order) -> Any:
    yield order


async def async_generator(order: Order) -> AsyncIterator[None]:
    yield


async def none() -> None: ...
async def third(order: Order, delivery: Delivery, retries: int = 3) -> None: ...
async def third_required(order: Order, delivery: Delivery, *, db: object) -> None: ...
async def injected(order: Order, retries: int = 3) -> None: ...
async def injected_object(order: Order, db=Broken()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B008
async def broken_third(order: Order, delivery: Delivery, db=Broken()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B008
async def unannotated_delivery(order: Order, delivery=None) -> None: ...  # type: ignore[no-untyped-def]
async def required(order: Order, *, word: str) -> None: ...
async def second_event(order: Order, event: EventMessage[Order]) -> None: ...
async def two_deliveries(one: Delivery, other: Delivery) -> None: ...
async def batch_without(orders: list[Order], batch: BatchDelivery) -> None: ...
async def batch_alone(batch: BatchDelivery) -> None: ...
async def list_of_deliveries(deliveries: list[Delivery]) -> None: ...
async def delivery_in_batch(orders: list[Order], delivery: Delivery) -> None: ...
async def anything(*args: object) -> None: ...
async def wrong_attribute(order: types.Nonsense) -> None: ...  # type: ignore[name-defined]


INSTANCE = "is a method without its instance; declare it bound, e.g. handler(...)(Service(...)"
TAKES = "takes (payload) or (payload, delivery: Delivery), not "
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (generator, {}, "is a generator; write it as 'async def generator(...)'"),
    (async_generator, {}, "is an async generator; remove the 'yield'"),
    (Service, {}, "is a class; decorate an async function, or declare a method of an instance"),
    (Service.bill, {}, f"{INSTANCE}.bill)"),
    (Sync(), {}, "is a function without 'async'; write its method as 'async def __call__(self, ...)'"),
    (Sync().__call__, {}, "is a function without 'async'"),
    (functools.partial(Sync()), {}, "is a function without 'async'"),
    (vars(Billing)["of_class"], {}, "is a classmethod, which has no class yet; declare it below the class"),
    (property(lambda _: None), {}, "is a property; declare it below the class"),
    (lambda order: None, {}, "is a function without 'async'"),
    (print, {}, "is a function without 'async'"),
    (7, {}, "is an int"),
    (None, {}, "is a NoneType"),
    ("bill", {}, "is a str"),
    (Broken(), {}, "is a Broken"),
    (none, {}, f"{TAKES}() -> 'None'"),
    (anything, {}, f"{TAKES}(*args: 'object') -> 'None'"),
    (third, {}, "; 'retries' would get nothing; give it another value with functools.partial(third, retries=...)"),
    (third_required, {}, "; 'db' would get nothing"),
    (
        injected,
        {},
        "annotate 'retries' with Delivery, which is what a second parameter gets; give it another value with",
    ),
    (injected_object, {}, "annotate 'db' with Delivery, which is what a second parameter gets; give it another value"),
    (broken_third, {}, f"{TAKES}(order, delivery, db); 'db' would get nothing"),
    (unannotated_delivery, {}, "annotate 'delivery' with Delivery, which is what a second parameter gets"),
    (required, {}, "annotate 'word' with Delivery, which is what a second parameter gets"),
    (
        second_event,
        {},
        "annotate 'event' with Delivery, which is what a second parameter gets; the event is its .event",
    ),
    (two_deliveries, {}, "'other' asks for the delivery a second time"),
    (batch_without, {}, "'batch' is a BatchDelivery, which needs batch=; give batch=, or annotate it with Delivery"),
    (batch_alone, {}, "'batch' is a BatchDelivery, which needs batch="),
    (only_delivery, {"batch": 2}, "annotate 'delivery' with BatchDelivery"),
    (delivery_in_batch, {"batch": 2}, "annotate 'delivery' with BatchDelivery"),
    (list_of_deliveries, {"batch": 2}, "annotate 'deliveries' with BatchDelivery, which has each Delivery"),
    (event, {"batch": 2}, "a batch handler takes a list; annotate 'event' e.g. 'event: list[dict]'"),
    (wrong_attribute, {}, "its annotations cannot be read: AttributeError: module 'types' has no attribute 'Nonsense'"),
    (functools.partial(alone, 1, 2, 3), {}, "its signature cannot be read: "),
]


@pytest.mark.parametrize(("handler", "given", "problem"), REFUSED, ids=[problem[:60] for *_, problem in REFUSED])
def test_what_cannot_work_is_told_what_it_is(handler: Any, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        declare(handler, HandlerOptions(stream="orders", **given))
    assert str(raised.value).startswith("handler ")
    assert problem in str(raised.value)


def test_a_coroutine_in_place_of_its_function() -> None:
    """It is closed: nothing is told of one that was never awaited."""
    with pytest.raises(HandlerDefinitionError, match="is a coroutine, .* call of a function; pass the function"):
        declare(alone(ORDER), HandlerOptions(stream="orders"))


def test_a_method_that_its_class_decorates() -> None:
    broker = Broker("memory://", group="g")
    with pytest.raises(HandlerDefinitionError, match="handler bill: is a method without its instance"):

        class Inside:
            @broker.handler("orders")
            async def bill(self, order: Order) -> None: ...

    class Works:
        @broker.handler("orders")
        @staticmethod
        async def outside(order: Order) -> None: ...

        @staticmethod
        @broker.handler("refunds")
        async def inside(order: Order) -> None: ...

    assert "2 handlers" in repr(broker)


@pytest.mark.parametrize("owner", [Broker("memory://", group="g"), Router()])
def test_the_decorator_without_parentheses(owner: Broker | Router) -> None:
    expected = r'handler alone: is an async function instead .*: @broker.handler\("orders"\)'
    with pytest.raises(HandlerDefinitionError, match=expected):
        owner.handler(alone)  # type: ignore[arg-type]
    for given in (Service, vars(Billing)["without_self"], Billing(), print):
        with pytest.raises(HandlerDefinitionError, match="instead of a stream's name"):
            owner.handler(given)  # type: ignore[arg-type]


# -- payload types ----------------------------------------------------------------------------------------------


class Model(pydantic.BaseModel):
    number: int


class Plain:
    def __init__(self, number: int) -> None: ...


class Odd(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise OSError


class OddPlain(metaclass=Odd):
    """A class that cannot be asked what is one of it."""


class Shape(Protocol):
    number: int


class InStruct(msgspec.Struct):
    lines: dict[str, list[Model]]
    parent: InStruct | None = None


class Deep(msgspec.Struct):
    inside: InStruct | None = None


@dataclasses.dataclass
class InDataclass:
    model: Plain | None = None


class InDict(TypedDict):
    model: Model


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Tree(msgspec.Struct):
    """One that msgspec reads, and that is in itself."""

    below: list[Tree] = []
    by_name: dict[str, Tree | None] = {}


class Unresolved(msgspec.Struct):
    other: Nonsense  # type: ignore[name-defined]  # noqa: F821


UNDECODABLE: list[tuple[Any, str]] = [
    (Model, "Model, a pydantic model, cannot be decoded: expected a msgspec.Struct, a dataclass, a TypedDict"),
    (Plain, "Plain cannot be decoded"),
    (OddPlain, "OddPlain cannot be decoded"),
    (Shape, "Shape cannot be decoded"),
    (Path, "Path cannot be decoded"),
    (complex, "complex cannot be decoded"),
    (Delivery | Order, "cannot be decoded: Type unions containing a custom type"),
    (list[Model], "Model, a pydantic model, cannot be decoded"),
    (Model | None, "Model, a pydantic model, cannot be decoded"),
    (Annotated[Model, "note"], "Model, a pydantic model, cannot be decoded"),
    (tuple[int, dict[str, Plain]], "Plain cannot be decoded"),
    (InStruct, "Model, a pydantic model, (in InStruct.lines) cannot be decoded"),
    (Deep, "Model, a pydantic model, (in Deep.inside.lines) cannot be decoded"),
    (InDataclass, "Plain (in InDataclass.model) cannot be decoded"),
    (InDict, "(in InDict.model) cannot be decoded"),
    (Page[Plain], "Plain (in Page.items) cannot be decoded"),
    (Order | Page[int], "cannot be decoded: If a type union contains multiple Struct types"),
    (Unresolved, "Unresolved cannot be decoded: name 'Nonsense' is not defined"),
    (5, "5 cannot be decoded"),
]


def taking(payload_type: Any) -> Any:
    async def handle(payload: Any) -> None: ...

    handle.__annotations__["payload"] = payload_type
    return handle


@pytest.mark.parametrize(("payload_type", "problem"), UNDECODABLE, ids=[problem[:50] for _, problem in UNDECODABLE])
@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec(), FieldsCodec()], ids=lambda codec: type(codec).__name__)
def test_a_type_that_no_payload_can_become_is_refused_when_decorated(
    payload_type: Any, problem: str, codec: Any
) -> None:
    broker = Broker("memory://", group="g")
    with pytest.raises(HandlerDefinitionError) as raised:
        broker.handler("orders", codec=codec)(taking(payload_type))
    text = str(raised.value)
    assert text.startswith(("handler handle: ", "handler handle: its annotations cannot be read"))
    assert problem in text or payload_type == 5
    with pytest.raises(HandlerDefinitionError):
        broker.handler("orders", codec=codec, batch=2)(taking(list[payload_type]))


@pytest.mark.parametrize(
    "payload_type", [Tree, Page[Order], Page, object, Any, dict, Order | None, Annotated[Order, []]], ids=str
)
def test_types_that_can_be_read_are_taken(payload_type: Any) -> None:
    broker = Broker("memory://", group="g")
    for index, codec in enumerate((JsonCodec(), MsgpackCodec(), FieldsCodec())):
        broker.handler(f"orders.{index}", codec=codec)(taking(payload_type))
    assert "3 handlers" in repr(broker)


class ModelCodec:
    """A codec of a user's, which reads pydantic models and nothing else."""

    content_type = None

    def encode(self, payload: object) -> bytes:
        assert isinstance(payload, Model)
        return payload.model_dump_json().encode()

    def decoder(self, payload_type: type[T]) -> Callable[[list[bytes]], T]:
        if not issubclass(payload_type, Model):
            raise ValueError("no model")
        return lambda fields: payload_type.model_validate_json(fields[3])


async def test_a_codec_of_ones_own_is_asked_what_it_reads() -> None:
    """Also for handlers of a router, which learn the broker's codec when they are included."""
    got: list[Model] = []
    router = Router()

    @router.handler("orders")
    async def bill(order: Model) -> None:
        got.append(order)

    with pytest.raises(HandlerDefinitionError, match="handler bill: Model, a pydantic model, cannot be decoded"):
        Broker("memory://", group="g").include(router)
    broker = Broker("memory://", group="g", codec=ModelCodec())
    broker.include(router)
    with pytest.raises(HandlerDefinitionError, match="handler handle: ValueError: no model"):
        broker.handler("orders")(taking(Order))
    from redis_streams_aio.testing import harness

    async with harness(broker) as running:
        await broker.publish("orders", Model(number=7))
        await running.settled()
    assert got == [Model(number=7)]


def test_a_codec_that_gives_no_decoder() -> None:
    class Empty:
        def decoder(self, payload_type: object) -> None: ...

    with pytest.raises(HandlerDefinitionError, match=r"Empty.decoder\(Order\) gave None, not a function"):
        Broker("memory://", group="g").handler("orders", codec=Empty())(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("payload_type", [int, list[int], list, str, None, int | str])
def test_fields_become_nothing_that_has_none(payload_type: Any) -> None:
    with pytest.raises(HandlerDefinitionError, match="FieldsCodec reads fields, and .* has none; annotate a Struct"):
        Broker("memory://", group="g").handler("orders", codec=FieldsCodec())(taking(payload_type))


async def test_raw_bytes_are_what_a_handler_of_anything_gets() -> None:
    for handler in (only_delivery, taking(Any), taking(bytes)):
        Broker("memory://", group="g").handler("orders", codec=RawCodec())(handler)
    with pytest.raises(HandlerDefinitionError, match="RawCodec gives bytes, the handler takes Order"):
        Broker("memory://", group="g").handler("orders", codec=RawCodec())(alone)
