"""An attempt, without Redis: which handler is called with what, what it raised, and whose cancellation it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import DecodeError, Reject, RetryLater, RetryPolicy
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.attempt import (
    Ended,
    consume_cancellation,
    failure_of,
    fate_after,
    lane_by_key,
    route_or_fate,
)
from redis_streams_aio.events.batch import BatchDelivery, close_batch
from redis_streams_aio.events.batch import given as given_in
from redis_streams_aio.events.delivery import Receiver
from redis_streams_aio.events.replays import FOR_ANOTHER_GROUP
from redis_streams_aio.handlers.calls import error_of, with_timeout
from redis_streams_aio.handlers.fates import ACK, DeadLetter, Fate, Retry
from redis_streams_aio.handlers.options import Unknown
from redis_streams_aio.handlers.routes import Route, RouteTable


async def nothing(_: object, __: object) -> None: ...


def route(
    name: str = "handle",
    handler: Callable[[object, object], Awaitable[None]] = nothing,
    *,
    timeout: float | None = None,
    decode: Callable[[list[bytes]], object] = len,
) -> Route:
    call = handler if timeout is None else with_timeout(handler, timeout)
    return Route(
        name, handler, decode, call, RetryPolicy(max_deliveries=3), "cancel", None, shows_delivery=True, alone=handler
    )


def entry(*fields: bytes, deliveries: int = 1) -> Entry:
    return Entry("s", b"1-0", list(fields), deliveries)


def batch_of(*entries: Entry) -> BatchDelivery:
    return BatchDelivery(entries, Receiver("s", "g", "c", "handle"))


async def call(route: Route, payload: object, batch: BatchDelivery) -> BaseException | None:
    """Call a handler as a worker does, and return what it raised as a value."""
    try:
        left = await route.call(payload, batch)
    except BaseException as raised:  # noqa: BLE001  # as a worker takes it
        return failure_of(raised, given_in(batch), "the batch")
    return error_of(None, left)


def admitted(one: Entry, table: RouteTable, unknown: Unknown) -> Route | Fate:
    return route_or_fate(one, table.find(one.fields), unknown)


ONE, OTHER, REST = route("one"), route("other"), route("rest")
TABLE = RouteTable({b"One": ONE, b"Other": OTHER}, None, None, deduplicates=False)


# -- which handler ----------------------------------------------------------------------------------------------


@given(st.sampled_from([b"One", b"Other", b"Else", b"", None]), st.booleans(), st.booleans())
def test_an_event_goes_to_the_handler_of_its_type(event_type: bytes | None, catches_all: bool, alone: bool) -> None:
    """Else to the one for all types; the only handler also gets entries that name no type."""
    fields = [] if event_type is None else [b"event_type", event_type]
    table = RouteTable(TABLE.by_event_type, REST if catches_all else None, ONE if alone else None, False)
    fallback = REST if catches_all else ONE if alone and not event_type else None
    assert table.find(fields) is {b"One": ONE, b"Other": OTHER}.get(event_type or b"", fallback)


async def test_p12_an_event_that_no_handler_takes_is_dead_or_skipped_as_asked() -> None:
    unknown = entry(b"event_type", b"Else")
    assert admitted(unknown, TABLE, "skip") is ACK
    unknown.failures = 2
    assert admitted(unknown, TABLE, "dead_letter") == DeadLetter("unhandled", "no handler takes event type 'Else'", 2)
    nameless = DeadLetter("unhandled", "no handler takes an entry without an event type", 0)
    assert admitted(entry(), TABLE, "dead_letter") == nameless
    odd = admitted(entry(b"event_type", b"\xff"), TABLE, "dead_letter")
    assert odd == DeadLetter("unhandled", "no handler takes event type '\ufffd'", 0)


async def test_what_was_replayed_for_another_group_is_passed_over() -> None:
    for fields in ((b"event_type", b"One"), (b"event_type", b"Else")):
        passing = entry(*fields)
        passing.refusal, passing.prepared = FOR_ANOTHER_GROUP, True
        assert admitted(passing, TABLE, "dead_letter") is ACK


async def test_p10_p13_what_was_delivered_too_often_is_dead_unhandled() -> None:
    table = RouteTable({b"One": ONE}, None, None, deduplicates=False)
    assert admitted(entry(b"event_type", b"One", deliveries=3), table, "skip") is ONE
    often = entry(b"event_type", b"One", deliveries=4)
    often.failures = 1
    fate = admitted(often, table, "skip")
    assert fate == DeadLetter("deliveries", "delivered 4 times without an end", 1)
    assert not often.prepared, "it may be the decoder that it kills"


async def test_p13_the_payload_is_decoded_once_and_what_the_decoder_raises_is_a_fate() -> None:
    seen: list[list[bytes]] = []

    def decode(fields: list[bytes]) -> object:
        seen.append(fields)
        if fields == [b"x"]:
            raise DecodeError("no Order")
        if fields == [b"y"]:
            raise RecursionError
        return len(fields)

    only = route(decode=decode)
    table = RouteTable({}, only, None, deduplicates=False)
    good = entry(b"a", b"b")
    assert admitted(good, table, "skip") is admitted(good, table, "skip") is only
    assert (good.payload, seen) == (2, [[b"a", b"b"]])
    assert admitted(entry(b"x"), table, "skip") == DeadLetter("undecodable", "no Order", 0)
    assert isinstance(admitted(entry(b"y"), table, "skip"), Retry), "a codec of the user's may fail for a while"
    for end in (KeyboardInterrupt, SystemExit):
        with pytest.raises(end):
            admitted(entry(), RouteTable({}, route(decode=raising(end)), None, deduplicates=False), "skip")


def raising(error: type[BaseException]) -> Callable[[object], object]:
    def raise_it(_: object) -> object:
        raise error

    return raise_it


# -- lanes ------------------------------------------------------------------------------------------------------


def lane(key: Callable[[object], object] | None, *fields: bytes) -> object:
    return lane_by_key(entry(*fields), RouteTable({}, REST, None, deduplicates=False), key)


async def test_p7_the_lane_is_the_key_of_the_payload_or_the_publishers() -> None:
    assert lane(None, b"key", b"ada") == b"ada"
    assert lane(None, b"a", b"b") is None, "an entry without a key waits for no other"
    assert lane(lambda length: length, b"a", b"b") == lane(lambda length: length, b"c", b"d") == hash(2)
    assert lane(lambda _: None) is None
    first, second = lane(lambda _: ("eu", 1)), lane(lambda _: ("eu", 1))
    assert first == second, "equal keys, one lane"
    assert lane_by_key(entry(b"event_type", b"Else"), TABLE, len) is None, "nobody takes it: no payload"


@pytest.mark.parametrize("key", [raising(ValueError), lambda _: [], raising(asyncio.CancelledError)])
async def test_p14_an_error_of_the_key_function_counts_as_raised_by_the_handler(
    key: Callable[[object], object],
) -> None:
    one, table = entry(), RouteTable({}, REST, None, deduplicates=False)
    assert lane_by_key(one, table, key) is None
    fate = admitted(one, table, "skip")
    assert isinstance(fate, Retry)
    assert fate.failures == 1
    for end in (KeyboardInterrupt, SystemExit):
        with pytest.raises(end):
            lane(raising(end))


async def test_a_payload_that_cannot_be_decoded_has_no_key() -> None:
    one, table = entry(), RouteTable({}, route(decode=raising(DecodeError)), None, deduplicates=False)
    assert lane_by_key(one, table, raising(SystemExit)) is None, "the key function is not called"
    refused = one.refusal
    assert isinstance(refused, DecodeError)
    assert lane_by_key(one, table, len) is None
    assert one.refusal is refused


# -- the call ---------------------------------------------------------------------------------------------------


async def test_p14_what_the_handler_raises_is_a_value() -> None:
    seen: list[object] = []

    async def handle(payload: object, one: object) -> None:
        seen.append((payload, one))
        if payload is not None:
            raise payload  # type: ignore[misc]

    one = batch_of(entry())
    for timeout in (None, 5.0):
        assert await call(route(handler=handle, timeout=timeout), None, one) is None
        for error in (ValueError("x"), BaseException("y"), asyncio.CancelledError()):
            assert await call(route(handler=handle, timeout=timeout), error, one) is error
        for end in (KeyboardInterrupt(), SystemExit()):
            with pytest.raises(type(end)):
                await call(route(handler=handle, timeout=timeout), end, one)
    assert all(passed is one for _, passed in seen)


async def test_a_handler_that_takes_too_long_has_failed() -> None:
    async def hang(_: object, __: object) -> None:
        await asyncio.Event().wait()

    assert isinstance(await call(route(handler=hang, timeout=0.01), None, batch_of(entry())), TimeoutError)


async def test_p14_a_handler_that_cancels_its_own_task_hits_nothing_after_it() -> None:
    async def suicide(_: object, __: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.cancel()
        await asyncio.sleep(0)

    assert isinstance(await call(route(handler=suicide), None, batch_of(entry())), asyncio.CancelledError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_that_comes_as_the_handler_ends_is_absorbed() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await consume_cancellation()
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await consume_cancellation()
    assert asyncio.get_running_loop().time() - began < 0.9, "where none comes, none is waited for"


async def test_p27_the_end_of_a_drain_goes_through() -> None:
    async def hang(_: object, __: object) -> None:
        scope.cancel()
        await asyncio.Event().wait()

    with anyio.CancelScope() as scope:
        await call(route(handler=hang), None, batch_of(entry()))
        pytest.fail("the handler was to be cancelled")
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("rollback failed"),
        BaseExceptionGroup("children", [asyncio.CancelledError(), ValueError("while cancelled")]),
        TimeoutError(),
        Reject("the connection was closed"),
        RetryLater(5),
    ],
    ids=repr,
)
@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_p27_whatever_a_handler_raises_when_the_drain_is_over_it_has_not_come_to_its_end(
    raised: BaseException, timeout: float | None
) -> None:
    async def fail_while_cancelled(_: object, __: object) -> None:
        scope.cancel()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise raised from None

    with anyio.CancelScope() as scope:
        with pytest.raises(asyncio.CancelledError):
            await call(route(handler=fail_while_cancelled, timeout=timeout), None, batch_of(entry()))
    unsaid, said = entry(), entry()
    batch = batch_of(unsaid, said)
    batch.ack(1)
    with anyio.CancelScope() as scope:
        error = await call(route(handler=fail_while_cancelled, timeout=timeout), None, batch)
        assert error is raised, "what was said of an item stands"
        assert fate_after(Ended(error, close_batch(batch)[1]), said, route(), 0.0) is ACK


async def test_p27_a_cancellation_by_the_end_of_a_drain_is_not_absorbed() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await consume_cancellation()
        await asyncio.sleep(0)
        pytest.fail("still cancelled")
    assert scope.cancelled_caught
