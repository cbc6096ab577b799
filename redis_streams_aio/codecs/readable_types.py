"""Check at declaration whether a payload can be decoded into a type.

msgspec makes a decoder for any class, and reports a class that it does not know only when it decodes. These checks find
such a class when the handler is declared. Pure. Imported at the first declaration, as it imports `msgspec.inspect`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import inspect

from .payload_types import name_of

T = TypeVar("T")
_CAN_BE = "a msgspec.Struct, a dataclass, a TypedDict, dict or bytes"
_READ: tuple[object, ...] = ({}, [], "", 0, 0.0, True, None, b"", datetime.fromtimestamp(0, UTC))
"""One value of each kind that a decoder can produce."""


def problem(payload_type: object) -> str | None:
    """Say why no payload can be decoded into this type; `None` if it can."""
    try:
        return _known_problem(payload_type)
    except TypeError:  # `Annotated` with a value that cannot be hashed
        return _problem(payload_type)


def _problem(payload_type: object) -> str | None:
    try:
        described = inspect.type_info(payload_type)
    except Exception as error:  # noqa: BLE001  # user classes may raise anything; msgspec itself raises TypeError
        return f"{name_of(payload_type)} cannot be decoded: {error}"
    for cls, path in _unknown(described, ()):
        if not _may_be_read(cls):
            where = f" (in {'.'.join(path)})" if path else ""
            return (
                f"{name_of(cls)}{_kind(cls)}{where} cannot be decoded: expected {_CAN_BE}, or codec= with your own "
                "codec that reads it"
            )
    return None


_known_problem = functools.lru_cache(maxsize=1024)(_problem)
"""Cached, because a broker checks all its handlers again whenever one more is declared."""


def checked(payload_type: type[T]) -> type[T]:
    """Return the type. Raises `TypeError` for a type that no payload can become."""
    if said := problem(payload_type):
        raise TypeError(said)
    return payload_type


def is_of_fields(payload_type: object) -> bool:
    """Whether names with values can be decoded into the type. Call it only if `problem` finds none."""
    described = inspect.type_info(payload_type)
    while isinstance(described, inspect.Metadata):
        described = described.type
    kinds = described.types if isinstance(described, inspect.UnionType) else (described,)
    return any(isinstance(kind, _OF_FIELDS) for kind in kinds)


_OF_FIELDS = (
    inspect.AnyType,
    inspect.CustomType,
    inspect.DataclassType,
    inspect.DictType,
    inspect.StructType,
    inspect.TypedDictType,
)


def _unknown(described: inspect.Type, path: tuple[str, ...]) -> Iterator[tuple[type, tuple[str, ...]]]:
    """Yield the classes that msgspec does not know, with the fields that lead to them."""
    waiting: list[tuple[object, tuple[str, ...]]] = [(described, path)]
    seen: set[int] = set()
    while waiting:
        each, path = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, inspect.CustomType):
            yield each.cls, path
        elif isinstance(each, inspect.Type):
            waiting += _inside(each, path)


def _inside(described: inspect.Type, path: tuple[str, ...]) -> list[tuple[object, tuple[str, ...]]]:
    """Return the types of a type's fields or items."""
    found: list[tuple[object, tuple[str, ...]]] = []
    for value in msgspec.structs.astuple(described):
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, inspect.Field):
                found.append((part.type, (*(path or (name_of(getattr(described, "cls", "")),)), part.name)))
            elif isinstance(part, inspect.Type):
                found.append((part, path))
    return found


def _may_be_read(cls: type) -> bool:
    """Whether decoded values can be instances of the class, as for `object`, `Iterable` and `Number`."""
    try:
        return any(isinstance(value, cls) for value in _READ)
    except Exception:  # noqa: BLE001  # a protocol without `runtime_checkable`, or a metaclass in user code
        return False


def _kind(cls: type) -> str:
    return ", a pydantic model," if hasattr(cls, "__pydantic_fields__") or hasattr(cls, "model_fields") else ""
