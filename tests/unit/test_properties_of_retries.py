"""What becomes of a failure: the words of each fate, its traceback, its limits to the last second."""

from __future__ import annotations

from datetime import timedelta

import pytest

from redis_streams_aio import ConfigError, Reject, RetryPolicy
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events import entry_ids, wire_format
from redis_streams_aio.handlers.error_texts import describe, traceback_of
from redis_streams_aio.handlers.fates import ACK, DeadLetter, Retry
from redis_streams_aio.handlers.retry import decide, decide_by_default

POLICY = RetryPolicy(max_failures=3, give_up_on=(KeyError,))


def test_p14_an_error_that_cannot_be_told_whole_is_told_as_far_as_it_goes() -> None:
    class OddError(Exception):
        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise OSError

    try:
        raise OddError("x")
    except OddError as error:
        told = traceback_of(error)
    assert "test_p14_an_error_that_cannot_be_told_whole" in told
    assert traceback_of(ValueError("x")) == "ValueError: x\n"
    error = KeyError("y")
    error.__cause__ = ValueError("x")
    assert "ValueError: x\n\nThe above exception was" in traceback_of(error)


@pytest.mark.parametrize("reason", ["absent", 7])
def test_p12_a_rejection_without_words_is_told_by_its_type(reason: object) -> None:
    class NotOurs(Reject):
        def __init__(self) -> None:
            if reason != "absent":
                self.reason = reason  # type: ignore[assignment]

    assert decide(NotOurs(), 1, POLICY) == DeadLetter("rejected", "NotOurs:", 1, traceback_of(NotOurs()))


def test_p12_what_is_given_up_is_told_with_its_traceback() -> None:
    assert decide(KeyError("y"), 0, POLICY) == DeadLetter("gave_up", "KeyError: 'y'", 1, "KeyError: 'y'\n")
    assert isinstance(decide(ValueError("x"), 0, RetryPolicy(deadline=1.5, base=1, jitter=False)), Retry)


def test_p11_jitter_is_full() -> None:
    waits = [RetryPolicy(base=2, jitter=True).delay(1) for _ in range(200)]
    assert min(waits) < 0.3
    assert max(waits) > 1.7


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_p12_each_end_is_told_with_its_error_and_its_traceback() -> None:
    for error, failures, policy, reason in (
        (ValueError("x"), 2, POLICY, "failures"),
        (KeyError("x"), 0, POLICY, "gave_up"),
        (ValueError("x"), 0, RetryPolicy(deadline=1, base=2, jitter=False), "deadline"),
    ):
        fate = decide(raised(error), failures, policy)
        assert fate == DeadLetter(reason, describe(error), failures + 1, traceback_of(error))
        assert "in raised" in traceback_of(error)


def test_p11_a_retry_that_begins_at_the_deadline_is_in_time() -> None:
    policy = RetryPolicy(deadline=10, base=4, jitter=False)
    assert decide(ValueError("x"), 0, policy, 6.0) == Retry(4, 1, "ValueError: x")
    assert isinstance(decide(ValueError("x"), 0, policy, 6.001), DeadLetter)


def test_p14_an_error_that_cannot_be_told_is_told_by_its_type() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise OSError

    assert describe(MuteError()) == "MuteError"


def test_the_last_id_there_can_be_is_one() -> None:
    assert entry_ids.is_id(f"{2**64 - 1}-{2**64 - 1}")
    assert not entry_ids.is_id(f"{2**64}-0")
    assert not entry_ids.is_id(f"0-{2**64}")


def test_an_entry_that_says_nothing_but_its_type() -> None:
    assert wire_format.event_type_of([b"event_type", b"T"]) == b"T"
    assert wire_format.event_type_of([b"event_type", b"event_type"]) == b"event_type"


def test_p15_what_is_suspect_is_handled_alone() -> None:
    def entry(**known: object) -> Entry:
        one = Entry("s", b"1-0", [])
        for name, value in known.items():
            setattr(one, name, value)
        return one

    assert not entry().may_harm_others
    for known in ({"deliveries": 2}, {"failures": 1}, {"fate": ACK}):
        assert entry(**known).may_harm_others, known
    lost = entry()
    lost.lose()
    assert lost.may_harm_others


@pytest.mark.parametrize(
    ("option", "allowed", "refused", "expected"),
    [
        ("max_failures", 1, 0, "a whole number, 1 or more"),
        ("max_deliveries", 1, 0, "a whole number, 1 or more"),
        ("base", 0, -1, "seconds, 0 or more"),
        ("factor", 1, 0.5, "a number, 1 or more"),
        ("cap", 0, -1, "seconds, 0 to 31622400"),
        ("cap", 31_622_400, 31_622_401, "seconds, 0 to 31622400"),
        ("deadline", 0.001, 0, "seconds above 0, or None"),
    ],
)
def test_a_policy_at_its_bounds_and_beyond_them(option: str, allowed: float, refused: float, expected: str) -> None:
    RetryPolicy(**{option: allowed})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(**{option: refused})  # type: ignore[arg-type]
    assert str(caught.value) == f"RetryPolicy({option}={refused!r}): expected {expected}"


@pytest.mark.parametrize(
    ("option", "given", "shown", "expected"),
    [
        ("jitter", 1, "1", "True or False"),
        ("base", timedelta(seconds=5), "datetime.timedelta(seconds=5)", "seconds, 0 or more (this timedelta has 5)"),
        ("retry_on", (7,), "(7,)", "exception types, e.g. (ValueError, KeyError)"),
        ("give_up_on", "KeyError", "'KeyError'", "exception types, e.g. (ValueError, KeyError)"),
    ],
)
def test_a_policy_shows_a_wrong_value_and_says_what_is_expected(
    option: str, given: object, shown: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(**{option: given})  # type: ignore[arg-type]
    assert str(caught.value) == f"RetryPolicy({option}={shown}): expected {expected}"


def test_a_delay_of_a_policy_that_is_not_one_is_shown_with_the_policys_name() -> None:
    class Odd(RetryPolicy):
        def delay(self, failures: int, *_: object) -> float:  # type: ignore[override]
            return -7.0

    with pytest.raises(ConfigError, match=r"^Odd\.delay\(2\) gave -7\.0: expected seconds$"):
        decide(ValueError("x"), 1, Odd())


def test_p14_the_default_policy_tells_the_error_that_could_not_be_examined() -> None:
    again = decide_by_default(ValueError("x"), 0)
    assert isinstance(again, Retry)
    assert 0 <= again.delay <= RetryPolicy().base
    assert (again.failures, again.error) == (1, "ValueError: x")
    last = decide_by_default(ValueError("x"), 4)
    assert isinstance(last, DeadLetter)
    assert (last.reason, last.error, last.failures) == ("failures", "ValueError: x", 5)
    assert last.traceback == "ValueError: x\n"
