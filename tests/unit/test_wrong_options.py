"""Wrong values, of every type, for everything that can be declared of handlers (P14).

Each is refused where it is written, by an error of ours that names the argument; or it works.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from redis_streams_aio import (
    BatchDelivery,
    Broker,
    CallNext,
    ConfigError,
    Connection,
    Delivery,
    EventMessage,
    FieldsCodec,
    HandlerDefinitionError,
    JsonCodec,
    MsgpackCodec,
    RetryLater,
    RetryPolicy,
    Router,
    StreamConsumer,
)
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events.delivery import Receiver
from redis_streams_aio.handlers.declaration import Declaration
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.handlers.retry import decide
from redis_streams_aio.telemetry import Fact
from redis_streams_aio.testing.waiting import until
from tests.events import Order

OPTIONS = HandlerOptions.__struct_fields__
FIELDS = RetryPolicy.__struct_fields__


class Colour(Enum):
    RED = 1


class Name(StrEnum):
    ORDERS = "orders"


class OldName(str, Enum):  # noqa: UP042  # it is what many have
    ORDERS = "orders"


class Level(IntEnum):
    ONE = 1


class Mute:
    """It answers nothing."""

    def __repr__(self) -> str:
        raise OSError

    def __eq__(self, other: object) -> bool:
        raise OSError

    def __bool__(self) -> bool:
        raise OSError

    __hash__ = None  # type: ignore[assignment]


class NoZone(tzinfo):
    """A time zone that is none."""

    def utcoffset(self, dt: datetime | None) -> None: ...

    def tzname(self, dt: datetime | None) -> str:
        raise OSError

    def dst(self, dt: datetime | None) -> None: ...


async def around(delivery: Delivery, call_next: CallNext) -> None:
    await call_next()


class Around:
    async def __call__(self, delivery: Delivery, call_next: CallNext) -> None:
        await call_next()


def plain(delivery: Delivery, call_next: CallNext) -> Any:
    return call_next()


async def of_one(delivery: Delivery) -> None: ...


async def generator(delivery: Delivery, call_next: CallNext) -> Any:
    yield


def key_of_two(payload: object, delivery: object) -> None: ...


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.0, 0.5, 2.5, -1.5, float("nan"), float("inf"), 10**400, 1e-300, 1e300),
    *(
        "",
        "x",
        "3",
        "30s",
        "a b",
        "orders-{env}",
        "%s",
        "\ud800",
        "key",
        "none",
        "skip",
        "cancel",
        "continue",
        "0",
        "$",
    ),
    *(b"", b"x", bytearray(b"x"), [], [1], ["a"], (), (1,), {}, {"a": 1}, set(), {1}, range(3), iter([])),
    *(object(), Mute(), Mute, Colour.RED, Name.ORDERS, OldName.ORDERS, Level.ONE, Order, Order(1), dict, str, int),
    *(date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),  # noqa: DTZ001
    *(datetime(2026, 1, 1, tzinfo=NoZone()), datetime.max.replace(tzinfo=UTC), timedelta(seconds=5), UTC),
    *(Decimal("1.5"), Fraction(1, 2), 1j, len, print, lambda: None, lambda payload: payload, key_of_two, Ellipsis),
    *(around, [around], (around, around), plain, [plain], Around, [Around], Around(), [Around()], of_one, [of_one]),
    *([generator], functools.partial(around), [functools.partial(around)], [None], [Mute()], "around"),
    *(JsonCodec(), JsonCodec, MsgpackCodec(), FieldsCodec(), Router(), Router, RetryPolicy(), RetryPolicy, Broker),
    *(
        ValueError,
        ValueError(),
        [ValueError],
        (ValueError, KeyError),
        {ValueError},
        ValueError | KeyError,
        "ValueError",
    ),
    *(
        (ValueError, "KeyError"),
        ((ValueError,),),
        [Exception],
        BaseException,
        frozenset({OSError}),
        [Mute],
        type,
        Exception,
    ),
]
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.decimals(), st.fractions(), st.timedeltas())
others = st.one_of(
    st.text(max_size=8), st.binary(max_size=4), st.datetimes(), st.dates(), st.lists(st.integers(), max_size=2)
)
values = st.one_of(st.sampled_from(VALUES), numbers, others)


def refusal(act: Callable[[], object]) -> Exception | None:
    """What it raises."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  # whatever it is, the test looks at it
        return error
    return None


