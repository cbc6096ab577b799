"""Wrong values of every kind, given to every public option that is no handler's: refused by an error of ours that names
the argument, or a broker that publishes and handles an event (P24)."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import inspect
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from redis_streams_aio import (
    Broker,
    Connection,
    ConsumerGroupManager,
    DeadLetters,
    Delivery,
    JsonCodec,
    LagWatcher,
    RedisCheckpointStore,
    RedisStreamsError,
    Settings,
    StreamConsumer,
    StreamManager,
    StreamProducer,
    StreamSettings,
)
from redis_streams_aio.broker.parts import assemble
from redis_streams_aio.telemetry import Telemetry
from redis_streams_aio.testing.waiting import until
from tests.events import Order


class Name(str, enum.Enum):  # noqa: UP042  # that is what users have
    ORDERS = "orders"


class Number(enum.IntEnum):
    FIVE = 5


class Hostile:
    """Not even its repr can be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


async def async_function(*given: Any) -> None:
    """As a middleware it is a right one: it calls what is inside."""
    if len(given) == 2:
        await given[1]()


def function(*_: object) -> None: ...


WRONG: list[Any] = [
    *(None, True, False, 0, 1, -1, 5, 2**70, 0.0, 1.5, -0.5, math.nan, math.inf, -math.inf, 1e300, Decimal("1.5"), 1j),
    *("", "x", "a b", "\x00", "\ud800", "x" * 600, "{}", "${HOST}", "orders-{env}", "redis_streams_aio:x", "$", "0"),
    *("json", "http://h", "redis://a:1,b:2", "memory://", "redis://h/0?nope=1", "true", "nan", "1-1", "5"),
    *(b"", b"x", bytearray(b"x"), memoryview(b"x"), [], [1], ["a"], (), ("a", "b"), {}, {"a": 1}, {1: "x"}, {"a": "b"}),
    *(
        {"orders": {"retention": {"max_length": 5}}},
        {"orders": {"retention": {"max_length": 0}}},
        {"orders": None},
        set(),
        {1},
        frozenset(),
        iter(()),
        range(3),
    ),
    *(
        int,
        str,
        JsonCodec,
        Settings,
        Order,
        Exception,
        function,
        async_function,
        lambda: None,
        functools.partial(function),
    ),
    *(object(), Hostile(), ValueError("x"), Name.ORDERS, Name, Number.FIVE, Number, Order(1), NotImplemented, ...),
    *(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), Path("no/such/file"), asyncio),  # noqa: DTZ001
    *(
        [function],
        [async_function],
        [("orders", "g")],
        [("orders",)],
        JsonCodec(),
        Settings(),
        StreamSettings(),
        Telemetry(),
    ),
]

Run = Callable[[Any], Awaitable[object]]


async def works(broker: Broker, **publishing: Any) -> None:
    """It publishes, and handles."""
    handled: list[object] = []

    async def handle(order: dict[str, object]) -> None:
        handled.append(order)

    given = broker.settings
    if given.max_payload_bytes < 20:
        return
    stream = publishing.pop("stream", "orders")
    broker.handler(stream, group=given.group or "g")(handle)
    parts = broker._parts
    settings = Settings(redis_url="memory://", group="g", streams=given.streams, grace=0)
    broker._parts = assemble(settings, parts.codec, parts.observers)
    async with broker:
        await broker.publish(stream, Order(1), **publishing)
        await until(lambda: len(handled) == 1)


def broker_option(name: str) -> Run:
    async def run(value: Any) -> None:
        given = {"url": "memory://", "group": "g", name: value}
        if name == "client":
            del given["url"]
        if name == "settings":
            del given["url"], given["group"]
        await works(Broker(**given))

    return run


def setting(name: str) -> Run:
    async def run(value: Any) -> None:
        await works(Broker(settings=Settings(**{"redis_url": "memory://", name: value})))

    return run


def stream_setting(name: str) -> Run:
    async def run(value: Any) -> None:
        await works(Broker("memory://", settings=Settings(streams={"orders": StreamSettings(**{name: value})})))

    return run


