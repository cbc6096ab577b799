"""Options are stated once, and `help()` and `inspect` show them at every door; `tests/typing` asks type checkers."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable

import msgspec
import pytest

from redis_streams_aio import Broker, Router
from redis_streams_aio.handlers.options import HandlerOptions

DOORS: list[tuple[Callable[..., object], type[msgspec.Struct]]] = [
    (Broker.handler, HandlerOptions),
    (Router.handler, HandlerOptions),
]
"""Methods that take the fields of a record."""


@pytest.mark.parametrize(("method", "record"), DOORS)
def test_a_method_shows_every_option_with_its_type_and_default(
    method: Callable[..., object], record: type[msgspec.Struct]
) -> None:
    types = {name: text for kind in record.__mro__ for name, text in vars(kind).get("__annotations__", {}).items()}
    first, *shown = inspect.signature(method).parameters.values()
    assert first.name == "self"
    assert [each.name for each in shown] == list(record.__struct_fields__)
    assert {each.name: each.annotation for each in shown} == types
    assert [each.default for each in shown] == [
        inspect.Parameter.empty if field.required else field.default for field in msgspec.structs.fields(record)
    ]


@pytest.mark.parametrize(("method", "record"), DOORS)
def test_help_explains_every_option(method: Callable[..., object], record: type[msgspec.Struct]) -> None:
    told = pydoc.plain(pydoc.render_doc(method))
    signature, explained = told.split("\n\n", maxsplit=1)[1].split("\n", maxsplit=1)
    for name in record.__struct_fields__[1:]:
        assert f"{name}: '" in signature
        assert f"`{name}`" in explained


@pytest.mark.parametrize("method", [Broker("memory://", group="g").handler, Router().handler])
def test_a_wrong_name_is_refused_where_it_is_written(method: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="lese"):
        method("orders", lese=30)
    with pytest.raises(TypeError, match="stream"):
        method()