def names(error: Exception, argument: str) -> bool:
    """Whether an error is ours, and says what was wrong."""
    text = str(error)
    return isinstance(error, HandlerDefinitionError | ConfigError) and (
        argument in text or (argument == "concurrency" and 'order="stream"' in text)
    )


async def handles_an_event(declare: Callable[[Broker], Any]) -> None:
    """Open a broker, publish what its only handler takes, and wait until that is settled."""
    facts: list[Fact] = []
    broker = Broker("memory://", group="g", observers=[facts.append])
    calls = declare(broker)
    [declared] = broker._router.declarations
    async with broker:
        await broker.publish(declared.options.stream, Order(1), event_type=declared.event_type or "Order")
        await until(lambda: calls, 5)


def declares(given: dict[str, Any]) -> Callable[[Broker], list[object]]:
    """Declares a handler with such options on a broker."""
    calls: list[object] = []

    async def handle(order: Order) -> None:
        calls.append(order)

    async def handle_many(orders: list[Order]) -> None:
        calls.extend(orders)

    async def handle_fields(fields: dict) -> None:  # type: ignore[type-arg]
        calls.append(fields)

    def declare(broker: Broker) -> list[object]:
        handler = handle_fields if isinstance(given.get("codec"), FieldsCodec) else handle
        broker.handler(**({"stream": "orders"} | given))(handle_many if given.get("batch") is not None else handler)
        return calls

    return declare


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(OPTIONS), values)
def test_an_option_that_is_wrong_is_refused_by_name_or_works(option: str, value: Any) -> None:
    assume(not (option == "concurrency" and isinstance(value, int) and 100 < value <= 10_000))  # they would work
    assume(not (option == "codec" and isinstance(value, MsgpackCodec)))  # another than the publisher's
    given = {option: value}
    if option == "within":
        given["batch"] = 1
    check(given, option)


def check(given: dict[str, Any], option: str) -> None:
    error = refusal(lambda: declares(given)(Broker("memory://", group="g")))
    if error is None:
        asyncio.run(handles_an_event(declares(given)))
    else:
        assert names(error, option), (option, error)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_is_tried_with_each_kind_of_value(option: str) -> None:
    """Without a broker: what is refused is refused by name."""
    for value in VALUES:
        error = refusal(lambda value=value: declares({option: value})(Broker("memory://", group="g")))  # type: ignore[misc]
        assert error is None or names(error, option), (option, error)


@given(st.sampled_from(FIELDS), values)
def test_a_field_of_a_policy_that_is_wrong_is_refused_by_name_or_decides(field: str, value: Any) -> None:
    check_field(field, value)


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_a_policy_is_tried_with_each_kind_of_value(field: str) -> None:
    for value in VALUES:
        check_field(field, value)


def check_field(field: str, value: Any) -> None:
    error = refusal(lambda: RetryPolicy(**{field: value}))
    if error is None:
        for failures in (0, 3, 10**6):
            decide(ValueError(), failures, RetryPolicy(**{field: value}), 1e6)
    else:
        assert type(error) is ConfigError, error
        assert str(error).startswith(f"RetryPolicy({field}=")
        assert "): expected " in str(error)


@given(values)
def test_a_time_to_wait_that_is_none_is_refused_by_name(value: Any) -> None:
    delivery = Delivery(Entry("s", b"1-0", []), Receiver("s", "g", "c", "handle"))
    for how in (RetryLater, delivery.retry):
        error = refusal(lambda how=how: how(value))  # type: ignore[misc]
        assert error is None or type(error) is ConfigError
        assert error is None or str(error).startswith("RetryLater(delay=")


@given(values)
def test_what_is_included_is_a_router(value: Any) -> None:
    for argument, given_ in (("router", {"router": value}), ("prefix", {"router": Router(), "prefix": value})):
        error = refusal(lambda given_=given_: Broker("memory://", group="g").include(**given_))  # type: ignore[misc]
        assert error is None or type(error) is HandlerDefinitionError, error
        assert error is None or str(error).removeprefix("include(").startswith(argument)


