"""Groups of exceptions (`asyncio.TaskGroup`), and exceptions that cannot be decided on: what becomes of the event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import DecodeError, Delivery, Reject, RetryLater, RetryPolicy
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.attempt import Ended, failure_of, fate_after, lane_by_key, route_or_fate
from redis_streams_aio.events.delivery import Receiver, close
from redis_streams_aio.handlers.error_texts import describe, leaves, traceback_of
from redis_streams_aio.handlers.fates import DeadLetter, Retry
from redis_streams_aio.handlers.retry import decide, decide_by_default
from redis_streams_aio.handlers.routes import Route, RouteTable

FAST = RetryPolicy(base=0.01, jitter=False)


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    """As a `TaskGroup` raises it, in a group of another one."""
    return BaseExceptionGroup("outer", [BaseExceptionGroup("unhandled errors in a TaskGroup", errors)])


# -- the strongest word decides ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "policy", "expected"),
    [
        ((Reject("no such customer"), OSError()), {}, "rejected"),
        ((RetryLater(1), Reject("no")), {"give_up_on": OSError}, "rejected"),
        ((KeyError("x"), Reject("no")), {"give_up_on": KeyError}, "rejected"),
        ((OSError(), ValueError("hopeless")), {"give_up_on": ValueError}, "gave_up"),
        ((RetryLater(1), ValueError("hopeless")), {"give_up_on": ValueError}, "gave_up"),
        ((ConnectionError(), TimeoutError()), {"retry_on": OSError}, 0.01),
        ((ConnectionError(), ValueError()), {"retry_on": OSError}, "gave_up"),
        ((ConnectionError(), RetryLater(1)), {"retry_on": OSError}, 0.01),
        ((RetryLater(1), ValueError()), {"retry_on": OSError}, "gave_up"),
        ((asyncio.CancelledError(), OSError()), {}, 0.01),
        ((asyncio.CancelledError(),), {}, "gave_up"),
        ((GeneratorExit(), OSError()), {}, "gave_up"),
        ((ValueError(),), {"retry_on": BaseExceptionGroup}, 0.01),
        ((ValueError(),), {"give_up_on": BaseExceptionGroup}, "gave_up"),
    ],
    ids=str,
)
def test_p11_the_strongest_word_inside_of_a_group_decides(
    errors: tuple[BaseException, ...], policy: dict[str, Any], expected: str | float
) -> None:
    fate = decide(group(*errors), 2, RetryPolicy(base=0.0025, jitter=False, **policy))
    if isinstance(expected, str):
        assert isinstance(fate, DeadLetter)
        assert (fate.reason, fate.failures) == (expected, 2 if expected == "rejected" else 3)
        assert "unhandled errors in a TaskGroup" in fate.traceback
    else:
        assert fate == Retry(expected, 3, describe(group(*errors)))


def test_p11_wishes_alone_are_one_wish_for_the_longest() -> None:
    assert decide(group(RetryLater(1), RetryLater(30)), 4, FAST) == Retry(30, 4, "retry in 30 s")


def test_p12_the_line_says_what_is_inside_and_the_reason_is_the_rejections() -> None:
    told = describe(group(ValueError("no such customer"), KeyError("x")))
    assert told == "ExceptionGroup: outer (1 sub-exception): ValueError: no such customer; KeyError: 'x'"
    told = describe(group(*(ValueError(number) for number in range(5))))
    assert told.endswith("ValueError: 0; ValueError: 1; ValueError: 2; and 2 more")
    assert len(describe(group(*[ValueError("x" * 10_000)] * 9))) == 1024
    fate = decide(group(OSError(), Reject("no such customer")), 0, FAST)
    assert isinstance(fate, DeadLetter)
    assert fate.error == "no such customer"


single = st.sampled_from([ValueError("x"), OSError(), KeyError("k"), Reject("no"), RetryLater(1), RetryLater(2)])


@given(
    st.recursive(
        single, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda all_: BaseExceptionGroup("g", all_))
    )
)
def test_p11_how_deep_it_lies_decides_nothing(error: BaseException) -> None:
    """A group is what its exceptions are: a group of one is that one, and order says nothing."""
    policy = RetryPolicy(give_up_on=KeyError, retry_on=[OSError, ValueError], jitter=False)
    inside = leaves(error)
    flat = decide(inside[0] if len(inside) == 1 else BaseExceptionGroup("g", inside[::-1]), 0, policy)
    nested = decide(error, 0, policy)
    assert type(nested) is type(flat)
    assert nested.failures == flat.failures
    if isinstance(nested, DeadLetter):
        assert isinstance(flat, DeadLetter)
        assert nested.reason == flat.reason


def test_p14_a_group_as_deep_as_one_likes_is_decided_on() -> None:
    error: BaseException = Reject("no")
    for _ in range(5000):
        error = BaseExceptionGroup("g", [error])
    assert leaves(error)[0].args == ("no",)
    fate = decide(error, 0, FAST)
    assert isinstance(fate, DeadLetter)
    assert (fate.reason, fate.error) == ("rejected", "no")


# -- exceptions that cannot be decided on -------------------------------------------------------------------------


class Odd(type):
    """The class of classes that answer nothing."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise OSError

    def __instancecheck__(cls, instance: object) -> bool:
        raise OSError


