"""Wrappers of handlers: which parameters of the wrapped function a wrapper can fill, by place or by name. Pure.

A wrapper that takes `*args` or `**kwargs` (`functools.wraps`) passes them on. With `*args` it fills places; with
`**kwargs`, names. A parameter that it can fill in neither way keeps its default, and is refused if it has none.
"""

from __future__ import annotations

import inspect
from inspect import Parameter

from .options import Handler

FURTHER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
"""The kinds of `*args` and `**kwargs`."""


def read_signature(handler: Handler) -> inspect.Signature:
    """Return the signature of the function that is called; for a wrapper, with the parameters that it passes on.

    Raises `TypeError` or `ValueError` if there is none.
    """
    called = inspect.signature(handler, follow_wrapped=False)
    passes_on = not _kinds(called).isdisjoint(FURTHER)
    wrapped = inspect.signature(handler) if passes_on else called
    return called if list(wrapped.parameters) == list(called.parameters) else _passed_on(called, wrapped)


def _passed_on(called: inspect.Signature, wrapped: inspect.Signature) -> inspect.Signature:
    asked_for = [each for each in wrapped.parameters.values() if each.kind not in FURTHER]
    places = len(asked_for) if Parameter.VAR_POSITIONAL in _kinds(called) else _places(called)
    by_place = [each for each in asked_for[:places] if _has_a_place(each)]
    by_name = [_by_name(each, called) for each in asked_for if each not in by_place]
    return wrapped.replace(parameters=[*by_place, *filter(None, by_name)])


def _by_name(parameter: Parameter, called: inspect.Signature) -> Parameter | None:
    """Return the parameter as one that goes by name; `None` if it keeps its default. Raises `ValueError`."""
    has_name = Parameter.VAR_KEYWORD in _kinds(called) or parameter.name in called.parameters
    if has_name and parameter.kind is not parameter.POSITIONAL_ONLY:
        return parameter.replace(kind=parameter.KEYWORD_ONLY)
    if parameter.default is parameter.empty:
        raise ValueError(f"its wrapper passes nothing on to {parameter.name!r}; give the wrapper (*args, **kwargs)")
    return None


def _kinds(signature: inspect.Signature) -> set[object]:
    return {each.kind for each in signature.parameters.values()}


def _places(signature: inspect.Signature) -> int:
    return sum(map(_has_a_place, signature.parameters.values()))


def _has_a_place(parameter: Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
