"""Functions that users hand in: what kind they are, what they are called, and whether they can be called as we will.

A `functools.partial`, an object with `__call__` and a bound method are functions too; each is looked at where its code
is. Pure: nothing is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import cast

from ..exceptions import ConfigError
from .values import shown


def code_of(function: object) -> object:
    """The function that runs: inside of `functools.partial`, or the `__call__` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type) or not callable(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004  # the method itself, not whether there is one


def is_async(function: object) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(code_of(function)) or inspect.iscoroutinefunction(function)


def name_of(function: object) -> str:
    """What it is called in errors and logs: the function's name, or the class of an object with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        name = getattr(function, "__name__", None) or (type(function).__name__ if callable(function) else None)
    except Exception:  # noqa: BLE001  # a property of the user's
        name = None
    return name if isinstance(name, str) else shown(function)


def kind_of(function: object) -> str:
    """What it is: `an async function`, `a class`, `an async generator`."""
    if is_async(function):
        return "an async function"
    kinds: tuple[tuple[Callable[[object], bool], str], ...] = (
        (inspect.isclass, "a class"),
        (inspect.iscoroutine, "a coroutine, which is a call of a function"),
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator"),
        (lambda code: isinstance(code, classmethod), "a classmethod, which has no class yet"),
        (lambda code: isinstance(code, property), "a property"),
        (inspect.isroutine, "a function without 'async'"),
    )
    code = code_of(function)
    found = next((words for test, words in kinds if test(code)), None)
    return found or f"{'an' if type(function).__name__[0] in 'aeiouAEIOU' else 'a'} {type(function).__name__}"


def takes(function: object, count: int) -> bool:
    """Whether it can be called with so many positional arguments. One whose signature cannot be read is believed."""
    try:
        inspect.signature(cast("Callable[..., object]", function)).bind(*range(count))
    except TypeError:
        return False
    except Exception:  # noqa: BLE001  # of what is not written in Python, or says wrong things of itself
        return True
    return True


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
    if is_async(value) or inspect.isasyncgenfunction(code_of(value)):
        raise ConfigError(
            f"{what}={shown(value)}: is {kind_of(value)}, and is called without waiting; {expected} that is not async, "
            "and e.g. puts what is to be awaited into an asyncio.Queue"
        )
    if not takes(value, arguments.count(",") + 1):
        raise ConfigError(f"{what}={shown(value)}: {expected}, not of {inspect.signature(value)}")
    return value
