"""`Router` collects handlers, for modules that do not know the broker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..checks import names
from ..checks.functions import kind_of, name_of
from ..checks.values import shown
from ..codecs import Codec
from ..events.wire_format import Fields
from ..exceptions import ConfigError, HandlerDefinitionError
from .declaration import Declaration, declare
from .decorator import HandlerDecorator, handler
from .options import HandlerOptions, HandlerT, Middleware, middleware_problems
from .routes import Plan, plan

_GROUP_NOT_KNOWN = "(the broker's group)"


class _CodecNotKnown:
    """The codec of a broker that is not known yet: whether it reads a type is asked when the router is included."""

    def decoder(self, payload_type: type[object]) -> Callable[[Fields], Any]:
        return lambda _: payload_type


class Router:
    """Collects handlers; a broker takes them over with `broker.include(router)`.

    ```python
    router = Router()

    @router.handler("orders", group="mail")
    async def mail(order: OrderPlaced) -> None: ...
    ```
    """

    def __init__(self) -> None:
        self._declarations: list[Declaration] = []
        self._plan: Callable[[Sequence[Declaration]], list[Plan]] = functools.partial(
            plan, group=_GROUP_NOT_KNOWN, codec=_CodecNotKnown()
        )
        self.included: bool = False
        """Whether a broker has taken over the handlers."""
        self._is_open: Callable[[], bool] = lambda: False

    @classmethod
    def of_broker(
        cls,
        group: str | None,
        codec: Codec,
        middleware: Sequence[Middleware],
        max_payload_bytes: int,
        is_open: Callable[[], bool],
    ) -> Router:
        """The broker's own router, which knows what its handlers leave out, and takes none while it is open.

        Raises `ConfigError`.
        """
        if wrong := next(middleware_problems(middleware), None):
            raise ConfigError(wrong)
        router = cls()
        router._is_open = is_open
        router._plan = functools.partial(
            plan, group=group, codec=codec, middleware=tuple(middleware), max_payload_bytes=max_payload_bytes
        )
        return router

    @property
    def declarations(self) -> Sequence[Declaration]:
        """The declared handlers, in order."""
        return tuple(self._declarations)

    handler = handler

    def _declare(self, options: HandlerOptions) -> HandlerDecorator:
        self._check_time("a handler is declared")
        _check_parentheses(options.stream)

        def decorate(handler: HandlerT) -> HandlerT:
            self.add([declare(handler, options)])
            return handler

        return decorate

    def add(self, declarations: Sequence[Declaration]) -> None:
        """Take checked handlers in.

        Raises `HandlerDefinitionError`, and takes none, when they contradict those that are there, or come too late.
        """
        self._check_time("a handler is declared")
        together = [*self._declarations, *declarations]
        self._plan(together)
        self._declarations = together

    def include(self, router: Router, prefix: str = "") -> None:
        """Take over another router's handlers; see `Broker.include`. Raises `HandlerDefinitionError`."""
        self._check_time("a router is included")
        _check_router(router)
        self.add(router.prefixed(prefix))
        router.included = True

    def plans(self) -> list[Plan]:
        """Return the subscriptions of the handlers."""
        return self._plan(self._declarations)

    def prefixed(self, prefix: str) -> list[Declaration]:
        """Return the handlers with `prefix` before the names of their streams. Raises `HandlerDefinitionError`."""
        if not isinstance(prefix, str):
            raise HandlerDefinitionError(f"include(prefix={shown(prefix)}): expected text")
        return [_with_stream(declared, prefix + declared.options.stream) for declared in self._declarations]

    def _check_time(self, what: str) -> None:
        if self._is_open():
            raise HandlerDefinitionError(
                f"{what} too late: the broker is open; declare all handlers before it is opened"
            )
        if self.included:
            raise HandlerDefinitionError(
                f"{what} too late: a broker has included this router; declare all handlers before include(router)"
            )


def _with_stream(declared: Declaration, stream: str) -> Declaration:
    if wrong := names.problem(stream):
        raise HandlerDefinitionError(f"handler {declared.name}: stream: the name {wrong}")
    return msgspec.structs.replace(declared, options=msgspec.structs.replace(declared.options, stream=stream))


def _check_router(router: object) -> None:
    if not isinstance(router, Router):
        advice = "; write Router() to make one" if isinstance(router, type) else ""
        raise HandlerDefinitionError(f"include(router={shown(router)}): expected a Router{advice}")


def _check_parentheses(stream: object) -> None:
    """Raises `HandlerDefinitionError` for `@broker.handler` without parentheses, which gets the function."""
    if callable(stream) or isinstance(stream, staticmethod | classmethod):
        raise HandlerDefinitionError(
            f"handler {name_of(stream)}: is {kind_of(stream)} instead of a stream's name; name the stream: "
            '@broker.handler("orders")'
        )