ROUTER = list(inspect.signature(Router).parameters)


@given(st.sampled_from(ROUTER), values)
def test_a_default_of_a_router_that_is_wrong_is_refused_by_name(argument: str, value: Any) -> None:
    check_router(argument, value)


@pytest.mark.parametrize("argument", ROUTER)
def test_each_default_of_a_router_is_tried_with_each_kind_of_value(argument: str) -> None:
    for value in VALUES:
        check_router(argument, value)


def check_router(argument: str, value: Any) -> None:
    """What a router refuses, it refuses when it is made; what it takes, its handlers work with."""
    error = refusal(lambda: Router(**{argument: value}))
    assert error is None or type(error) is ConfigError, error
    assert error is None or str(error).startswith(argument), error
    if error is None and not isinstance(value, FieldsCodec):  # which reads dicts
        declare_one(Router(**{argument: value}), stream="orders")


@pytest.mark.parametrize("option", ["group", "lease", "concurrency", "retry", "codec"])
def test_a_router_says_of_a_wrong_value_what_a_handler_says(option: str) -> None:
    for value in VALUES:
        alone = refusal(lambda value=value: declare_one(Router(), stream="orders", **{option: value}))  # type: ignore[misc]
        default = refusal(lambda value=value: Router(**{option: value}))  # type: ignore[misc]
        if value is not None and alone is not None:
            assert str(alone) == f"handler handle: {default}"


@pytest.mark.parametrize("prefix", ["a b", "\n", "x" * 600, "\ud800"])
def test_a_prefix_that_makes_no_name(prefix: str) -> None:
    router = Router()
    declare_one(router, stream="orders")
    with pytest.raises(HandlerDefinitionError, match="^prefix: the name"):
        Broker("memory://", group="g").include(router, prefix)


def declare_one(owner: Broker | Router, **given: Any) -> Declaration:
    async def handle(order: Order) -> None: ...

    owner.handler(**given)(handle)
    router = owner if isinstance(owner, Router) else owner._router
    return router.declarations[-1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"retry": 3}, "retry=3: expected a RetryPolicy, e.g. retry=RetryPolicy(max_failures=3)"),
        ({"retry": None}, "retry=None: expected a RetryPolicy, e.g. retry=RetryPolicy(max_failures=1), which retries"),
        (
            {"retry": 0},
            "retry=0: expected a RetryPolicy, e.g. retry=RetryPolicy(max_failures=1), which retries nothing",
        ),
        ({"retry": True}, "retry=True: expected a RetryPolicy, e.g. retry=RetryPolicy()"),
        ({"retry": RetryPolicy}, "expected a RetryPolicy, e.g. retry=RetryPolicy()"),
        ({"lease": timedelta(seconds=30)}, "expected seconds, 0.05 to 86400 (this timedelta has 30)"),
        ({"timeout": timedelta(minutes=1)}, "or None (this timedelta has 60)"),
        ({"timeout": float("inf")}, "timeout=inf: expected seconds above 0, up to 31622400, or None"),
        ({"concurrency": True}, "concurrency=True: expected a whole number, 1 to 10000"),
        ({"concurrency": 10_001}, "concurrency=10001: expected a whole number, 1 to 10000"),
        ({"key": "customer"}, "e.g. key=lambda event: event.customer"),
        ({"key": key_of_two}, "key=key_of_two: cannot be called with the payload alone"),
        ({"key": Around()}, "key: is an async function; a key function takes the payload alone"),
        ({"key": functools.partial(around)}, "key: is an async function"),
        ({"key": generator}, "key: is an async generator"),
        ({"event_type": Order}, "expected text; leave it out to use the name of the payload's type"),
        ({"event_type": ["a"]}, "event_type=['a']: expected text; one name"),
        ({"event_type": "\ud800"}, "event_type='\\ud800': cannot be written as UTF-8"),
        ({"codec": "json"}, "codec='json': expected a codec, e.g. JsonCodec()"),
        ({"codec": JsonCodec}, "codec=JsonCodec: is a class; write JsonCodec() to make one"),
        ({"middleware": around}, "expected a list of async functions, e.g. middleware=[around]"),
        ({"middleware": [Around]}, "middleware[0]=Around: is a class; expected an async function of (delivery, call"),
        ({"middleware": [around, plain]}, "middleware[1]=plain: is a function without 'async'"),
        ({"middleware": [of_one]}, "middleware[0]=of_one: cannot be called with (delivery, call_next)"),
        ({"middleware": [1]}, "middleware[0]=1: is an int"),
        ({"middleware": "around"}, "middleware='around': expected a list of async functions"),
        ({"start": 0}, 'start=0: expected "0" (everything)'),
        ({"start": None}, 'start=None: expected "0"'),
        ({"start": date(2026, 1, 1)}, "start=datetime.date(2026, 1, 1): expected"),
        ({"start": datetime(2026, 1, 1, tzinfo=NoZone())}, "give a time zone"),
        ({"start": "abc"}, "start='abc': expected"),
        ({"order": Mute()}, "order=<Mute"),
    ],
    ids=lambda given: given[:60] if isinstance(given, str) else "",
)
def test_the_error_says_what_to_write(given: dict[str, Any], told: str) -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        declare_one(Broker("memory://", group="g"), **({"stream": "orders"} | given))
    assert told in str(raised.value)


