"""Attempts: find the handler, decode the payload, call the handler, and decide the fate of the event.

Every error of user code becomes a value here: a fate. Nothing here asks Redis. Who decides the fate:

* `route_or_fate`, before the handler is called: too many deliveries, no handler for the event type (`unhandled`), or a
  replay for another group.
* `_failed`, which `route_or_fate` calls for a payload that cannot be decoded: `undecodable`.
* `retry.decide`, after the handler has raised, or has called `retry`, `reject` or `fail` on its entry. An error of
  the key function, or one of the codec that is not a `DecodeError`, counts as raised by the handler.
* Elsewhere: `carrying.write_fates`, for a follow-up that Redis refuses for good, and `iterating`, for `StreamConsumer`.

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
* `failure_of`: returns the handler's exception, and re-raises it for the drain and the process.
* `forget_cancellation`: uncancels the worker's task, which continues with the next event.
* `consume_cancellation`: consumes a cancellation that was requested while the handler was ending.
* `to_its_end`: repeats a write that a late cancellation interrupted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, NoReturn, TypeVar

import anyio
import msgspec

from ...events.delivery import Delivery, HandlerInstructions, instructions_of
from ...events.replays import FOR_ANOTHER_GROUP
from ...events.wire_format import EVENT_ID, event_type_of, get, key_of
from ...exceptions import DecodeError
from ...handlers.error_texts import isinstance_of, message_of, shortened, traceback_of
from ...handlers.fates import ABANDON, ACK, Complete, DeadLetter, Failure, Fate, Retry
from ...handlers.lanes import lane_of
from ...handlers.options import KeyFunction, Unknown
from ...handlers.retry import decide, decide_by_default
from ...handlers.routes import Route, RouteTable
from ...telemetry.logs import log
from ..entry import Entry

T = TypeVar("T")


def prepare(entry: Entry, route: Route) -> None:
    """Decode the payload, or keep the error."""
    entry.prepared = True
    try:
        entry.payload = route.decode(entry.fields)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a codec may raise anything; the attempt decides
        entry.refusal = error


def lane_by_key(entry: Entry, routes: RouteTable, key: KeyFunction | None) -> object:
    """Return the lane of an entry with `order="key"`: from the key function, else from the publisher's key.

    An entry without a key waits for no other. An error of the key function counts as raised by the handler.
    """
    if key is None:
        return key_of(entry.fields)
    route = routes.find(entry.fields)
    if route is None or entry.prepared:
        return None
    prepare(entry, route)
    if entry.refusal is None:
        try:
            return lane_of(key(entry.payload))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # the attempt decides
            entry.refusal = error
    return None


def route_or_fate(
    entry: Entry, route: Route | None, unknown: Unknown, now: Callable[[], float] = monotonic
) -> Route | Fate:
    """Return the handler to call, or the fate of the entry if no handler is called.

    `route` is the handler of its event type; `None` if there is none.
    """
    if entry.refusal is FOR_ANOTHER_GROUP:
        return ACK
    if route is None:
        return ACK if unknown == "skip" else _unhandled(entry)
    if entry.deliveries > 1 and entry.deliveries > route.retry.max_deliveries:
        return too_many_deliveries(entry)
    if not entry.prepared:
        prepare(entry, route)
    refusal = entry.refusal
    return route if refusal is None else _failed(Failure(refusal, None), entry, route, now())


def failure_of(raised: BaseException, deliveries: Iterable[Delivery | None], subject: object) -> BaseException:
    """Return the handler's exception as a value.

    Raises `CancelledError` if the drain is over and the handler has decided none of the deliveries: cleaning up after a
    cancellation may raise anything, which is not a failure of the event. Re-raises it when the process is ending.
    `subject` is named in the log.
    """
    if isinstance_of(raised, KeyboardInterrupt | SystemExit):
        raise raised
    if is_drain_over():
        if not any(map(is_decided, deliveries)):
            _give_up(raised, subject)
    elif isinstance_of(raised, asyncio.CancelledError):
        forget_cancellation()  # a lost lease, or user code cancelled the handler or something that it awaited
    return raised


def _give_up(raised: BaseException, subject: object) -> NoReturn:
    if isinstance_of(raised, asyncio.CancelledError):
        raise raised
    text = "%s: the handler raised when the end of the drain cancelled it; another consumer will handle it"
    log.warning(text, subject, error=raised)
    raise asyncio.CancelledError from raised


def is_decided(delivery: Delivery | None) -> bool:
    """Whether the handler has decided the fate of the delivery."""
    instructions = instructions_of(delivery)
    return instructions is not None and instructions.decided


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


async def consume_cancellation() -> None:
    """Consume a cancellation of the worker that was requested while the handler ended, so that it hits nothing else."""
    if not is_drain_over():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        forget_cancellation()


class Ended(NamedTuple):
    """The end of an attempt."""

    error: BaseException | None
    """The exception of the handler; `None` if it returned."""
    instructions: HandlerInstructions | None
    """The instructions that the handler has left."""
    seconds: float | None = None
    """How long the handler ran; `None` if it was not called."""

    @property
    def is_decided(self) -> bool:
        """Whether the handler has decided the fate."""
        return self.instructions is not None and self.instructions.decided


def fate_after(ended: Ended, entry: Entry, route: Route, now: float) -> Fate:
    """Return the fate of an entry after its handler has ended. `now` is on the clock of `entry.failing_since`."""
    error, told, _ = ended
    if told is not None and told.decided:
        if error is not None:
            log.warning("%s: handler %s raised after its decision, which stands", entry, route.name, error=error)
        error = told.error
    if error is None:
        return _fate_of_success(told, entry, route)
    if entry.lost and isinstance_of(error, asyncio.CancelledError):
        return ABANDON
    return _failed(Failure(error, ended.seconds), entry, route, now)


def _fate_of_success(told: HandlerInstructions | None, entry: Entry, route: Route) -> Fate:
    follow_ups = () if told is None else tuple(told.follow_ups)
    remember = None if route.deduplicate is None or not get(entry.fields, EVENT_ID) else route.deduplicate
    return ACK if not follow_ups and remember is None else Complete(follow_ups, remember)


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


def _failed(failure: Failure, entry: Entry, route: Route, now: float) -> Fate:
    error = failure.exception
    if isinstance_of(error, DecodeError) and error is entry.refusal:
        return DeadLetter("undecodable", message_of(error), entry.failures, failure=failure)
    if entry.refusal is None:
        entry.prepared = False  # the handler may have changed the payload: the next attempt decodes it again
    failing_for = now - entry.failing_since if entry.failing_since else 0.0
    return msgspec.structs.replace(_decided(error, entry, route, failing_for), failure=failure)


def _decided(error: BaseException, entry: Entry, route: Route, failing_for: float) -> Retry | DeadLetter:
    """Return the decision of the handler's policy, or of the default policy if that raises."""
    try:
        if isinstance_of(error, asyncio.CancelledError):
            what = f"something that {route.name} awaited was cancelled"
            error = RuntimeError(what).with_traceback(error.__traceback__)
        return decide(error, entry.failures, route.retry, failing_for)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # noqa: BLE001  # the exception, its class and the policy may be user code
        told = traceback_of(problem)  # with `error=`, formatters would examine that exception
        log.error("%s: the default policy decides on the error of handler %s\n%s", entry, route.name, told)
        return decide_by_default(error, entry.failures, failing_for)


def too_many_deliveries(entry: Entry) -> DeadLetter:
    """Return the fate of an event that was delivered more often than its handler allows."""
    error = f"delivered {entry.deliveries} times without an end"
    return DeadLetter("deliveries", error, entry.failures)


def _unhandled(entry: Entry) -> DeadLetter:
    event_type = event_type_of(entry.fields).decode("utf-8", "replace")
    what = f"event type {event_type!r}" if event_type else "an entry without an event type"
    return DeadLetter("unhandled", shortened(f"no handler takes {what}"), entry.failures)


def wants_cancelling(entry: Entry, routes: RouteTable) -> bool:
    """Whether the handler of a lost entry must be cancelled."""
    route = routes.find(entry.fields)
    return route is not None and route.on_lost == "cancel"
