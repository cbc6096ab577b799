"""Declare a handler: check the function and the options of `@broker.handler(...)`. Pure.

`declare` checks one handler when it is decorated, usually at import: its options (`options`), and the function and its
annotations (`signatures`). `routes` checks several handlers against each other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, cast, get_args, get_origin

import msgspec

from ..checks.functions import name_of
from ..exceptions import HandlerDefinitionError
from . import options, signatures
from .calls import Call
from .options import Handler, HandlerOptions

_WITHOUT_NAMES = ("builtins", "collections", "collections.abc", "msgspec", "types", "typing")
"""Modules of types that do not name an event: `dict`, `Mapping`, `msgspec.Raw`, unions."""


class Declaration(msgspec.Struct, frozen=True):
    """A handler that passed all checks."""

    handler: Handler
    options: HandlerOptions
    payload_type: type[object]
    call: Call
    """Calls the handler with the arguments that its parameters need."""
    takes_delivery: bool
    said: frozenset[str]
    """Names of the options that were given; no default takes their place."""
    event_type: str | None
    """The event type; `None` for every event type that no other handler of the subscription takes."""

    @property
    def name(self) -> str:
        """The function's name, for errors and logs."""
        return name_of(self.handler)


def declare(handler: Handler, given: HandlerOptions, said: Collection[str] = ()) -> Declaration:
    """Check a handler and its options; `said`: names of the options that were given.

    Raises `HandlerDefinitionError`, which names the handler and says what to change.
    """
    if isinstance(handler, staticmethod):  # decorated inside a class
        handler = cast("Handler", handler.__func__)
    signatures.check_kind(handler)
    check_options(handler, given)
    kept = options.normal(given)
    read = signatures.read(handler, batch=kept.batch is not None)
    event_type = kept.event_type or _event_type(read.payload_type)
    return Declaration(handler, kept, read.payload_type, read.call, read.takes_delivery, frozenset(said), event_type)


def check_options(handler: Handler, given: HandlerOptions) -> None:
    """Raise `HandlerDefinitionError` for options that cannot work."""
    for problem in options.problems(given):
        raise HandlerDefinitionError(f"handler {name_of(handler)}: {problem}")


def _event_type(payload_type: type[object]) -> str | None:
    """Return the type's name; `None` for `dict`, `Any` and other types without their own name."""
    if get_origin(payload_type) is Annotated:
        payload_type = get_args(payload_type)[0]
    named = get_origin(payload_type) or payload_type  # `Box[int]` is a `Box`
    if named is Any or not isinstance(named, type):  # `Any` is a type since 3.11
        return None
    return None if named.__module__ in _WITHOUT_NAMES else named.__name__
