"""`Router` collects handlers, for modules that do not know the broker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from ..checks.functions import async_function_problems, kind_of, name_of
from ..checks.names import exact
from ..checks.values import shown
from ..codecs import Codec
from ..config import MAX_PAYLOAD_BYTES
from ..events.wire_format import Fields
from ..exceptions import ConfigError, HandlerDefinitionError
from .declaration import Declaration, check_options, declare
from .decorator import HandlerDecorator, handler
from .defaults import Defaults, prefix_problem
from .options import HandlerOptions, HandlerT, Middleware
from .retry import RetryPolicy
from .routes import Plan, plan


class _CodecNotKnown:
    """The codec of a broker that is not known yet: whether it reads a type is asked when the router is included."""

    def decoder(self, payload_type: type[object]) -> Callable[[Fields], Any]:
        return lambda _: payload_type


_NOT_KNOWN = Defaults(group="(the broker's group)", codec=_CodecNotKnown())
"""Stands for the defaults of the broker, which a router does not know."""


class Router:
    """Collects handlers and gives them defaults; a broker takes them over with `broker.include(router)`.

    ```python
    router = Router(group="mail", retry=RetryPolicy(max_failures=3))

    @router.handler("orders")
    async def mail(order: OrderPlaced) -> None: ...
    ```

    * `group`, `retry`, `lease`, `concurrency` and `codec` are defaults for handlers that do not name these options.
      The router nearest to the handler decides, the broker last.
    * `middleware` runs around the handler's own middleware, inside the broker's.
    * `prefix` is put before the names of the handlers' streams; the prefix of `include(router, prefix)` before that.

    `help(Router.handler)` explains each option. Raises `ConfigError` for wrong values.
    """

    def __init__(
        self,
        *,
        group: str | None = None,
        retry: RetryPolicy | None = None,
        lease: float | None = None,
        concurrency: int | None = None,
        middleware: Sequence[Middleware] = (),
        codec: Codec | None = None,
        prefix: str = "",
    ) -> None:
        self._defaults = Defaults(
            group=group,
            retry=retry,
            lease=lease,
            concurrency=concurrency,
            middleware=middleware,
            codec=codec,
            prefix=prefix,
        ).checked()
        self._declarations: list[Declaration] = []
        self._of_broker = _NOT_KNOWN
        self._max_payload_bytes = MAX_PAYLOAD_BYTES
        self.included: bool = False
        """Whether a broker or another router has taken over the handlers."""
        self._is_open: Callable[[], bool] = lambda: False

    @classmethod
    def of_broker(
        cls,
        group: str | None,
        codec: Codec,
        middleware: Sequence[Middleware],
        max_payload_bytes: int,
        is_open: Callable[[], bool],
        *,
        follow_ups: Middleware | None = None,
    ) -> Router:
        """The broker's own router, which knows what its handlers leave out, and takes none while it is open.

        `follow_ups` takes the follow-ups of handlers through the publish middleware. Raises `ConfigError`.
        """
        if wrong := next(async_function_problems("middleware", middleware, "delivery, call_next"), None):
            raise ConfigError(wrong)
        router = cls()
        router._is_open = is_open
        router._of_broker = Defaults(group=group, codec=codec, middleware=tuple(middleware), follow_ups=follow_ups)
        router._max_payload_bytes = max_payload_bytes
        return router

    @property
    def declarations(self) -> Sequence[Declaration]:
        """The declared handlers, in order."""
        return tuple(self._declarations)

    handler = handler

    def _declare(self, options: HandlerOptions, said: Collection[str]) -> HandlerDecorator:
        self._check_time("a handler is declared")
        _check_parentheses(options.stream)

        def decorate(handler: HandlerT) -> HandlerT:
            self.add([_checked(self._defaults.apply(declare(handler, options, said)))])
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
        if router is self:
            raise HandlerDefinitionError("router: is this router itself; include it in another router, or in a broker")
        if wrong := prefix_problem(prefix):
            raise HandlerDefinitionError(wrong)
        mine = msgspec.structs.replace(self._defaults, prefix=self._defaults.prefix + exact(prefix))
        self.add([_checked(mine.apply(declared)) for declared in router.declarations])
        router.included = True

    def plans(self) -> list[Plan]:
        """Return the subscriptions of the handlers."""
        return self._plan(self._declarations)

    def _plan(self, declarations: Sequence[Declaration]) -> list[Plan]:
        known = self._of_broker is not _NOT_KNOWN
        return plan(map(self._of_broker.apply, declarations), self._max_payload_bytes, all_known=known)

    def _check_time(self, what: str) -> None:
        if self._is_open():
            raise HandlerDefinitionError(
                f"{what} too late: the broker is open; declare all handlers before it is opened"
            )
        if self.included:
            raise HandlerDefinitionError(
                f"{what} too late: this router is included already; declare handlers and include routers before that"
            )


def _checked(declared: Declaration) -> Declaration:
    """Return the handler with its router's defaults. Raises `HandlerDefinitionError` if they contradict its options."""
    check_options(declared.handler, declared.options)
    return declared


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
