"""Attempts: find the handler, decode the payload, call the handler, and decide the fate of the event.

Every error of user code becomes a value here: a fate. Nothing here asks Redis. Who decides the fate:

* `admit`, before the handler is called: too many deliveries, no handler for the event type (`unhandled`), or a replay
  for another group.
* `_failed`, which `admit` calls for a payload that cannot be decoded: `undecodable`.
* `retry.decide`, after the handler has raised, or has called `retry`, `reject` or `fail` on its delivery. An error of
  the key function, or one of the codec that is not a `DecodeError`, counts as raised by the handler.

**Cancellation.** A handler runs in its worker's task. Each cancellation of that task is one of these rows:

| who cancels | what the handler sees | the fate of the event |
|---|---|---|
| the drain, when `grace` is over | `CancelledError` | released, no failure is counted (1) |
| `timeout=` of the handler | `CancelledError`; outside of it, `TimeoutError` | failed: the retry policy decides |
| a lost lease, with `on_lost="cancel"` | `CancelledError`; `delivery.lost` is true | abandoned: nothing is written |
| user code: `task.cancel()`, a cancelled future | `CancelledError` | failed, as with any other exception |
| the process: `KeyboardInterrupt`, `SystemExit` | that exception | pending, until its lease expires (2) |

(1) A handler that has called `ack`, `retry` or `reject` keeps that fate. (2) The exception ends the broker.

The devices that tell these apart, all in this file:

* `is_drain_over`: only the drain cancels the *scope* in which workers run; all others cancel the task.
* `as_value`: returns the handler's exception, and re-raises it for the drain and the process.
* `forget_cancellation`: uncancels the worker's task, which continues with the next event.
* `absorb_cancellation`: consumes a cancellation that was requested while the handler was ending.
* `to_its_end`: repeats a write that a late cancellation interrupted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from types import CoroutineType
from typing import NoReturn, TypeVar

import anyio
import msgspec

from ...events.batch import BatchDelivery
from ...events.delivery import Delivery, Instructions
from ...events.replays import FOR_ANOTHER_GROUP
from ...events.wire_format import EVENT_ID, event_type_of, get, key_of
from ...exceptions import DecodeError
from ...handlers.calls import error_of
from ...handlers.error_texts import isinstance_of, message_of, shortened, traceback_of
from ...handlers.fates import ABANDON, ACK, Complete, DeadLetter, Failure, Fate, Retry
from ...handlers.options import KeyFunction, Unknown
from ...handlers.retry import decide, decide_by_default
from ...handlers.routes import Route, RouteTable
from ...telemetry.logs import log

T = TypeVar("T")


def prepare(delivery: Delivery, route: Route) -> None:
    """Decode the payload, or keep the error."""
    delivery.prepared = True
    try:
        delivery.payload = route.decode(delivery.fields)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a codec may raise anything; the attempt decides
        delivery.refusal = error


def lane_by_key(delivery: Delivery, routes: RouteTable, key: KeyFunction | None) -> object:
    """Return the lane of a delivery with `order="key"`: from the key function, else from the publisher's key.

    A delivery without a key waits for no other. An error of the key function counts as raised by the handler.
    """
    if key is None:
        return key_of(delivery.fields)
    route = routes.find(delivery.fields)
    if route is None or delivery.prepared:
        return None
    prepare(delivery, route)
    if delivery.refusal is None:
        try:
            return _lane(key(delivery.payload))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # the attempt decides
            delivery.refusal = error
    return None


def _lane(key: object) -> object:
    """Return the hash of a key, because the key itself may change or be slow to compare. Raises `TypeError`."""
    if key is None:
        return None
    if type(key) is CoroutineType:
        key.close()
        raise TypeError("the key function returned a coroutine; write it without async, for the payload alone")
    try:
        return hash(key)
    except TypeError as error:
        raise TypeError(
            f"the key function returned a {type(key).__name__}, which cannot be a key ({error}); return text, a "
            "number, or a tuple of them"
        ) from error


def admit(
    delivery: Delivery, route: Route | None, unknown: Unknown, now: Callable[[], float] = monotonic
) -> Route | Fate:
    """Return the handler to call, or the delivery's fate if no handler is called.

    `route` is the handler of its event type; `None` if there is none.
    """
    if delivery.refusal is FOR_ANOTHER_GROUP:
        return ACK
    if route is None:
        return ACK if unknown == "skip" else _unhandled(delivery)
    if delivery.deliveries > 1 and delivery.deliveries > route.retry.max_deliveries:
        return too_many_deliveries(delivery)
    if not delivery.prepared:
        prepare(delivery, route)
    refusal = delivery.refusal
    return route if refusal is None else _failed(refusal, delivery, route, None, now)


def as_value(raised: BaseException, deliveries: Sequence[Delivery]) -> BaseException:
    """Return the handler's exception as a value.

    Raises `CancelledError` if the drain is over and the handler has decided none of the deliveries: cleaning up after a
    cancellation may raise anything, which is not a failure of the event. Re-raises it when the process is ending.
    """
    if isinstance_of(raised, KeyboardInterrupt | SystemExit):
        raise raised
    if is_drain_over():
        if not any(map(is_decided, deliveries)):
            _give_up(raised, deliveries)
    elif isinstance_of(raised, asyncio.CancelledError):
        forget_cancellation()  # a lost lease, or user code cancelled the handler or something that it awaited
    return raised


def _give_up(raised: BaseException, deliveries: Sequence[Delivery]) -> NoReturn:
    if isinstance_of(raised, asyncio.CancelledError):
        raise raised
    others = f" and {len(deliveries) - 1} others" if len(deliveries) > 1 else ""
    text = "%s%s: the handler raised when the end of the drain cancelled it; another consumer will handle it"
    log.warning(text, deliveries[0], others, error=raised)
    raise asyncio.CancelledError from raised


def is_decided(delivery: Delivery) -> bool:
    """Whether the handler has decided the fate of the delivery."""
    return delivery.instructions is not None and delivery.instructions.decided


async def to_its_end(step: Callable[[], Awaitable[T]]) -> T:
    """Run a step that may be repeated, until it ends. Only the end of a drain cancels it.

    A late cancellation from a handler, such as a timeout that comes too late, does not.
    """
    while True:
        try:
            return await step()
        except asyncio.CancelledError:
            if is_drain_over():
                raise
            forget_cancellation()


async def call(route: Route, payload: object, taken: Sequence[Delivery]) -> BaseException | None:
    """Call a batch handler, and return its exception; `None` if it returned."""
    try:
        left = await route.call(payload, BatchDelivery(taken))
    except BaseException as raised:  # noqa: BLE001  # see `as_value`
        return as_value(raised, taken)
    return error_of(None, left)


async def absorb_cancellation() -> None:
    """Consume a cancellation of the worker that was requested while the handler ended, so that it hits nothing else."""
    if not is_drain_over():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        forget_cancellation()


def fate_after(
    error: BaseException | None,
    delivery: Delivery,
    route: Route,
    began: float | None = None,
    now: Callable[[], float] = monotonic,
) -> Fate:
    """Return the fate of a delivery whose handler has returned, or raised `error`, and may have decided before.

    `began` is when the handler was called; `now` is the clock of that time, and of `delivery.failing_since`.
    """
    if error is None and delivery.instructions is None and route.deduplicate is None:
        return ACK
    told, delivery.instructions = delivery.instructions, None
    if told is not None and told.decided:
        if error is not None:
            log.warning("%s: handler %s raised after its decision, which stands", delivery, route.name, error=error)
        error = told.error
    if error is None:
        return _fate_of_success(told, delivery, route)
    return _fate_of_error(error, delivery, route, began, now)


def _fate_of_success(told: Instructions | None, delivery: Delivery, route: Route) -> Fate:
    follow_ups = () if told is None else tuple(told.follow_ups)
    remember = route.deduplicate if get(delivery.fields, EVENT_ID) else None
    return ACK if not follow_ups and remember is None else Complete(follow_ups, remember)


def _fate_of_error(
    error: BaseException, delivery: Delivery, route: Route, began: float | None, now: Callable[[], float]
) -> Fate:
    if delivery.lost and isinstance_of(error, asyncio.CancelledError):
        return ABANDON
    return _failed(error, delivery, route, began, now)


def is_drain_over() -> bool:
    """Whether the worker itself is cancelled, by the scope in which it runs.

    User code may cancel its task, but not its scope.
    """
    return anyio.current_effective_deadline() == -math.inf


def forget_cancellation() -> None:
    """Forget a cancellation of the worker's task by user code or for a lost lease, after it was handled."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _failed(
    error: BaseException, delivery: Delivery, route: Route, began: float | None, now: Callable[[], float]
) -> Fate:
    failure = Failure(error, None if began is None else now() - began)
    if isinstance_of(error, DecodeError) and error is delivery.refusal:
        return DeadLetter("undecodable", message_of(error), delivery.failures, failure=failure)
    if delivery.refusal is None:
        delivery.prepared = False  # the handler may have changed the payload: the next attempt decodes it again
    failing_for = now() - delivery.failing_since if delivery.failing_since else 0.0
    return msgspec.structs.replace(_decided(error, delivery, route, failing_for), failure=failure)


