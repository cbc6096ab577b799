"""`HandlerOptions`: the options of `@broker.handler(...)`, and their checks. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from ..checks import names
from ..checks.functions import async_function_problems, kind_of, name_of, takes
from ..checks.times import LONGEST_DELAY, in_seconds, is_number
from ..checks.values import shown
from ..codecs import Codec, reading_codec
from ..events import entry_ids
from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..exceptions import ConfigError
from .breaker import Breaker
from .retry import RetryPolicy

Order = Literal["stream", "key", "none"]
Unknown = Literal["dead_letter", "skip"]
OnLost = Literal["cancel", "continue"]
Handler = Callable[..., Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=Handler)
KeyFunction = Callable[..., object]
CallNext = Callable[[], Awaitable[None]]
Middleware = (
    Callable[[Delivery, CallNext], Awaitable[None]]
    | Callable[[BatchDelivery, CallNext], Awaitable[None]]
    | Callable[[Delivery | BatchDelivery, CallNext], Awaitable[None]]
)
"""A function that runs around a handler, and gets the delivery or the batch.

`async def timed(delivery, call_next): ...; await call_next()`. Its errors count as errors of the handler.
"""
WITHIN = 0.1
"""Seconds that a batch waits until it is full, if the handler does not say."""
FILLED = ("group", "retry", "lease", "concurrency", "codec")
"""Options that a router can give to handlers that do not name them; middleware and prefixes are joined."""
_MOST_AT_ONCE = 10_000
_LARGEST_BATCH = 10_000
_LONGEST_MEMORY = 10 * 366 * 86_400


class HandledStream(msgspec.Struct, frozen=True):
    """The stream is the only option that can be given without its name."""

    stream: str


class HandlerOptions(HandledStream, frozen=True, kw_only=True):
    """Declare the handler of a stream's events: a coroutine function, `async def bill(order: OrderPlaced) -> None`.

    The payload is decoded into the type of the first parameter; a second parameter annotated `Delivery` gets the
    metadata. When the function returns, the event is acknowledged; when it raises, `retry` decides. The decorator
    returns the function unchanged.

    * `group`: the consumer group; by default the router's or the broker's. Each group gets every event; the processes
      of one group share them.
    * `event_type`: the type of the events; by default the name of the payload's type. Handlers of `dict` and `bytes`
      take all types that no other handler takes.
    * `concurrency`: the number of events handled at once. `order`: `"stream"` one after another in stream order
      (default with concurrency 1), `"key"` the same for each key, keys in parallel (default with `key`), `"none"`
      without order (default with more).
    * `key`: a function that returns the ordering key of a payload; without it `order="key"` uses the published key.
    * `start`: where a new group begins: `"0"` everything, `"$"` only new events, an entry id, or a `datetime`
      with a time zone. Used only when the group is created.
    * `lease`: seconds without a sign of life of this process after which another process takes over its events.
      `timeout`: the longest time for one call of the handler; then it is cancelled, which counts as a failure.
    * `retry`: how failures are retried. `dead_letter`: the stream for events that are given up, by default
      `{<stream>}:<group>:dead`.
    * `codec`: reads the entries instead of the router's or the broker's codec. `middleware`: functions that run around
      the handler, inside the router's and the broker's, the first outermost.
    * `unknown`: the fate of events that no handler of the subscription takes: `"dead_letter"`, or `"skip"` to
      acknowledge them.
    * `on_lost`: what happens to a running handler when another consumer has taken over its event, after this process
      was frozen or cut off for longer than `lease`: `"cancel"` cancels it, `"continue"` lets it continue, and it can
      check `delivery.lost`.
    * `deduplicate`: seconds after an event was handled in which other events with its `event_id` are dropped. The mark
      is written in one step with the acknowledgement: a crash before it causes a second run, never a loss.
    * `batch`: the handler takes a list of up to `batch` payloads (`list[Click]`, and `BatchDelivery`), each with its
      own fate. `within`: the longest time that a batch waits until it is full (default 0.1).

    * `breaker`: pauses the subscription in this process while most calls of the handler fail, and tries it with one
      event: `breaker=Breaker()`.

    `concurrency`, `order`, `key`, `start`, `lease`, `dead_letter`, `unknown`, `batch` and `within` belong to the
    subscription: they must be equal for all handlers with the same stream and group. Raises `HandlerDefinitionError`
    if the function or an option cannot work.
    """

    group: str | None = None
    event_type: str | None = None
    concurrency: int = 1
    order: Order | None = None
    key: KeyFunction | None = None
    start: str | datetime = "0"
    lease: float = 30.0
    timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()
    dead_letter: str | None = None
    codec: Codec | None = None
    middleware: Sequence[Middleware] = ()
    unknown: Unknown = "dead_letter"
    on_lost: OnLost = "cancel"
    deduplicate: float | None = None
    batch: int | None = None
    within: float | None = None
    breaker: Breaker | None = None

    @property
    def effective_order(self) -> Order:
        """The given order, or the default: per key with `key`, per stream with concurrency 1."""
        if self.order is not None:
            return self.order
        if self.key is not None:
            return "key"
        return "stream" if self.concurrency == 1 else "none"


def problems(options: HandlerOptions) -> Iterator[str]:
    """Yield every problem of the options; each text names the option, shows its value and says what is expected."""
    yield from _name_problems(options)
    yield from _order_problems(options)
    yield from _key_problems(options)
    yield from _value_problems(options)
    yield from _part_problems(options)
    yield from async_function_problems("middleware", options.middleware, "delivery, call_next")
    yield from _batch_problems(options)


def normal(options: HandlerOptions) -> HandlerOptions:
    """Return valid options in the form that is kept: names as plain text, middleware as a tuple."""
    return msgspec.structs.replace(
        options,
        middleware=tuple(options.middleware),
        **{
            name: names.exact(text)
            for name in ("stream", "group", "dead_letter", "event_type")
            if (text := getattr(options, name)) is not None
        },
    )


def _name_problems(options: HandlerOptions) -> Iterator[str]:
    for what, given in (("stream", options.stream), ("group", options.group), ("dead_letter", options.dead_letter)):
        if (given is not None or what == "stream") and (wrong := names.problem(given)):
            yield f"{what}: the name {wrong}"
    if options.event_type is not None:
        yield from _event_type_problems(options.event_type)


def _event_type_problems(event_type: object) -> Iterator[str]:
    if not isinstance(event_type, str):
        advice = "leave it out to use the name of the payload's type" if isinstance(event_type, type) else "one name"
        yield f"event_type={shown(event_type)}: expected text; {advice}"
    elif not event_type:
        yield "event_type: is empty; leave it out to use the payload type's name"
    elif not event_type.isascii() and event_type.encode("utf-8", "replace").decode() != event_type:
        yield f"event_type={shown(event_type)}: cannot be written as UTF-8"


def _order_problems(options: HandlerOptions) -> Iterator[str]:
    if not _is_whole(options.concurrency, _MOST_AT_ONCE):
        yield f"concurrency={shown(options.concurrency)}: expected a whole number, 1 to {_MOST_AT_ONCE}"
        return
    if options.order is not None and not _is_one_of(options.order, "stream", "key", "none"):
        yield f'order={shown(options.order)}: expected "stream", "key" or "none"'
        return
    if options.key is not None and options.effective_order != "key":
        yield f'key with order="{options.order}": a key means order="key"; leave one of them out'
    if options.effective_order == "stream" and options.concurrency > 1:
        yield f'order="stream" with concurrency={options.concurrency}: stream order means one at a time'


def _key_problems(options: HandlerOptions) -> Iterator[str]:
    key: object = options.key
    if key is None:
        return
    if not callable(key):
        example = f"lambda event: event.{key}" if isinstance(key, str) and key.isidentifier() else "lambda event: ..."
        yield f"key={shown(key)}: expected a function that returns the key of a payload, e.g. key={example}"
    elif kind_of(key).startswith("an async"):
        yield f"key: is {kind_of(key)}; a key function takes the payload alone, and is not async"
    elif not takes(key, 1):
        yield f"key={name_of(key)}: cannot be called with the payload alone"


def _value_problems(options: HandlerOptions) -> Iterator[str]:
    if not is_number(options.lease, 0.05, 86_400):
        yield _seconds("lease", options.lease, "seconds, 0.05 to 86400")
    yield from _span_problems("timeout", options.timeout, LONGEST_DELAY)
    if not _is_one_of(options.unknown, "dead_letter", "skip"):
        yield f'unknown={shown(options.unknown)}: expected "dead_letter" or "skip"'
    if not _is_one_of(options.on_lost, "cancel", "continue"):
        yield f'on_lost={shown(options.on_lost)}: expected "cancel" or "continue"'
    yield from _span_problems("deduplicate", options.deduplicate, _LONGEST_MEMORY)
    try:
        entry_ids.start_position(options.start)
    except ConfigError as error:
        yield str(error)


def _span_problems(what: str, given: float | None, most: float) -> Iterator[str]:
    if given is not None and not (is_number(given, 0, most) and given > 0):
        yield _seconds(what, given, f"seconds above 0, up to {most}, or None")


def _part_problems(options: HandlerOptions) -> Iterator[str]:
    retry: object = options.retry
    if not isinstance(retry, RetryPolicy):
        yield f"retry={shown(retry)}: expected a RetryPolicy, {_policy_for(retry)}"
    breaker: object = options.breaker
    if breaker is not None and not isinstance(breaker, Breaker):
        yield f"breaker={shown(breaker)}: expected a Breaker, e.g. breaker=Breaker(rate=0.5), or None"
    try:
        if options.codec is not None:
            reading_codec(options.codec)
    except ConfigError as error:
        yield str(error)


def _policy_for(retry: object) -> str:
    """Suggest the policy that the user may have meant."""
    if isinstance(retry, int) and is_number(retry, 1):
        return f"e.g. retry=RetryPolicy(max_failures={shown(retry)})"
    if retry is None or retry is False or (isinstance(retry, int) and is_number(retry)):
        return "e.g. retry=RetryPolicy(max_failures=1), which retries nothing; leave it out for the default"
    return "e.g. retry=RetryPolicy(); leave it out for the default"


def _batch_problems(options: HandlerOptions) -> Iterator[str]:
    if options.batch is None:
        if options.within is not None:
            yield f"within={shown(options.within)}: is the time that a batch waits until it is full; give batch= too"
        return
    if not _is_whole(options.batch, _LARGEST_BATCH):
        yield f"batch={shown(options.batch)}: expected a whole number, 1 to {_LARGEST_BATCH}"
    if options.within is not None and not is_number(options.within, 0, 3600):
        yield _seconds("within", options.within, "seconds, 0 to 3600")


def _seconds(what: str, value: object, expected: str) -> str:
    return f"{what}={shown(value)}: expected {expected}{in_seconds(value)}"


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and is_number(value, 1, most)


def _is_one_of(value: object, *words: str) -> bool:
    return isinstance(value, str) and value in words
