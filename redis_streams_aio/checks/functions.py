"""Check functions that users pass in: their kind, their name, and whether the library can call them.

A `functools.partial`, an object with `__call__` and a bound method count as functions; the checks look at the code
inside. Pure: no function is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from ..exceptions import ConfigError
from .values import shown


def code_of(function: object) -> object:
    """Return the function that runs: the one inside a `functools.partial`, or the `__call__` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type) or not callable(function):
        return function
    return getattr(function, "__call__", function)  # noqa: B004  # the method itself is needed, not whether it exists


def is_async(function: object) -> bool:
    """Whether a call of the function returns a coroutine."""
    return inspect.iscoroutinefunction(code_of(function)) or inspect.iscoroutinefunction(function)


def name_of(function: object) -> str:
    """Return the name for errors and logs: the function's name, or the class of an object with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        name = getattr(function, "__name__", None) or (type(function).__name__ if callable(function) else None)
    except Exception:  # noqa: BLE001  # user code: `__name__` may be a property
        name = None
    return name if isinstance(name, str) else shown(function)


def kind_of(function: object) -> str:
    """Describe the kind of object: `an async function`, `a class`, `an async generator`."""
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
    """Whether the function accepts `count` positional arguments. True if its signature cannot be read."""
    try:
        inspect.signature(cast("Callable[..., object]", function)).bind(*range(count))
    except TypeError:
        return False
    except Exception:  # noqa: BLE001  # a function that is not written in Python, or describes itself wrongly
        return True
    return True


def functions(what: str, values: object, arguments: str) -> tuple[Callable[..., object], ...]:
    """Return the functions as a tuple. Raises `ConfigError` if one is async or does not accept the arguments."""
    if callable(values) or isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigError(f"{what}={shown(values)}: expected a list of functions, e.g. {what}=[tell]")
    return tuple(function(f"{what}[{index}]", each, arguments) for index, each in enumerate(values))


def async_function_problems(what: str, values: object, arguments: str) -> Iterator[str]:
    """Yield everything that is wrong with a list of async functions of these arguments, e.g. `"event, call_next"`."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        advice = f", e.g. {what}=[{name_of(values)}]" if callable(values) else ""
        yield f"{what}={shown(values)}: expected a list of async functions{advice}"
        return
    for index, each in enumerate(values):
        named = f"{what}[{index}]={name_of(each)}"
        if not is_async(each):
            yield f"{named}: is {kind_of(each)}; expected an async function of ({arguments})"
        elif not takes(each, arguments.count(",") + 1):
            yield f"{named}: cannot be called with ({arguments})"


def function(what: str, value: object, arguments: str) -> Callable[..., object]:
    """Return the value if it is a function that can be called with these arguments, e.g. `"stream, length"`.

    Raises `ConfigError` if it is not a function, is async, or does not accept that number of arguments.
    """
    expected = f"expected a function of ({arguments})"
    if isinstance(value, type) or not callable(value):
        raise ConfigError(f"{what}={shown(value)}: {expected}")
    if is_async(value) or inspect.isasyncgenfunction(code_of(value)):
        raise ConfigError(
            f"{what}={shown(value)}: is {kind_of(value)}, but the call is not awaited; {expected} that is not "
            "async; it can put work into an asyncio.Queue"
        )
    if not takes(value, arguments.count(",") + 1):
        raise ConfigError(f"{what}={shown(value)}: {expected}, not of {inspect.signature(value)}")
    return value
