"""`Router`: collects handlers, for modules that do not know the broker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ..checks import names
from ..checks.functions import kind_of, name_of
from ..checks.values import shown
from ..codecs import Codec
from ..events.wire_format import Fields
from ..exceptions import ConfigError, HandlerDefinitionError
from .declaration import Declaration, declare
from .options import HandlerOptions, HandlerT, KeyFunction, Middleware, OnLost, Order, Unknown, middleware_problems
from .retry import RetryPolicy
from .routes import Plan, plan

_DEFAULT_RETRY = RetryPolicy()
_GROUP_NOT_KNOWN = "(the broker's group)"


class _CodecNotKnown:
    """The codec of a broker that is not known yet: whether it reads a type is asked when the router is included."""

    def decoder(self, payload_type: type[object]) -> Callable[[Fields], Any]:
        return lambda _: payload_type


class Router:
    """Handlers that a broker takes over with `broker.include(router)`.

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
        """Whether a broker has taken its handlers over."""
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
        """What was declared, in order."""
        return tuple(self._declarations)

    def handler(
        self,
        stream: str,
        *,
        group: str | None = None,
        event_type: str | None = None,
        concurrency: int = 1,
        order: Order | None = None,
        key: KeyFunction | None = None,
        start: str | datetime = "0",
        lease: float = 30.0,
        timeout: float | None = None,
        retry: RetryPolicy = _DEFAULT_RETRY,
        dead_letter: str | None = None,
        codec: Codec | None = None,
        middleware: Sequence[Middleware] = (),
        unknown: Unknown = "dead_letter",
        on_lost: OnLost = "cancel",
        deduplicate: float | None = None,
        batch: int | None = None,
        within: float | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a coroutine function as the handler of a stream's events: `async def bill(order: OrderPlaced) ->
        None`.

        The annotation of the first parameter says what the payload is decoded into; a second one annotated
        `Delivery` gets the metadata. When the function returns, the event is acknowledged; when it raises, `retry`
        decides. The function itself is returned unchanged.

        * `group`: the consumer group; by default the broker's. Each group gets every event; the processes of one
          group share them.
        * `event_type`: which events; by default those named like the payload's type. `dict` and `bytes` take all
          that no other handler takes.
        * `concurrency`: how many events are handled at once. `order`: `"stream"` one after another in stream order
          (default with concurrency 1), `"key"` the same for each key beside other keys (default with `key`),
          `"none"` as they come (default with more).
        * `key`: makes the ordering key of a payload; without it `order="key"` uses the key that was published.
        * `start`: where a new group begins: `"0"` everything, `"$"` only new events, an entry id, or a `datetime`
          with a time zone. Used for making the group and for nothing else.
        * `lease`: seconds without a sign of life of this process after which another one takes its events over.
          `timeout`: seconds that one call of the handler may take; then it is cancelled, which is a failure.
        * `retry`: how failures are retried. `dead_letter`: the stream for events given up, by default
          `{<stream>}:<group>:dead`.
        * `codec`: how entries are read, if not like the broker's. `middleware`: runs around the handler, the first
          outermost.
        * `unknown`: what becomes of events that no handler of the subscription takes: `"dead_letter"`, or `"skip"`
          to acknowledge them.
        * `on_lost`: what becomes of a handler whose event another consumer has taken over, after this process was
          frozen or cut off for longer than `lease`: `"cancel"` cancels it, `"continue"` lets it go on, with
          `delivery.lost` to ask.
        * `deduplicate`: seconds for which an event of the same `event_id` is dropped once one of it was handled. The
          mark is written in one step with the acknowledgement: a crash before it means a second run, never a loss.
        * `batch`: the handler takes a list of up to so many payloads (`list[Click]`, and `BatchDelivery`), each with
          a fate of its own. `within`: seconds that a batch may wait to be full (0.1 where nothing is said).

        `concurrency`, `order`, `key`, `start`, `lease`, `dead_letter`, `unknown`, `batch` and `within` belong to the
        subscription: handlers that share stream and group must agree. Raises `HandlerDefinitionError` when the
        function or an option cannot work.
        """
        self._check_time("a handler is declared")
        _check_parentheses(stream)
        options = HandlerOptions(
            stream=stream,
            group=group,
            event_type=event_type,
            concurrency=concurrency,
            order=order,
            key=key,
            start=start,
            lease=lease,
            timeout=timeout,
            retry=retry,
            dead_letter=dead_letter,
            codec=codec,
            middleware=middleware,
            unknown=unknown,
            on_lost=on_lost,
            deduplicate=deduplicate,
            batch=batch,
            within=within,
        )

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
        """The subscriptions that the handlers make."""
        return self._plan(self._declarations)

    def prefixed(self, prefix: str) -> list[Declaration]:
        """The handlers with `prefix` before the names of their streams. Raises `HandlerDefinitionError`."""
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
                f"{what} too late: a broker has taken the router's handlers over; declare all before include(router)"
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
            f"handler {name_of(stream)}: is {kind_of(stream)} in place of the stream's name; name the stream that it "
            'handles: @broker.handler("orders")'
        )