def _decided(error: BaseException, delivery: Delivery, route: Route, failing_for: float) -> Retry | DeadLetter:
    """Return the decision of the handler's policy, or of the default policy if that raises."""
    try:
        if isinstance_of(error, asyncio.CancelledError):
            what = f"something that {route.name} awaited was cancelled"
            error = RuntimeError(what).with_traceback(error.__traceback__)
        return decide(error, delivery.failures, route.retry, failing_for)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # noqa: BLE001  # the exception, its class and the policy may be user code
        told = traceback_of(problem)  # with `error=`, formatters would examine that exception
        log.error("%s: the default policy decides on the error of handler %s\n%s", delivery, route.name, told)
        return decide_by_default(error, delivery.failures, failing_for)


def too_many_deliveries(delivery: Delivery) -> DeadLetter:
    """Return the fate of an event that was delivered more often than its handler allows."""
    error = f"delivered {delivery.deliveries} times without an end"
    return DeadLetter("deliveries", error, delivery.failures)


def _unhandled(delivery: Delivery) -> DeadLetter:
    event_type = event_type_of(delivery.fields).decode("utf-8", "replace")
    what = f"event type {event_type!r}" if event_type else "an entry without an event type"
    return DeadLetter("unhandled", shortened(f"no handler takes {what}"), delivery.failures)
