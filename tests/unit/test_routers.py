"""What a router says for its handlers: an option of a handler wins, middleware is joined, prefixes stand together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from redis_streams_aio import (
    Broker,
    CallNext,
    ConfigError,
    Delivery,
    HandlerDefinitionError,
    JsonCodec,
    MsgpackCodec,
    RetryPolicy,
    Router,
)
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.testing import harness
from tests.events import Order

PATIENT, HASTY = RetryPolicy(max_failures=9), RetryPolicy(max_failures=2)
CODEC = MsgpackCodec()
DEFAULTS: dict[str, Any] = {"group": "mail", "retry": PATIENT, "lease": 7.0, "concurrency": 3, "codec": CODEC}
OWN: dict[str, Any] = {"group": "g", "retry": HASTY, "lease": 30.0, "concurrency": 1, "codec": JsonCodec()}
"""Other values, among them those that handlers have by default: said is said."""


async def handle(order: Order) -> None: ...


def around(name: str, seen: list[str]) -> Callable[[Delivery, CallNext], Any]:
    async def middleware(delivery: Delivery, call_next: CallNext) -> None:
        seen.append(name)
        await call_next()

    return middleware


def options_of(owner: Broker | Router) -> HandlerOptions:
    router = owner if isinstance(owner, Router) else owner._router
    return router.declarations[-1].options


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_handler_has_what_its_router_says_unless_it_says_its_own(name: str) -> None:
    router = Router(**DEFAULTS)
    router.handler("orders")(handle)
    assert getattr(options_of(router), name) is DEFAULTS[name]
    router.handler("orders", event_type="Other", **OWN)(handle)
    assert getattr(options_of(router), name) is OWN[name]


@pytest.mark.parametrize("name", ["group", "codec"])
def test_an_option_that_is_none_is_left_to_the_router(name: str) -> None:
    router = Router(**DEFAULTS)
    router.handler("orders", **{name: None})(handle)
    assert getattr(options_of(router), name) is DEFAULTS[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_router_that_says_nothing_changes_nothing(name: str) -> None:
    router, broker = Router(), Broker("memory://", group="g")
    router.handler("orders")(handle)
    broker.handler("orders")(handle)
    assert options_of(router) == options_of(broker)


def test_each_router_keeps_its_defaults_when_it_is_included() -> None:
    inner, outer = Router(lease=5.0, prefix="eu."), Router(lease=9.0, group="outer", prefix="shop.")
    broker = Broker("memory://", group="g")
    inner.handler("orders")(handle)
    outer.include(inner, prefix="in.")
    broker.include(outer, prefix="all.")
    options = options_of(broker)
    assert options.stream == "all.shop.in.eu.orders"
    assert options.lease == 5.0, "the router that is nearest to the handler decides"
    assert options.group == "outer", "what it does not say, the next one says"
    assert [(plan.options.stream, plan.options.group) for plan in broker._router.plans()] == [(options.stream, "outer")]


async def test_middleware_runs_from_the_broker_inwards() -> None:
    seen: list[str] = []
    inner = Router(middleware=[around("inner", seen)])
    outer = Router(middleware=[around("outer", seen), around("outer too", seen)])
    broker = Broker("memory://", group="g", middleware=[around("broker", seen)])
    inner.handler("orders", middleware=[around("handler", seen)])(handle)
    outer.include(inner)
    broker.include(outer)
    async with harness(broker) as h:
        await h.publish("orders", Order(1))
        await h.settled()
        h.assert_handled(Order(1))
    assert seen == ["broker", "outer", "outer too", "inner", "handler"]


async def test_the_defaults_of_a_router_are_in_force() -> None:
    broker, router = Broker("memory://", group="g"), Router(retry=RetryPolicy(max_failures=1), group="mail")

    @router.handler("orders")
    async def fail(order: Order) -> None:
        raise ValueError

    broker.include(router, prefix="eu.")
    async with harness(broker) as h:
        await h.publish("eu.orders", Order(1))
        await h.settled()
        [letter] = await h.dead_letters("eu.orders")
    assert (letter.group, letter.failures) == ("mail", 1)


def test_a_list_of_middleware_may_change_afterwards() -> None:
    middleware = [around("one", [])]
    router = Router(middleware=middleware)
    middleware.clear()
    router.handler("orders")(handle)
    assert len(options_of(router).middleware) == 1


def test_a_default_and_an_option_that_do_not_go_together_are_refused_at_the_handler() -> None:
    router = Router(concurrency=4)
    with pytest.raises(HandlerDefinitionError, match='handler handle: order="stream" with concurrency=4'):
        router.handler("orders", order="stream")(handle)
    router.handler("orders", order="stream", concurrency=1)(handle)
    inner = Router()
    inner.handler("more", order="stream")(handle)
    with pytest.raises(HandlerDefinitionError, match='handler handle: order="stream" with concurrency=4'):
        router.include(inner)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"group": ""}, "group: the name is empty"),
        ({"lease": 0}, "lease=0: expected seconds, 0.05 to 86400"),
        ({"concurrency": 0}, "concurrency=0: expected a whole number, 1 to 10000"),
        ({"retry": 3}, "retry=3: expected a RetryPolicy, e.g. retry=RetryPolicy(max_failures=3)"),
        ({"middleware": None}, "middleware=None: expected a list of async functions"),
        ({"prefix": 3}, "prefix=3: expected text"),
        ({"prefix": "e u"}, "prefix: the name 'e u' has white space or control characters"),
    ],
)
def test_a_wrong_default_is_refused_when_the_router_is_made(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Router(**given)
    assert str(raised.value).startswith(problem)


class Other(msgspec.Struct):
    """Another type than `Order`."""


async def handle_other(other: Other) -> None: ...


@pytest.mark.parametrize(("name", "value"), [("concurrency", 8), ("lease", 7.0)])
def test_an_option_that_one_handler_leaves_out_is_compared_where_no_router_can_fill_it_any_more(
    name: str, value: float
) -> None:
    def pair() -> Router:
        inner = Router()
        inner.handler("orders", **{name: value})(handle)
        inner.handler("orders")(handle_other)
        return inner

    outer, broker = Router(**{name: value}), Broker("memory://", group="g")
    outer.include(pair())
    broker.include(outer)
    [plan] = broker._router.plans()
    assert getattr(plan.options, name) == value
    for owner in (Broker("memory://", group="g"), Broker("memory://", group="g")):
        with pytest.raises(HandlerDefinitionError, match=f"handle and handle_other .* differ in {name}: {value} and "):
            owner.include(pair())


@pytest.mark.parametrize(
    ("first", "second", "differ"),
    [
        ({"concurrency": 8}, {"concurrency": 4}, "concurrency: 8 and 4"),
        ({"order": "none"}, {"order": "key"}, "order: 'none' and 'key'"),
        ({"start": "$"}, {}, "start: '$' and '0"),
        ({"batch": 5}, {}, "batch"),
        ({"key": str}, {}, "key: <class 'str'> and None; make them equal"),
    ],
)
def test_options_that_no_other_router_can_make_equal_are_refused_at_the_handler(
    first: dict[str, Any], second: dict[str, Any], differ: str
) -> None:
    router = Router()

    async def handle_many(orders: list[Order]) -> None: ...

    router.handler("orders", **first)(handle_many if "batch" in first else handle)
    with pytest.raises(HandlerDefinitionError, match="share the subscription") as raised:
        router.handler("orders", **second)(handle_other)
    assert f"differ in {differ}" in str(raised.value)


def test_a_handler_that_names_an_option_is_compared_with_another_that_names_it_too() -> None:
    router = Router()
    router.handler("orders", event_type="First")(handle)
    router.handler("orders", concurrency=8)(handle)
    with pytest.raises(HandlerDefinitionError, match="handle and handle_other .* differ in concurrency: 8 and 4"):
        router.handler("orders", concurrency=4)(handle_other)
    filled = Router(concurrency=3)
    filled.handler("orders")(handle)
    with pytest.raises(HandlerDefinitionError, match="differ in concurrency: 3 and 4"):
        filled.handler("orders", concurrency=4)(handle_other)


def test_two_key_functions_of_one_subscription_are_told_to_be_one_object() -> None:
    router = Router()
    router.handler("orders", key=lambda order: order.number)(handle)
    expected = "differ in key: .*; two functions are never equal: define one function, and give the same object to both"
    with pytest.raises(HandlerDefinitionError, match=expected):
        router.handler("orders", key=lambda order: order.number)(handle_other)


def test_a_router_that_is_included_takes_no_more_whoever_included_it() -> None:
    late = "too late: this router is included already; declare handlers and include routers before that"
    outer, inner = Router(), Router()
    outer.include(inner)
    with pytest.raises(HandlerDefinitionError, match=f"a handler is declared {late}"):
        inner.handler("orders")(handle)
    with pytest.raises(HandlerDefinitionError, match=f"a router is included {late}"):
        inner.include(outer)
    Broker("memory://", group="g").include(outer)
    with pytest.raises(HandlerDefinitionError, match=f"a handler is declared {late}"):
        outer.handler("orders")(handle)


@pytest.mark.parametrize("handlers", [0, 1])
@pytest.mark.parametrize(
    ("prefix", "problem"),
    [
        ("eu ", "prefix: the name 'eu ' has white space or control characters"),
        ("eu {env}", "prefix: the name 'eu {env}' has white space"),
        ("eu.{env}.", "prefix: the name 'eu.{env}.' is an unfilled template: replace '{env}' with a value"),
        (3, "prefix=3: expected text"),
    ],
)
def test_a_wrong_prefix_is_refused_when_a_router_is_included(handlers: int, prefix: Any, problem: str) -> None:
    router = Router()
    for _ in range(handlers):
        router.handler("orders")(handle)
    for owner in (Router(), Broker("memory://", group="g")):
        with pytest.raises(HandlerDefinitionError) as raised:
            owner.include(router, prefix=prefix)
        assert str(raised.value).startswith(problem)
    assert not router.included


def test_a_router_that_includes_itself_is_refused() -> None:
    router = Router()
    with pytest.raises(HandlerDefinitionError, match="is this router itself"):
        router.include(router)
