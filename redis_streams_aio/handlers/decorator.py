"""`handler`: the method of `Broker` and `Router` that declares a handler.

Its options are stated once, as the fields of `HandlerOptions`: type checkers, completion, `help()` and
`inspect.signature` all have the signature from there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ..checks.signatures import taking
from .options import HandlerOptions, HandlerT


class HandlerDecorator(Protocol):
    """Decorates a handler, and returns the function unchanged."""

    def __call__(self, handler: HandlerT, /) -> HandlerT:
        """Declare the handler. Raises `HandlerDefinitionError`."""
        ...


class DeclaresHandlers(Protocol):
    """A broker or a router."""

    def _declare(self, options: HandlerOptions, said: Collection[str]) -> HandlerDecorator: ...


@taking(HandlerOptions)
def handler(self: DeclaresHandlers, *stream: str, **options: object) -> HandlerDecorator:
    """Declare a handler. Users see the docstring of `HandlerOptions`."""
    given = HandlerOptions(*stream, **options)  # type: ignore[arg-type]  # the signature checks them
    return self._declare(given, options.keys())