class OddError(Exception, metaclass=Odd):
    """An exception that answers nothing."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise OSError

    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise OSError

    def __str__(self) -> str:
        raise OSError

    def __eq__(self, other: object) -> bool:
        raise OSError

    __hash__ = None  # type: ignore[assignment]


class OddRejection(Reject):
    def __init__(self) -> None: ...

    @property
    def reason(self) -> str:  # type: ignore[override]
        raise OSError


class OddWish(RetryLater):
    def __init__(self) -> None: ...

    @property
    def delay(self) -> float:  # type: ignore[override]
        raise asyncio.CancelledError


class OddDecodeError(DecodeError):
    def __str__(self) -> str:
        raise OSError


class OddPolicy(RetryPolicy, frozen=True, kw_only=True):
    gives: Any = None

    def delay(self, failures: int, uniform: Any = None) -> float:
        if self.gives is None:
            raise OSError
        return self.gives  # type: ignore[no-any-return]


async def nothing(_: object, __: object) -> None: ...


def route(policy: RetryPolicy, decode: Callable[[list[bytes]], object] = len) -> Route:
    return Route("bill", nothing, decode, nothing, policy, "cancel", None, shows_delivery=True, alone=nothing)


def entry(failures: int = 0) -> Entry:
    one = Entry("s", b"1-0", [b"event_type", b"T"])
    one.failures = failures
    return one


UNDECIDABLE = [
    (OddRejection(), FAST),
    (OddWish(), FAST),
    (group(ValueError(), OddRejection()), FAST),
    (ValueError("x"), RetryPolicy(retry_on=OddError)),
    (ValueError("x"), RetryPolicy(give_up_on=[OddError])),
    (OddError(), RetryPolicy(give_up_on=KeyError)),
    *((ValueError("x"), OddPolicy(gives=gives)) for gives in (None, "5", -1, float("nan"), float("inf"), [])),
]


@pytest.mark.parametrize("index", range(len(UNDECIDABLE)))  # pytest itself cannot name them
async def test_p14_where_deciding_raises_the_default_policy_decides(
    index: int, caplog: pytest.LogCaptureFixture
) -> None:
    error, policy = UNDECIDABLE[index]
    fate = fate_after(Ended(error, None), entry(), route(policy), 0.0)
    assert isinstance(fate, Retry)
    assert fate.failures == 1
    assert fate.error
    assert "the default policy decides on the error of handler bill" in caplog.text
    fate = fate_after(Ended(error, None), entry(failures=4), route(policy), 0.0)
    assert isinstance(fate, DeadLetter)
    assert (fate.reason, fate.failures) == ("failures", 5)


async def test_p14_an_exception_that_answers_nothing_is_decided_on_by_its_class() -> None:
    error: BaseException
    try:
        raise OddError
    except Exception as raised:  # noqa: BLE001  # pytest would ask it what it is
        error = raised
    assert failure_of(error, (), entry()) is error
    assert describe(error) == "OddError"
    assert traceback_of(error)
    assert isinstance(decide_by_default(error, 0), Retry)
    one = entry()
    delivery = Delivery(one, Receiver("s", "g", "c", "bill"))
    delivery.fail(error)  # type: ignore[arg-type]
    assert isinstance(fate_after(Ended(None, close(delivery)), one, route(FAST), 0.0), Retry)


async def test_p14_the_words_of_a_decoding_error_are_the_codecs() -> None:
    def decode(_: list[bytes]) -> object:
        raise OddDecodeError

    only = route(FAST, decode)
    assert route_or_fate(entry(), only, "skip") == DeadLetter("undecodable", "OddDecodeError", 0)


class KeyOf:
    async def __call__(self, payload: object) -> str:
        return "x"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            lambda _: ["eu", 1],
            "the key function returned a list, which cannot be a key (unhashable type: 'list'); return text",
        ),
        (lambda _: {}, "the key function returned a dict, which cannot be a key"),
        (KeyOf(), "the key function returned a coroutine; write it without async, for the payload alone"),
    ],
)
async def test_p14_a_key_that_is_none_is_the_events_failure_and_is_told(key: Any, told: str) -> None:
    one, only = entry(), route(FAST)
    assert lane_by_key(one, RouteTable({}, only, None, deduplicates=False), key) is None
    fate = route_or_fate(one, only, "skip")
    assert isinstance(fate, Retry)
    assert told in fate.error
