"""Declaring a handler: what `@broker.handler(...)` was told, and whether that can work. Pure.

`declare` checks one handler when it is decorated, that is at import: its options (`options`), and the function and
its annotations (`signatures`). What handlers mean for each other is `routing`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, cast, get_args, get_origin

import msgspec

from ..checks.functions import name_of
from ..exceptions import HandlerDefinitionError
from . import options, signatures
from .calls import Call
from .options import Handler, HandlerOptions


class Declaration(msgspec.Struct, frozen=True):
    """A handler that was checked."""

    handler: Handler
    options: HandlerOptions
    payload_type: type[object]
    call: Call
    """Calls the handler as its parameters want it."""
    takes_delivery: bool
    event_type: str | None
    """`None`: takes every event type that no other handler of the subscription takes."""

    @property
    def name(self) -> str:
        """The function's name, for errors and logs."""
        return name_of(self.handler)


def declare(handler: Handler, given: HandlerOptions) -> Declaration:
    """Check a handler and its options.

    Raises `HandlerDefinitionError`, which names the handler and says what to change.
    """
    if isinstance(handler, staticmethod):  # in a class, the function that others may decorate it as
        handler = cast("Handler", handler.__func__)
    signatures.check_kind(handler)
    for problem in options.problems(given):
        raise HandlerDefinitionError(f"handler {name_of(handler)}: {problem}")
    kept = options.normal(given)
    read = signatures.read(handler, batch=kept.batch is not None)
    event_type = kept.event_type or _event_type(read.payload_type)
    return Declaration(handler, kept, read.payload_type, read.call, read.takes_delivery, event_type)


def _event_type(payload_type: type[object]) -> str | None:
    """The type's own name; `None` for those that have none of their own."""
    if get_origin(payload_type) is Annotated:
        payload_type = get_args(payload_type)[0]
    if payload_type is Any or not isinstance(payload_type, type):  # of Any's being a type, Pythons differ
        return None
    return None if payload_type.__module__ == "builtins" else payload_type.__name__