@pytest.mark.parametrize("middleware", [around, [Around], [plain], [1], "around", None, {around}, [of_one]])
def test_middleware_of_the_broker_is_held_to_the_same_rules(middleware: Any) -> None:
    with pytest.raises(ConfigError, match="^middleware"):
        Broker("memory://", group="g", middleware=middleware)


def test_an_error_shows_no_credentials() -> None:
    with pytest.raises(HandlerDefinitionError) as raised:
        declare_one(Broker("memory://", group="g"), stream="orders", retry="redis://:secret@host/0")
    assert "//***@host" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ValueError, (ValueError,)),
        ([ValueError, KeyError], (ValueError, KeyError)),
        ({ValueError}, (ValueError,)),
        (frozenset({ValueError}), (ValueError,)),
        (ValueError | KeyError, (ValueError, KeyError)),
        ([], ()),
        ((), ()),
    ],
)
def test_exception_types_may_be_one_or_many(given: Any, kept: tuple[type[Exception], ...]) -> None:
    for field in ("retry_on", "give_up_on"):
        policy = RetryPolicy(**{field: given})
        assert getattr(policy, field) == kept
        assert policy == RetryPolicy(**{field: kept})
        decide(ValueError(), 0, policy)


def test_a_policy_may_be_part_of_a_configuration() -> None:
    """A `Struct` of the application's, say, that is read from its own file: held to the same rules there."""
    assert msgspec.convert({"max_failures": 3}, RetryPolicy) == RetryPolicy(max_failures=3)
    with pytest.raises(msgspec.ValidationError, match="max_failures=0"):
        msgspec.convert({"max_failures": 0}, RetryPolicy)


def test_a_policy_without_a_base_waits_for_nothing() -> None:
    assert RetryPolicy(base=0, max_failures=10**6).delay(10**6) == 0


# -- dead letters that come back --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "eu."])
def test_p13_dead_letters_do_not_come_back(prefix: str) -> None:
    router, broker = Router(), Broker("memory://", group="g")
    with pytest.raises(HandlerDefinitionError, match="dead_letter='orders': is its own stream; a bad event would"):
        declare_one(broker, stream="orders", dead_letter="orders")
    declare_one(router, stream="orders", dead_letter=f"{prefix}orders.dead")
    if prefix:
        declare_one(router, stream="orders.dead", dead_letter="eu.orders")
        with pytest.raises(HandlerDefinitionError, match="whose dead letters come back to 'eu.orders'"):
            broker.include(router, prefix)
    else:
        with pytest.raises(HandlerDefinitionError, match="whose dead letters come back to 'orders"):
            declare_one(router, stream="orders.dead", dead_letter="orders")