def publishing(name: str) -> Run:
    async def run(value: Any) -> None:
        await works(Broker("memory://", group="g"), **{name: value})

    return run


async def from_config(value: Any) -> None:
    await works(Broker.from_config(value))


async def publish_many(value: Any) -> None:
    async with Broker("memory://") as broker:
        await broker.publish_many("orders", value, event_type="E")


async def payload(value: Any) -> None:
    async with Broker("memory://") as broker:
        await broker.publish("orders", value, event_type="E")


async def follow_up(value: Any) -> None:
    seen: list[BaseException | None] = []
    broker = Broker("memory://", group="g")

    @broker.handler("orders")
    async def handle(order: Order, delivery: Delivery) -> None:
        try:
            delivery.publish("{orders}:mail", order, key=value, headers={"a": value})
            seen.append(None)
        except BaseException as error:  # noqa: BLE001  # it is looked at
            seen.append(error)

    async with broker:
        await broker.publish("orders", Order(1))
        await until(lambda: bool(seen))
    if seen[0] is not None:
        raise seen[0]


def connection_option(name: str) -> Run:
    async def run(value: Any) -> None:
        with contextlib.suppress(NotImplementedError):
            Connection(**{"url": "memory://", name: value})

    return run


def of(make: Callable[[Connection, Any], Any]) -> Run:
    """A constructor or a method of one of the parts."""

    async def run(value: Any) -> None:
        async with Connection("memory://", command_timeout=5) as connection:
            await StreamProducer(connection).publish("orders", Order(1))
            await ConsumerGroupManager(connection).create_group("orders", "g")
            made = make(connection, value)
            if inspect.isawaitable(made):
                await made

    return run


