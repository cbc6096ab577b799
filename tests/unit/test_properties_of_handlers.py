"""Handlers: what a declaration is checked for, what it means, and what handlers of one subscription share."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest

from redis_streams_aio import BatchDelivery, Delivery, HandlerDefinitionError, MsgpackCodec, RetryPolicy
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events import wire_format
from redis_streams_aio.events.delivery import Receiver
from redis_streams_aio.handlers.declaration import Declaration, declare
from redis_streams_aio.handlers.defaults import Defaults
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.handlers.routes import Plan, plan
from tests.events import Cancelled, Order

OPTIONS = HandlerOptions(stream="orders")
TEN_YEARS = 10 * 366 * 86_400


async def bill(order: Order) -> None: ...


async def load(orders: list[Order]) -> None: ...


async def cancel(cancelled: Cancelled, delivery: Delivery) -> None: ...


async def catch_all(event: dict[str, object]) -> None: ...


def options(**changes: object) -> HandlerOptions:
    return HandlerOptions(**({"stream": "orders"} | changes))  # type: ignore[arg-type]


async def on_key(order: Order) -> str:
    return order.customer


# -- options ----------------------------------------------------------------------------------------------------

ALLOWED: list[dict[str, object]] = [
    {"concurrency": 1},
    {"concurrency": 1, "order": "stream"},
    {"concurrency": 9, "order": "none"},
    {"concurrency": 9, "order": "key"},
    {"concurrency": 9, "key": len},
    {"concurrency": 9, "key": len, "order": "key"},
    {"lease": 0.05},
    {"lease": 86_400},
    {"timeout": 0.001},
    {"unknown": "skip"},
    {"on_lost": "continue"},
    {"deduplicate": 0.001},
    {"deduplicate": TEN_YEARS},
    {"start": "$"},
    {"start": datetime(2026, 1, 1, tzinfo=UTC)},
    {"group": "g", "dead_letter": "d", "event_type": "T"},
]
BATCHES_ALLOWED: list[dict[str, object]] = [
    {"batch": 1},
    {"batch": 10_000},
    {"batch": 2, "within": 0},
    {"batch": 2, "within": 3600},
]
REFUSED: list[tuple[dict[str, object], str]] = [
    ({"stream": ""}, "stream: the name is empty"),
    ({"stream": None}, "stream: the name None is not text"),
    ({"group": "a b"}, "group: the name 'a b' has white space or control characters"),
    ({"dead_letter": "x" * 513}, "dead_letter: the name has 513 characters, at most 512 are allowed"),
    ({"event_type": ""}, "event_type: is empty; leave it out to use the payload type's name"),
    ({"concurrency": 0}, "concurrency=0: expected a whole number, 1 to 10000"),
    ({"concurrency": "2"}, "concurrency='2': expected a whole number, 1 to 10000"),
    ({"order": "random"}, 'order=\'random\': expected "stream", "key" or "none"'),
    ({"key": len, "order": "none"}, 'key with order="none": a key means order="key"; leave one of them out'),
    (
        {"key": on_key, "concurrency": 2},
        "key: is an async function; a key function takes the payload alone, and is not async",
    ),
    ({"order": "stream", "concurrency": 2}, 'order="stream" with concurrency=2: stream order means one at a time'),
    ({"lease": 0.049}, "lease=0.049: expected seconds, 0.05 to 86400"),
    ({"lease": 86_401}, "lease=86401: expected seconds, 0.05 to 86400"),
    ({"lease": True}, "lease=True: expected seconds, 0.05 to 86400"),
    ({"timeout": 0}, "timeout=0: expected seconds above 0, up to 31622400, or None"),
    ({"timeout": "1"}, "timeout='1': expected seconds above 0, up to 31622400, or None"),
    ({"timeout": float("nan")}, "timeout=nan: expected seconds above 0, up to 31622400, or None"),
    ({"unknown": "drop"}, 'unknown=\'drop\': expected "dead_letter" or "skip"'),
    ({"on_lost": "x"}, 'on_lost=\'x\': expected "cancel" or "continue"'),
    ({"deduplicate": 0}, f"deduplicate=0: expected seconds above 0, up to {TEN_YEARS}, or None"),
    (
        {"deduplicate": TEN_YEARS + 1},
        f"deduplicate={TEN_YEARS + 1}: expected seconds above 0, up to {TEN_YEARS}, or None",
    ),
    ({"deduplicate": True}, f"deduplicate=True: expected seconds above 0, up to {TEN_YEARS}, or None"),
    ({"within": 1}, "within=1: is the time that a batch waits until it is full; give batch= too"),
    ({"batch": 0}, "batch=0: expected a whole number, 1 to 10000"),
    ({"batch": 10_001}, "batch=10001: expected a whole number, 1 to 10000"),
    ({"batch": True}, "batch=True: expected a whole number, 1 to 10000"),
    ({"batch": 2, "within": -1}, "within=-1: expected seconds, 0 to 3600"),
    ({"batch": 2, "within": 3601}, "within=3601: expected seconds, 0 to 3600"),
    ({"batch": 2, "within": "1"}, "within='1': expected seconds, 0 to 3600"),
]


@pytest.mark.parametrize("given", ALLOWED + BATCHES_ALLOWED, ids=str)
def test_options_at_their_bounds_are_taken(given: dict[str, object]) -> None:
    handler = load if "batch" in given else bill
    declared = declare(handler, options(**given))
    assert (declared.options, declared.name) == (options(**given), handler.__name__)


@pytest.mark.parametrize(("given", "problem"), REFUSED, ids=[problem[:50] for _, problem in REFUSED])
def test_options_beyond_them_are_refused_by_name(given: dict[str, object], problem: str) -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        declare(load if "batch" in given else bill, options(**given))
    assert str(raised.value) == f"handler {'load' if 'batch' in given else 'bill'}: {problem}"


@pytest.mark.parametrize(
    ("given", "order"),
    [({}, "stream"), ({"concurrency": 2}, "none"), ({"key": len}, "key"), ({"concurrency": 2, "order": "key"}, "key")],
)
def test_p7_the_order_follows_from_concurrency_and_key(given: dict[str, object], order: str) -> None:
    assert options(**given).effective_order == order


# -- signatures -------------------------------------------------------------------------------------------------


async def bill_too(order: Order) -> None: ...
async def delivery_by_default(order: Order, delivery: Delivery = None) -> None: ...  # type: ignore[assignment]
async def positional(order: Order, delivery: Delivery, /) -> None: ...
async def annotated(order: Annotated[Order, "a note"]) -> None: ...
async def anything(payload: Any) -> None: ...
async def raw(payload: bytes) -> None: ...
async def number(payload: int) -> None: ...
async def union(payload: Order | Cancelled) -> None: ...
async def with_batch(orders: list[Order], batch: BatchDelivery) -> None: ...


@pytest.mark.parametrize(
    ("handler", "event_type", "takes_delivery"),
    [
        (bill, "Order", False),
        (cancel, "Cancelled", True),
        (delivery_by_default, "Order", True),
        (positional, "Order", True),
        (annotated, "Order", False),
        (anything, None, False),
        (raw, None, False),
        (number, None, False),
        (union, None, False),
        (catch_all, None, False),
    ],
)
def test_the_signature_says_what_a_handler_takes(handler: Any, event_type: str | None, takes_delivery: bool) -> None:
    declared = declare(handler, OPTIONS)
    assert (declared.event_type, declared.takes_delivery) == (event_type, takes_delivery)
    assert declare(handler, options(event_type="T")).event_type == "T"


def test_what_is_noted_beside_a_type_is_kept() -> None:
    """Constraints, as `Annotated[int, msgspec.Meta(ge=0)]` has them."""
    assert declare(annotated, OPTIONS).payload_type == Annotated[Order, "a note"]  # type: ignore[comparison-overlap]


def test_a_batch_handler_takes_a_list_of_its_type() -> None:
    declared = declare(with_batch, options(batch=2))
    assert (declared.payload_type, declared.event_type, declared.takes_delivery) == (Order, "Order", True)
    assert declare(load, options(batch=2)).takes_delivery is False


async def no_list(orders: Order) -> None: ...
async def no_list_but_a_set(orders: set[Order]) -> None: ...
async def bare_list(orders: list) -> None: ...  # type: ignore[type-arg]
async def wrong_second(order: Order, other: int) -> None: ...
async def untyped(order) -> None: ...  # type: ignore[no-untyped-def]
def no_coroutine(order: Order) -> None: ...
async def unknown_type(order: Nonsense) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("handler", "given", "problem"),
    [
        (
            no_list,
            {"batch": 2},
            "a batch handler takes a list; annotate 'orders' e.g. 'orders: list[dict]'",
        ),
        (no_list_but_a_set, {"batch": 2}, "a batch handler takes a list; annotate 'orders' e.g. 'orders: list[dict]'"),
        (bare_list, {"batch": 2}, "a batch handler takes a list; annotate 'orders' e.g. 'orders: list[dict]'"),
        (wrong_second, {}, "annotate 'other' with Delivery, which is what a second parameter gets"),
        (cancel, {"batch": 2}, "annotate 'delivery' with BatchDelivery, which is what a second parameter gets"),
        (untyped, {}, "annotate 'order' with the payload's type, e.g. 'order: dict'"),
        (no_coroutine, {}, "is a function without 'async'; write it as 'async def no_coroutine(...)'"),
        (
            unknown_type,
            {},
            (
                "name 'Nonsense' is not defined; define the payload's type at the top of the module, above the handler "
                "(and not under TYPE_CHECKING)"
            ),
        ),
    ],
)
def test_signatures_that_cannot_work_are_refused(handler: Any, given: dict[str, object], problem: str) -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        declare(handler, options(**given))
    assert str(raised.value) == f"handler {handler.__name__}: {problem}"


def test_what_is_no_function_has_no_name_to_be_told_by() -> None:
    with pytest.raises(HandlerDefinitionError, match=r"^handler 7: is an int; write it as 'async def 7\(...\)'$"):
        declare(7, OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(HandlerDefinitionError, match=r"^handler no_coroutine: is a function without 'async'"):
        declare(functools.partial(no_coroutine), OPTIONS)  # type: ignore[arg-type]


# -- plans ------------------------------------------------------------------------------------------------------


def planned(*declared: Declaration, group: str | None = "g", **named: Any) -> list[Plan]:
    return plan(map(Defaults(group=group, **named).apply, declared))


def test_one_plan_for_each_stream_and_group() -> None:
    plans = planned(
        declare(bill, OPTIONS),
        declare(cancel, OPTIONS),
        declare(bill, options(group="other")),
        declare(bill, options(stream="more")),
    )
    assert [(one.options.stream, one.options.group) for one in plans] == [
        ("orders", "g"),
        ("orders", "other"),
        ("more", "g"),
    ]
    routes = plans[0].routes
    assert {name: route.name for name, route in routes.by_event_type.items()} == {
        b"Order": "bill",
        b"Cancelled": "cancel",
    }
    assert (routes.only, routes.catch_all) == (None, None)
    assert [route.name for route in routes.all] == ["bill", "cancel"]
    only = plans[1].routes.only
    assert only is not None
    assert only.name == "bill"


def test_what_belongs_to_the_subscription_is_in_its_plan() -> None:
    given = options(
        concurrency=4, key=len, start=datetime(2026, 1, 1, tzinfo=UTC), lease=5, unknown="skip", batch=7, within=2
    )
    [one] = planned(declare(load, given))
    said = one.options
    assert (said.concurrency, said.order, said.key, said.start) == (4, "key", len, "1767225599999-18446744073709551615")
    assert (said.lease, said.unknown, said.dead_letter, said.batch, said.within) == (5, "skip", "{orders}:g:dead", 7, 2)
    [other] = planned(declare(bill, options(dead_letter="graves")))
    assert (other.options.dead_letter, other.options.within, other.options.batch) == ("graves", 0.1, None)


def test_what_belongs_to_a_handler_is_in_its_route() -> None:
    retry = RetryPolicy(max_failures=1)
    given = options(retry=retry, timeout=3, on_lost="continue", deduplicate=9)
    [one] = planned(declare(bill, given), declare(catch_all, OPTIONS))
    route = one.routes.by_event_type[b"Order"]
    assert (route.retry, route.on_lost, route.deduplicate) == (retry, "continue", 9)
    assert one.routes.deduplicates
    rest = one.routes.catch_all
    assert rest is not None
    assert (rest.name, rest.handler, rest.deduplicate) == ("catch_all", catch_all, None)
    assert rest.on_lost == "cancel"
    assert not planned(declare(bill, OPTIONS))[0].routes.deduplicates


def test_handlers_of_one_subscription_that_contradict_each_other() -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        planned(declare(bill, OPTIONS), declare(cancel, options(lease=5)))
    assert str(raised.value) == (
        "handlers bill and cancel share the subscription orders/g and differ in lease: 30.0 and 5; make them equal, "
        "or give one of them another group"
    )
    for pair, what in (
        ((bill, bill_too), "event type 'Order'"),
        ((catch_all, raw), "every event type"),
    ):
        with pytest.raises(HandlerDefinitionError) as raised:
            planned(*(declare(handler, OPTIONS) for handler in pair))
        assert str(raised.value) == (
            f"handlers {pair[0].__name__} and {pair[1].__name__} both take {what} of 'orders' in one group; give one "
            "of them another event_type= or group="
        )
    with pytest.raises(HandlerDefinitionError) as raised:
        planned(declare(bill, OPTIONS), group=None)
    assert str(raised.value) == ("handler bill: has no group; give group= here, or Broker(group=...) for all handlers")
    assert planned(declare(bill, options(group="own")), group=None)[0].options.group == "own"


def test_the_handlers_codec_wins_over_the_brokers() -> None:
    fields = [b"event_type", b"T", b"payload", MsgpackCodec().encode(Order(7))]
    [one] = planned(declare(bill, options(codec=MsgpackCodec())))
    assert one.routes.by_event_type[b"Order"].decode(fields) == Order(7)
    [one] = planned(declare(bill, OPTIONS), codec=MsgpackCodec())
    assert one.routes.by_event_type[b"Order"].decode(fields) == Order(7)
    [one] = planned(declare(bill, OPTIONS))
    assert one.routes.by_event_type[b"Order"].decode([*fields[:3], b'{"number": 7}']) == Order(7)


async def test_middleware_runs_around_the_handler_the_brokers_outermost() -> None:
    said: list[object] = []

    def saying(word: str) -> Any:
        async def around(delivery: Delivery, call_next: Any) -> None:
            said.extend((word, delivery))
            await call_next()
            said.append(word)

        return around

    async def handle(order: Order, delivery: Delivery) -> None:
        said.extend((order, delivery))

    async def without(order: Order) -> None:
        said.append(order)

    one, order = Delivery(Entry("s", b"1-0", []), Receiver("s", "g", "c", "handle")), Order(1)
    for handler, own in ((handle, [order, one]), (without, [order])):
        said.clear()
        [planned_one] = planned(
            declare(handler, options(middleware=(saying("b"), saying("c")))), middleware=[saying("a")]
        )
        await planned_one.routes.by_event_type[b"Order"].call(order, one)
        assert said == ["a", one, "b", one, "c", one, *own, "c", "b", "a"]


def test_entries_of_other_writers_go_to_the_only_handler() -> None:
    [one] = planned(declare(bill, OPTIONS))
    assert one.routes.find([b"number", b"1"]) is one.routes.only
    assert one.routes.find([wire_format.EVENT_TYPE, b"Else"]) is None
