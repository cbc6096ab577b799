"""`HandlerOptions`: the options of `@broker.handler(...)`, and whether each is one that can work. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from ..checks import names
from ..checks.functions import is_async, kind_of, name_of, takes
from ..checks.times import LONGEST_DELAY, in_seconds, is_number
from ..checks.values import shown
from ..codecs import Codec, reading_codec
from ..events import entry_ids
from ..events.batch import BatchDelivery
from ..events.delivery import Delivery
from ..exceptions import ConfigError
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
"""Runs around a handler, and gets what a handler gets: the delivery, or the batch.

`async def timed(delivery, call_next): ...; await call_next()`. What it raises counts as raised by the handler.
"""
WITHIN = 0.1
"""Seconds that a batch waits to be full, where the handler does not say."""
_MOST_AT_ONCE = 10_000
_LARGEST_BATCH = 10_000
_LONGEST_MEMORY = 10 * 366 * 86_400


class HandledStream(msgspec.Struct, frozen=True):
    """The stream, which may be given without its name; all other options are named."""

    stream: str


class HandlerOptions(HandledStream, frozen=True, kw_only=True):
    """Declare the handler of a stream's events: a coroutine function, `async def bill(order: OrderPlaced) -> None`.

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

    @property
    def effective_order(self) -> Order:
        """The order asked for, or the one that follows: a key means per key, concurrency 1 means per stream."""
        if self.order is not None:
            return self.order
        if self.key is not None:
            return "key"
        return "stream" if self.concurrency == 1 else "none"


def problems(options: HandlerOptions) -> Iterator[str]:
    """What cannot work, the first first; each names the option, shows its value and says what is expected."""
    yield from _name_problems(options)
    yield from _order_problems(options)
    yield from _key_problems(options)
    yield from _value_problems(options)
    yield from _part_problems(options)
    yield from middleware_problems(options.middleware)
    yield from _batch_problems(options)


def normal(options: HandlerOptions) -> HandlerOptions:
    """The options without a problem, as they are kept: names as plain text, middleware as a tuple."""
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
        yield f"key={shown(key)}: expected a function that makes the key from the payload, e.g. key={example}"
    elif kind_of(key).startswith("an async"):
        yield f"key: is {kind_of(key)}; a key is made from the payload alone, without waiting"
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
    try:
        if options.codec is not None:
            reading_codec(options.codec)
    except ConfigError as error:
        yield str(error)


def _policy_for(retry: object) -> str:
    """What is meant by something that is not a policy."""
    if isinstance(retry, int) and is_number(retry, 1):
        return f"e.g. retry=RetryPolicy(max_failures={shown(retry)})"
    if retry is None or retry is False or (isinstance(retry, int) and is_number(retry)):
        return "e.g. retry=RetryPolicy(max_failures=1), which tries nothing again; leave it out for the default"
    return "e.g. retry=RetryPolicy(); leave it out for the default"


def middleware_problems(middleware: object) -> Iterator[str]:
    """What cannot run around a handler."""
    if isinstance(middleware, str) or not isinstance(middleware, Sequence):
        advice = f", e.g. middleware=[{name_of(middleware)}]" if callable(middleware) else ""
        yield f"middleware={shown(middleware)}: expected a list of async functions{advice}"
        return
    for index, around in enumerate(middleware):
        what = f"middleware[{index}]={name_of(around)}"
        if not is_async(around):
            yield f"{what}: is {kind_of(around)}; expected an async function of (delivery, call_next)"
        elif not takes(around, 2):
            yield f"{what}: cannot be called with (delivery, call_next)"


def _batch_problems(options: HandlerOptions) -> Iterator[str]:
    if options.batch is None:
        if options.within is not None:
            yield f"within={shown(options.within)}: says how long a batch may wait to be full; give batch= too"
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
