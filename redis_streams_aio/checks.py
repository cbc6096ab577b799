"""Checks of what users write: each names the argument, shows the value, and says what was expected.

They are for the arguments of constructors and methods; `config` checks settings by the same bounds. Pure.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import reprlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from .exceptions import ConfigError
from .times import is_number

T = TypeVar("T")
LONGEST = 86_400
"""Seconds that a time may have: a day."""

_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs: they cannot be written as UTF-8."""
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


def shown(value: object) -> str:
    """The value as errors show it: short, and whatever its `repr` does."""
    try:
        return _repr.repr(value)
    except Exception:  # noqa: BLE001  # of anything that users pass in
        return f"<{type(value).__name__}>"


def text(what: str, value: object) -> str:
    """Text. Raises `ConfigError`."""
    if isinstance(value, str) and not _SURROGATES.search(value):
        return str.__str__(value)
    raise ConfigError(f"{what}={shown(value)}: expected text")


def seconds(what: str, value: object, *, least: float = 0.0, most: float = LONGEST) -> float:
    """A time above `least`, up to `most`. Raises `ConfigError`."""
    if is_number(value) and least < value <= most:
        return value
    bound = "" if most == math.inf else f", up to {most:g}"
    raise ConfigError(f"{what}={shown(value)}: expected seconds above {least:g}{bound}")


def whole(what: str, value: object, least: int) -> int:
    """A whole number of at least so much. Raises `ConfigError`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise ConfigError(f"{what}={shown(value)}: expected a whole number, {least} or more")


def instance(what: str, value: object, kind: type[T]) -> T:
    """An instance of a class of ours. Raises `ConfigError`."""
    if isinstance(value, kind):
        return value
    hint = ""
    if value is kind:
        hint = f"; write {kind.__name__}(...) to make one"
    elif isinstance(getattr(type(value), what, None), property):
        hint = f"; a {type(value).__name__} has one: .{what}"
    raise ConfigError(f"{what}={shown(value)}: expected a {kind.__name__}{hint}")


def has_methods(what: str, value: object, *methods: str) -> None:
    """Something that can be asked for these. Raises `ConfigError`."""
    if isinstance(value, type) or not all(callable(getattr(value, method, None)) for method in methods):
        raise ConfigError(f"{what}={shown(value)}: expected an object with the methods {' and '.join(methods)}")


def functions(what: str, values: object, arguments: str) -> tuple[Callable[..., object], ...]:
    """Functions that can be called with such arguments, each at once and without waiting. Raises `ConfigError`."""
    if callable(values) or isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigError(f"{what}={shown(values)}: expected a list of functions, e.g. {what}=[tell]")
    return tuple(function(f"{what}[{index}]", each, arguments) for index, each in enumerate(values))


def function(what: str, value: object, arguments: str) -> Callable[..., object]:
    """A function that can be called with such arguments (`"fact"`), at once and without waiting.

    Raises `ConfigError`.
    """
    expected = f"expected a function of ({arguments})"
    if isinstance(value, type) or not callable(value):
        raise ConfigError(f"{what}={shown(value)}: {expected}")
    if _is_async(value):
        raise ConfigError(
            f"{what}={shown(value)}: is an async function, and is called without waiting; {expected} that is not, and "
            "e.g. puts what is to be awaited into an asyncio.Queue"
        )
    if not _takes(value, arguments.count(",") + 1):
        raise ConfigError(f"{what}={shown(value)}: {expected}, not of {inspect.signature(value)}")
    return value


def _is_async(function: Callable[..., object]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        test(each)
        for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for each in (function, function.__call__)  # type: ignore[operator]  # every callable has one
    )


def _takes(function: Callable[..., object], arguments: int) -> bool:
    """Whether it can be called with so many arguments; of what has no signature to read (`print`), it is believed."""
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return False
    except ValueError:
        return True
    return True
