"""The circuit of a breaker, and the option `Breaker` (P28)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import Breaker, ConfigError, Reject, RetryLater
from redis_streams_aio.handlers.breaker import Circuit

CALLS = st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200)


@given(CALLS, st.floats(0.05, 1), st.integers(1, 20))
def test_p28_it_opens_exactly_when_enough_calls_of_the_window_failed(
    calls: list[tuple[float, bool]], rate: float, least: int
) -> None:
    circuit = Circuit(Breaker(rate=rate, calls=least, window=10))
    now, ends = 100.0, list[tuple[float, bool]]()
    for gap, failed in calls:
        now += gap
        ends.append((now, failed))
        opened = circuit.ended(now, failed=failed)
        counted = [failed for at, failed in ends if at > now - 10]  # at most: a part of the window goes as a whole
        assert circuit.calls <= len(counted)
        if opened:
            assert failed
            assert circuit.calls >= least
            assert circuit.failures >= rate * circuit.calls
            assert circuit.state == "open"
            return
    assert circuit.state == "closed"


@given(CALLS)
def test_p28_it_remembers_few_numbers_and_counts_no_call_twice(calls: list[tuple[float, bool]]) -> None:
    circuit = Circuit(Breaker(rate=1.0, calls=1_000, window=10))
    now = 0.0
    for number, (gap, failed) in enumerate(calls, start=1):
        now += gap
        circuit.ended(now, failed=failed)
        assert len(circuit._parts) <= 11
        assert 1 <= circuit.calls <= number
        assert 0 <= circuit.failures <= circuit.calls


@given(st.lists(st.booleans(), max_size=20), st.floats(1, 20), st.floats(1, 100))
def test_p28_it_is_probed_until_one_succeeds_and_waits_twice_as_long_each_time(
    probes: list[bool], wait: float, longest: float
) -> None:
    circuit = Circuit(Breaker(calls=1, wait=wait, longest_wait=longest))
    assert circuit.ended(0.0, failed=True)
    now, expected = 0.0, wait
    for failed in probes:
        assert circuit.left(now) == pytest.approx(expected)
        assert not circuit.probe(now + expected * 0.99)
        assert not circuit.ended(now, failed=True), "calls that still run change nothing"
        now += expected * 1.001
        assert circuit.probe(now)
        circuit.probed(now, failed=failed)
        if not failed:
            assert (circuit.state, circuit.calls) == ("closed", 0), "the past is forgotten"
            return
        expected = min(2 * expected, max(longest, wait))
        assert circuit.state == "open"


def test_a_circuit_that_opens_again_later_waits_no_longer_than_at_first() -> None:
    circuit = Circuit(Breaker(calls=1, wait=1))
    circuit.ended(0, failed=True)
    circuit.probe(1)
    circuit.probed(1, failed=True)
    circuit.probe(3)
    circuit.probed(3, failed=False)
    circuit.ended(4, failed=True)
    assert circuit.left(4) == 1


def test_errors_of_other_classes_and_signals_do_not_count() -> None:
    breaker = Breaker(errors=(ConnectionError, TimeoutError))
    assert breaker.counts(ConnectionResetError())
    assert not breaker.counts(ValueError())
    assert not Breaker().counts(Reject("no"))
    assert not Breaker().counts(RetryLater(1))
    assert not Breaker().counts(KeyboardInterrupt())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rate": each} for each in (0, -1, 1.1, "0.5", None, True, float("nan"))),
        *({"calls": each} for each in (0, 1.5, "3", None, True)),
        *({name: each} for name in ("window", "wait", "longest_wait") for each in (0, -1, 1e9, "1", None)),
        *({"errors": each} for each in (ValueError, (), [ValueError], (KeyboardInterrupt,), ("ValueError",), None)),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    [(name, _)] = wrong.items()
    with pytest.raises(ConfigError, match=rf"Breaker\({name}=.*expected"):
        Breaker(**wrong)