OPTIONS: dict[str, Run] = {
    **{f"Broker({name})": broker_option(name) for name in inspect.signature(Broker).parameters},
    **{f"Settings({name})": setting(name) for name in Settings.__struct_fields__},
    **{f"StreamSettings({name})": stream_setting(name) for name in StreamSettings.__struct_fields__},
    **{f"publish({name})": publishing(name) for name in ("stream", "event_type", "key", "event_id", "headers")},
    **{f"Connection({name})": connection_option(name) for name in inspect.signature(Connection).parameters},
    "from_config": from_config,
    "publish_many": publish_many,
    "publish(payload)": payload,
    "delivery.publish": follow_up,
    "Telemetry": of(lambda _, value: Telemetry(value)),
    "StreamProducer(connection)": of(lambda _, value: StreamProducer(value)),
    "StreamProducer(codec)": of(lambda c, value: StreamProducer(c, codec=value)),
    "StreamProducer(settings)": of(lambda c, value: StreamProducer(c, settings=value)),
    "StreamManager(connection)": of(lambda _, value: StreamManager(value)),
    "StreamManager(telemetry)": of(lambda c, value: StreamManager(c, telemetry=value)),
    "create_stream": of(lambda c, value: StreamManager(c).create_stream(value)),
    "delete_stream": of(lambda c, value: StreamManager(c).delete_stream(value)),
    "get_stream_info": of(lambda c, value: StreamManager(c).get_stream_info(value)),
    "length": of(lambda c, value: StreamManager(c).length(value)),
    "trim(stream)": of(lambda c, value: StreamManager(c).trim(value, maxlen=1)),
    "trim(maxlen)": of(lambda c, value: StreamManager(c).trim("orders", maxlen=value)),
    "trim(exact)": of(lambda c, value: StreamManager(c).trim("orders", maxlen=1, exact=value)),
    "watch_length(stream)": of(lambda c, value: StreamManager(c).watch_length(value, 5)),
    "watch_length(bound)": of(lambda c, value: StreamManager(c).watch_length("orders", value)),
    "watch_length(callback)": of(lambda c, value: StreamManager(c).watch_length("orders", 5, value)),
    "ConsumerGroupManager": of(lambda _, value: ConsumerGroupManager(value)),
    "create_group(stream)": of(lambda c, value: ConsumerGroupManager(c).create_group(value, "new")),
    "create_group(group)": of(lambda c, value: ConsumerGroupManager(c).create_group("orders", value)),
    "create_group(start)": of(lambda c, value: ConsumerGroupManager(c).create_group("orders", "new", value)),
    "copy_group(group)": of(lambda c, value: ConsumerGroupManager(c).copy_group("orders", value, source="g")),
    "copy_group(source)": of(lambda c, value: ConsumerGroupManager(c).copy_group("orders", "new", source=value)),
    "seek(stream)": of(lambda c, value: ConsumerGroupManager(c).seek(value, "g", "0")),
    "seek(to)": of(lambda c, value: ConsumerGroupManager(c).seek("orders", "g", value)),
    "seek(dry_run)": of(lambda c, value: ConsumerGroupManager(c).seek("orders", "g", "0", dry_run=value)),
    "usage(group)": of(lambda c, value: ConsumerGroupManager(c).usage("orders", value)),
    "delete_group(only_unused)": of(
        lambda c, value: ConsumerGroupManager(c).delete_group("orders", "g", only_unused=value)
    ),
    "delete_group(group)": of(lambda c, value: ConsumerGroupManager(c).delete_group("orders", value)),
    "get_group_info(group)": of(lambda c, value: ConsumerGroupManager(c).get_group_info("orders", value)),
    "list_consumers(group)": of(lambda c, value: ConsumerGroupManager(c).list_consumers("orders", value)),
    "delete_consumer": of(lambda c, value: ConsumerGroupManager(c).delete_consumer("orders", "g", value)),
    "delete_consumer(idle)": of(
        lambda c, value: ConsumerGroupManager(c).delete_consumer("orders", "g", "c", idle=value)
    ),
    "LagWatcher(connection)": of(lambda _, value: LagWatcher(value, [("orders", "g")])),
    "LagWatcher(groups)": of(lambda c, value: LagWatcher(c, value).run_once()),
    **{
        f"LagWatcher({name})": of(
            lambda c, value, name=name: LagWatcher(c, [("orders", "g")], **{name: value}).run_once()
        )  # type: ignore[misc]
        for name in ("high", "low", "on_high", "on_low", "telemetry")
    },
    "RedisCheckpointStore": of(lambda _, value: RedisCheckpointStore(value)),
    **{
        f"DeadLetters({name})": of(
            lambda c, value, name=name: DeadLetters(**{"connection": c, "stream": "orders", "group": "g", name: value})  # type: ignore[misc]
        )
        for name in inspect.signature(DeadLetters).parameters
    },
    **{
        f"DeadLetters.list({name})": of(
            lambda c, value, name=name: DeadLetters(c, "orders", "g").list(**{name: value})  # type: ignore[misc]
        )
        for name in ("reason", "since", "until", "after", "count")
    },
    **{
        f"DeadLetters.replay({name})": of(
            lambda c, value, name=name: DeadLetters(c, "orders", "g").replay(**{name: value})  # type: ignore[misc]
        )
        for name in ("ids", "reason", "since", "until", "rate")
    },
    "DeadLetters.show": of(lambda c, value: DeadLetters(c, "orders", "g").show(value)),
    "DeadLetters.purge(ids)": of(lambda c, value: DeadLetters(c, "orders", "g").purge(value)),
    **{
        f"StreamConsumer({name})": of(
            lambda c, value, name=name: StreamConsumer(
                **{"connection": c, "stream": "orders", "group": "g", name: value}
            )  # type: ignore[misc]
        )
        for name in inspect.signature(StreamConsumer).parameters
    },
}


@pytest.mark.parametrize("option", OPTIONS)
async def test_p24_a_wrong_value_is_refused_in_our_words_or_works(option: str) -> None:
    """Every option with every value. No error of Python's own comes out from inside."""
    raw: list[str] = []
    for value in WRONG:
        try:
            await OPTIONS[option](value)
        except RedisStreamsError as error:
            if len(str(error)) > 1_000:
                raw.append(f"{option} with {type(value)}: {len(str(error))} characters: {str(error)[:200]}")
        except Exception as error:  # noqa: BLE001  # this is what is looked for
            raw.append(f"{option} with {type(value)}: {type(error).__name__}: {error}")
    assert raw == []