def test_p13_nor_by_a_way_of_several_streams_and_groups() -> None:
    broker = Broker("memory://", group="g")
    declare_one(broker, stream="a", dead_letter="b")
    declare_one(broker, stream="b", dead_letter="c", group="other")
    declare_one(broker, stream="b", dead_letter="d")
    declare_one(broker, stream="d")
    declare_one(broker, stream="{d}:g:dead", dead_letter="e")
    for back in ("a", "b", "d"):
        with pytest.raises(HandlerDefinitionError, match="whose dead letters come back to"):
            declare_one(broker, stream="e", dead_letter=back)
    with pytest.raises(HandlerDefinitionError, match="whose dead letters come back to"):
        declare_one(broker, stream="c", dead_letter="a", group="third")
    declare_one(broker, stream="e", dead_letter="f")
    assert "6 handlers" in repr(broker)


def test_p13_nor_do_those_of_a_consumer_without_a_broker() -> None:
    with pytest.raises(ConfigError, match="dead_letter='orders': is the stream itself"):
        StreamConsumer(Connection("memory://"), "orders", "g", dead_letter="orders")


def test_routers_may_be_nested() -> None:
    inner, outer, broker = Router(), Router(), Broker("memory://", group="g")
    declare_one(inner, stream="orders")
    outer.include(inner, "eu.")
    broker.include(outer, "shop.")
    assert [declared.options.stream for declared in broker._router.declarations] == ["shop.eu.orders"]
    with pytest.raises(HandlerDefinitionError, match="too late"):
        declare_one(inner, stream="late")


# -- function shapes ------------------------------------------------------------------------------------------------

ANNOTATIONS = [
    *(
        "",
        "dict",
        "Order",
        "Any",
        "Delivery",
        "Delivery | None",
        "BatchDelivery",
        "EventMessage",
        "EventMessage[Order]",
    ),
    *("int", "Path", "list[Order]", "list[EventMessage]", "Nonsense", "5", "Annotated[Delivery, 1]", "Order | None"),
]
parameters = st.lists(
    st.tuples(
        st.sampled_from(ANNOTATIONS), st.sampled_from(["", "=None", "=3", "=object()"]), st.sampled_from(["", "*, "])
    ),
    max_size=3,
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(parameters, st.booleans(), st.sampled_from(["async def", "def"]))
@example([("Order", "", ""), ("Delivery | None", "=None", "*, ")], False, "async def")
@example([("Delivery", "", "")], False, "async def")
@example([("list[EventMessage]", "", "*, "), ("BatchDelivery", "", "")], True, "async def")
def test_a_shape_that_is_wrong_is_refused_or_is_called_with_what_it_says(
    shape: list[tuple[str, str, str]], batch: bool, kind: str
) -> None:
    signature = ", ".join(
        f"{star}p{place}{annotation and ': '}{annotation}{default}"
        for place, (annotation, default, star) in enumerate(shape)
    )
    calls: list[dict[str, object]] = []
    names = {"calls": calls, "Any": Any, "BatchDelivery": BatchDelivery, "Delivery": Delivery, "Order": Order}
    from pathlib import Path
    from typing import Annotated

    names |= {"EventMessage": EventMessage, "Path": Path, "Annotated": Annotated}
    try:
        program = compile(
            f"from __future__ import annotations\n{kind} handle({signature}):\n    calls.append(locals())", "", "exec"
        )
    except SyntaxError:
        assume(False)
    exec(program, names)
    options = {"batch": 1, "within": 0} if batch else {}
    broker = Broker("memory://", group="g")
    try:
        broker.handler("orders", **options)(names["handle"])  # type: ignore[arg-type]
    except HandlerDefinitionError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith("handler handle: ")
        return
    assume(not any(annotation in ("int", "list[Order]") and not batch for annotation, *_ in shape))  # no Order is one
    asyncio.run(handles_an_event(lambda other: (other.handler("orders", **options)(names["handle"]), calls)[1]))  # type: ignore[arg-type]
    for place, (annotation, *_) in enumerate(shape):
        got = calls[0][f"p{place}"]
        if "Delivery" in annotation:
            assert isinstance(got, BatchDelivery if batch else Delivery)
        elif annotation:
            event = got[0] if batch else got  # type: ignore[index]
            assert isinstance(event, EventMessage if "EventMessage" in annotation else (Order, dict))
