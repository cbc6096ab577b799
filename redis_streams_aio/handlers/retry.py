"""`RetryPolicy`, and `decide`, which decides the fate of a delivery whose handler raised an error.

Pure: no clock, no input or output. There are two counters with two limits. `failures` grows only when a handler fails.
`deliveries` is Redis's count of how often the entry was delivered; its limit catches events that kill the process.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, cast, get_args

import msgspec

from ..checks.times import LONGEST_DELAY, in_seconds, is_delay, is_number
from ..checks.values import shown
from ..exceptions import ConfigError, Reject, RetryLater
from .error_texts import describe, isinstance_of, leaves, shortened, traceback_of
from .fates import DeadLetter, Retry

if TYPE_CHECKING:
    ExceptionTypes = Collection[type[BaseException]] | type[BaseException]
else:  # msgspec, which may read a policy as part of a configuration, knows no such union
    ExceptionTypes = object


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a failed event is retried. Times are seconds.

    The n-th failure waits up to `base * factor ** (n - 1)`, at most `cap`: with `jitter` a random part of that
    ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), without it all of
    it. Raises `ConfigError` for wrong values.
    """

    max_failures: int = 5
    """The number of failures at which the event is dead-lettered."""
    max_deliveries: int = 20
    """An event that was delivered more often is dead-lettered without a handler: it probably kills the process."""
    base: float = 1.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: bool = True
    retry_on: ExceptionTypes = (Exception,)
    """Only these errors are retried; others are dead-lettered at once. A class or several; kept as a tuple."""
    give_up_on: ExceptionTypes = ()
    """These errors are dead-lettered at once; overrides `retry_on`."""
    deadline: float | None = None
    """No retry begins later than this after the first failure."""

    def __post_init__(self) -> None:
        _require(_is_count(self.max_failures), "max_failures", self.max_failures, "a whole number, 1 or more")
        _require(_is_count(self.max_deliveries), "max_deliveries", self.max_deliveries, "a whole number, 1 or more")
        _require(is_number(self.base, 0), "base", self.base, "seconds, 0 or more")
        _require(is_number(self.factor, 1), "factor", self.factor, "a number, 1 or more")
        _require(is_delay(self.cap), "cap", self.cap, f"seconds, 0 to {LONGEST_DELAY}")
        _require(self.jitter is True or self.jitter is False, "jitter", self.jitter, "True or False")
        for name in ("retry_on", "give_up_on"):
            given = getattr(self, name)
            kinds = _exception_types(given)
            _require(kinds is not None, name, given, "exception types, e.g. (ValueError, KeyError)")
            msgspec.structs.force_setattr(self, name, kinds)
        in_time = self.deadline is None or (is_number(self.deadline) and self.deadline > 0)
        _require(in_time, "deadline", self.deadline, "seconds above 0, or None")

    def delay(self, failures: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds to wait after the given number of failures (1 or more)."""
        if not self.base:
            return 0.0
        try:
            longest = min(self.cap, self.base * self.factor ** (failures - 1))
        except OverflowError:
            longest = self.cap
        return uniform(0, longest) if self.jitter else longest


def _is_count(value: object) -> bool:
    return isinstance(value, int) and is_number(value, 1)


def _exception_types(given: object) -> tuple[type[BaseException], ...] | None:
    """Exception types as a tuple, given as one, as several or as a union; `None` where it is something else."""
    if isinstance(given, type):
        kinds: tuple[object, ...] = (given,)
    elif isinstance(given, types.UnionType):
        kinds = get_args(given)
    elif isinstance(given, tuple | list | set | frozenset):
        kinds = tuple(given)
    else:
        return None
    fine = all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
    return cast("tuple[type[BaseException], ...]", kinds) if fine else None


def decide(error: BaseException, failures: int, policy: RetryPolicy, failing_for: float = 0.0) -> Retry | DeadLetter:
    """Return the fate of a delivery whose handler raised `error`.

    `failures` counts the earlier failures; `failing_for` is the time in seconds since the first one. In a group of
    exceptions, `RetryLater` decides if nothing else is inside, then a `Reject`, then an exception of `give_up_on`; else
    the event is retried if all exceptions inside are in `retry_on`. Errors of user classes are raised.
    """
    inside = leaves(error)
    if (wished := _wished_by_all(inside)) is not None:
        return Retry(wished, failures, f"retry in {wished:g} s")
    if (rejected := next((each for each in inside if isinstance_of(each, Reject)), None)) is not None:
        return DeadLetter("rejected", _reason(rejected), failures, traceback_of(error))
    return _decide_by_policy(error, inside, failures + 1, policy, failing_for)


def _decide_by_policy(
    error: BaseException, inside: list[BaseException], failures: int, policy: RetryPolicy, failing_for: float
) -> Retry | DeadLetter:
    """Return the fate of a failure by the policy; `failures` includes this one."""
    text = describe(error)
    if _is_hopeless(error, inside, policy):
        return DeadLetter("gave_up", text, failures, traceback_of(error))
    if failures >= policy.max_failures:
        return DeadLetter("failures", text, failures, traceback_of(error))
    delay = policy.delay(failures)
    if not is_delay(delay):  # a user's policy may return anything
        raise ConfigError(f"{type(policy).__name__}.delay({failures}) gave {shown(delay)}: expected seconds")
    if policy.deadline is not None and failing_for + delay > policy.deadline:
        return DeadLetter("deadline", text, failures, traceback_of(error))
    return Retry(delay, failures, text)


def decide_by_default(error: BaseException, failures: int, failing_for: float = 0.0) -> Retry | DeadLetter:
    """Return the fate by the default policy, for an exception that `decide` could not examine. Does not raise."""
    told = decide(RuntimeError(), failures, _DEFAULT, failing_for)
    if isinstance(told, Retry):
        return Retry(told.delay, told.failures, describe(error))
    return DeadLetter(told.reason, describe(error), told.failures, traceback_of(error))


def _is_hopeless(error: BaseException, inside: list[BaseException], policy: RetryPolicy) -> bool:
    """Whether an exception, or one inside it, must not be retried."""
    give_up_on = cast("tuple[type[BaseException], ...]", policy.give_up_on)
    retry_on = cast("tuple[type[BaseException], ...]", policy.retry_on)
    failed = _failures_in(inside)
    if any(isinstance(each, give_up_on) for each in (error, *failed)):
        return True
    if isinstance(error, tuple(kind for kind in retry_on if _is_group(kind))):
        return False
    return not all(isinstance(each, retry_on) for each in failed)


def _failures_in(inside: list[BaseException]) -> list[BaseException]:
    """Return the exceptions that count, without a `RetryLater` or a cancellation beside other failures."""
    return [each for each in inside if not isinstance_of(each, RetryLater | asyncio.CancelledError)] or inside


def _is_group(kind: type[BaseException]) -> bool:
    return issubclass(kind, BaseExceptionGroup)


def _wished_by_all(inside: list[BaseException]) -> float | None:
    """Return the longest delay if every exception is a `RetryLater` with a delay; else `None`."""
    wishes = [_wanted_delay(each) for each in inside if isinstance_of(each, RetryLater)]
    wished = [wish for wish in wishes if wish is not None]
    return max(wished) if len(wished) == len(inside) else None


def _wanted_delay(error: BaseException) -> float | None:
    """Return the delay of a `RetryLater`; `None` if a user's subclass has no valid delay."""
    delay = getattr(error, "delay", None)
    return float(delay) if is_delay(delay) else None


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)  # a user's subclass may not have called our __init__
    return shortened(reason) if isinstance(reason, str) else describe(error)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001  # the check itself
    if not holds:
        raise ConfigError(f"RetryPolicy({name}={shown(value)}): expected {allowed}{in_seconds(value)}")


_DEFAULT = RetryPolicy()
