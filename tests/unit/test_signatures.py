"""Options are stated once, and `help()` and `inspect` show them at every door; `tests/typing` asks type checkers."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable

import msgspec
import pytest

from redis_streams_aio import Broker, Delivery, Router, StreamProducer
from redis_streams_aio.events.follow_ups import WithAcknowledgement
from redis_streams_aio.events.outgoing import Durability, Outgoing, WhenBehind
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.testing.running import Harness


class Published(Outgoing, frozen=True, kw_only=True):
    """The options of `publish`: those of the event, and what the call waits for."""

    durability: Durability | None = None
    when_behind: WhenBehind | None = None


DOORS: list[tuple[Callable[..., object], type[msgspec.Struct]]] = [
    (Broker.handler, HandlerOptions),
    (Router.handler, HandlerOptions),
    (Broker.publish, Published),
    (StreamProducer.publish, Published),
    (Harness.publish, Published),
    (Delivery.publish, WithAcknowledgement),
]
"""Methods that take the fields of a record."""


def default_of(field: msgspec.structs.FieldInfo) -> object:
    if field.required:
        return inspect.Parameter.empty
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


@pytest.mark.parametrize(("method", "record"), DOORS)
def test_a_method_shows_every_option_with_its_type_and_default(
    method: Callable[..., object], record: type[msgspec.Struct]
) -> None:
    types = {name: text for kind in record.__mro__ for name, text in vars(kind).get("__annotations__", {}).items()}
    first, *shown = inspect.signature(method).parameters.values()
    assert first.name == "self"
    assert [each.name for each in shown] == list(record.__struct_fields__)
    assert {each.name: each.annotation for each in shown} == types
    assert [each.default for each in shown] == [default_of(field) for field in msgspec.structs.fields(record)]


@pytest.mark.parametrize(("method", "record"), DOORS)
def test_help_explains_every_option(method: Callable[..., object], record: type[msgspec.Struct]) -> None:
    told = pydoc.plain(pydoc.render_doc(method))
    for field in msgspec.structs.fields(record):
        name = field.name
        if field.required:
            continue
        assert f"{name}: '" in told, "in the signature, which Python 3.13 breaks into lines"
        assert f"`{name}`" in told, "in the explanation"


def test_publishing_many_is_the_same_everywhere() -> None:
    assert Broker.publish_many is StreamProducer.publish_many is Harness.publish_many


@pytest.mark.parametrize("method", [Broker("memory://", group="g").handler, Router().handler])
def test_a_wrong_name_is_refused_where_it_is_written(method: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="lese"):
        method("orders", lese=30)
    with pytest.raises(TypeError, match="stream"):
        method()
