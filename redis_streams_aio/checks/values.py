"""Check arguments of constructors and methods. An error names the argument, shows the value and says what is expected.

`config` checks settings by the same bounds. Pure.
"""

from __future__ import annotations

import math
import re
import reprlib
from typing import TypeVar

from ..exceptions import ConfigError
from .times import is_number

T = TypeVar("T")
LONGEST = 86_400
"""The longest time allowed, in seconds: a day."""

LONGEST_LINE = 500
"""Characters of a name or a reason that people read."""

_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs: they cannot be written as UTF-8."""
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


def shown(value: object) -> str:
    """Return a short `repr` of the value for an error text, even if its own `repr` raises."""
    try:
        return _repr.repr(value)
    except Exception:  # noqa: BLE001  # a value of any class
        return f"<{type(value).__name__}>"


def text(what: str, value: object) -> str:
    """Return the value as a plain `str`. Raises `ConfigError` if it is not text."""
    if isinstance(value, str) and not _SURROGATES.search(value):
        return str.__str__(value)
    raise ConfigError(f"{what}={shown(value)}: expected text")


def line(what: str, value: object, *, least: int = 1) -> str:
    """Return the value. Raises `ConfigError` if it is not one line of text, at least `least` characters long."""
    said = text(what, value)
    if not said.isprintable() or not least <= len(said.strip()) <= LONGEST_LINE:
        raise ConfigError(f"{what}={shown(value)}: expected one line of text, up to {LONGEST_LINE} characters")
    return said.strip()


def seconds(what: str, value: object, *, least: float = 0.0, most: float = LONGEST) -> float:
    """Return the value. Raises `ConfigError` if it is not a number of seconds above `least`, up to `most`."""
    if is_number(value) and least < value <= most:
        return value
    bound = "" if most == math.inf else f", up to {most:g}"
    raise ConfigError(f"{what}={shown(value)}: expected seconds above {least:g}{bound}")


def whole(what: str, value: object, least: int) -> int:
    """Return the value. Raises `ConfigError` if it is not a whole number, `least` or more."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise ConfigError(f"{what}={shown(value)}: expected a whole number, {least} or more")


def instance(what: str, value: object, kind: type[T]) -> T:
    """Return the value. Raises `ConfigError` if it is not an instance of `kind`."""
    if isinstance(value, kind):
        return value
    hint = ""
    if value is kind:
        hint = f"; write {kind.__name__}(...) to make one"
    elif isinstance(getattr(type(value), what, None), property):
        hint = f"; a {type(value).__name__} has one: .{what}"
    raise ConfigError(f"{what}={shown(value)}: expected a {kind.__name__}{hint}")


def has_methods(what: str, value: object, *methods: str) -> None:
    """Check that the value is an object with these methods. Raises `ConfigError`."""
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise ConfigError(f"{what}={shown(value)}: expected an object with the methods {' and '.join(methods)}")
