"""Checks values that are given in code as strictly as values of a file, and names the argument that is wrong."""

from __future__ import annotations

import functools

import msgspec

from ..checks import names, values
from ..exceptions import ConfigError
from .hints import unit


def check_fields(record: msgspec.Struct) -> None:
    """Check values given in code like values of a file, and store plain text, and records instead of mappings.

    Raises `ConfigError`.
    """
    for field in _fields(type(record)):
        given = getattr(record, field.name)
        try:
            value = msgspec.convert(_plain(given), field.type)
        except UnicodeEncodeError:
            raise ConfigError(f"{type(record).__name__}({field.name}): text that cannot be written as UTF-8") from None
        except Exception as error:  # noqa: BLE001  # a user's value may raise anything
            shown = "..." if field.name == "redis_url" else values.shown(given)
            raise ConfigError(f"{type(record).__name__}({field.name}={shown}): {error}{unit(field.name)}") from None
        if value is not given:
            msgspec.structs.force_setattr(record, field.name, value)


@functools.cache
def _fields(record: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a record with their types, which msgspec evaluates from text each time it is asked."""
    return msgspec.structs.fields(record)


def _plain(value: object) -> object:
    """Return members of a `(str, Enum)` and other subclasses of `str` as plain text, also in a mapping or a list."""
    if isinstance(value, str):
        return names.exact(value)
    if isinstance(value, dict):
        return {_plain(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
