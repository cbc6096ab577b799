"""What becomes of a delivery: `RetryPolicy`, the fates, and the one function that decides.

Pure: no clock, no randomness that is not passed in, no input or output. Two counters with two limits (P10):
`failures` grows when a handler raises and for no other reason; `deliveries` is Redis's count of how often the
entry was handed out, and catches events that kill the process.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable

import msgspec

from .delivery import FollowUp
from .exceptions import LONGEST_DELAY, ConfigError, Reject, RetryLater


class Ack(msgspec.Struct, frozen=True):
    """Handled: acknowledge."""


class Discard(msgspec.Struct, frozen=True):
    """No handler wants it, and that is fine (`unknown="skip"`): acknowledge."""


class Complete(msgspec.Struct, frozen=True):
    """Handled: acknowledge, and in the same step do what belongs to it."""

    follow_ups: tuple[FollowUp, ...]
    """Events to publish."""
    remember: float | None
    """Seconds for which copies of the event are dropped as duplicates; `None`: copies are handled too."""


class Abandon(msgspec.Struct, frozen=True):
    """Another consumer has it now: write nothing."""


class Postpone(msgspec.Struct, frozen=True):
    """Look at it again in `delay` seconds: it cannot be begun now, and nothing is written of that."""

    delay: float


class Failure:
    """What an attempt raised, and how long it took. Goes with a fate for whoever is told of it, and decides nothing:
    fates that differ in it alone are equal.
    """

    __slots__ = ("exception", "is_told", "seconds")

    def __init__(self, exception: BaseException, seconds: float | None) -> None:
        self.exception: BaseException = exception
        self.seconds: float | None = seconds
        self.is_told: bool = False
        """Whether its traceback is logged with another event of the same batch."""

    def forget_locals(self) -> None:
        """Let go of the local variables that the traceback holds: the exception may be kept until Redis is back."""
        traceback.clear_frames(self.exception.__traceback__)

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Failure)

    __hash__ = None  # type: ignore[assignment]  # equal to `None`


class Retry(msgspec.Struct, frozen=True):
    """Handle it again, not before `delay` seconds from now."""

    delay: float
    failures: int
    """Failures so far, this one included (unchanged by `RetryLater`)."""
    error: str
    failure: Failure | None = None


class DeadLetter(msgspec.Struct, frozen=True):
    """Give up: move it to the dead letters."""

    reason: str
    """One word for filters: `failures`, `gave_up`, `deadline`, `rejected`, `deliveries`, `undecodable`, `unhandled`."""
    error: str
    failures: int
    traceback: str = ""
    failure: Failure | None = None


Outcome = Ack | Discard | Complete | Abandon | Postpone | Retry | DeadLetter

ACK = Ack()
DISCARD = Discard()
ABANDON = Abandon()


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a failed event is tried again. Times in seconds.

    The n-th failure waits up to `base * factor ** (n - 1)`, at most `cap`: with `jitter` a random part of that
    ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), without it all of
    it. Raises `ConfigError` for values that make no sense.
    """

    max_failures: int = 5
    """At this many failures the event is dead-lettered."""
    max_deliveries: int = 20
    """Handed out more often than this, it is dead-lettered unhandled: it probably kills the process."""
    base: float = 1.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    """Only these are tried again; others are dead-lettered at once."""
    give_up_on: tuple[type[BaseException], ...] = ()
    """These are dead-lettered at once; wins over `retry_on`."""
    deadline: float | None = None
    """No retry begins later than this after the first failure."""

    def __post_init__(self) -> None:
        _require(self.max_failures >= 1, "max_failures", self.max_failures, "1 or more")
        _require(self.max_deliveries >= 1, "max_deliveries", self.max_deliveries, "1 or more")
        _require(self.base >= 0, "base", self.base, "seconds, 0 or more")
        _require(self.factor >= 1, "factor", self.factor, "1 or more")
        _require(0 <= self.cap <= LONGEST_DELAY, "cap", self.cap, f"seconds, 0 to {LONGEST_DELAY}")
        _require(self.deadline is None or self.deadline > 0, "deadline", self.deadline, "seconds above 0, or None")

    def delay(self, failures: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds to wait after the given number of failures (1 or more)."""
        try:
            longest = min(self.cap, self.base * self.factor ** (failures - 1))
        except OverflowError:
            longest = self.cap
        return uniform(0, longest) if self.jitter else longest


def decide(error: BaseException, failures: int, policy: RetryPolicy, failing_for: float = 0.0) -> Retry | DeadLetter:
    """The fate of a delivery whose handler raised `error`.

    `failures` counts the earlier ones; `failing_for` is the time in seconds since the first of them.
    """
    if isinstance(error, RetryLater) and (wish := _wish(error)) is not None:
        return Retry(wish, failures, f"retry in {wish:g} s")
    text = describe(error)
    if isinstance(error, Reject):  # one of the user's own may not have called ours
        reason = getattr(error, "reason", None)
        return DeadLetter(
            "rejected", shortened(reason) if isinstance(reason, str) else text, failures, traceback_of(error)
        )
    failures += 1
    if isinstance(error, policy.give_up_on) or not isinstance(error, policy.retry_on):
        return DeadLetter("gave_up", text, failures, traceback_of(error))
    if failures >= policy.max_failures:
        return DeadLetter("failures", text, failures, traceback_of(error))
    delay = policy.delay(failures)
    if policy.deadline is not None and failing_for + delay > policy.deadline:
        return DeadLetter("deadline", text, failures, traceback_of(error))
    return Retry(delay, failures, text)


def _wish(error: RetryLater) -> float | None:
    """The delay that is wished for; `None` where an exception of the user's has none that can be."""
    delay = getattr(error, "delay", None)
    return float(delay) if isinstance(delay, int | float) and 0 <= delay <= LONGEST_DELAY else None


def describe(error: BaseException) -> str:
    """One line that can be written anywhere: `ValueError: no such order`."""
    try:
        text = f"{type(error).__name__}: {error}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # the error is the user's, and so is its __str__
        text = type(error).__name__
    return shortened(" ".join(text.split()))


def shortened(text: str) -> str:
    """The text as it can be written, at most 1,024 characters of it: whoever publishes must not fill logs with it."""
    return writable(text[:_ERROR_LIMIT])[:_ERROR_LIMIT]


def writable(text: str) -> str:
    """The text as it can be encoded: lone surrogates, as in names of files, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """The traceback's last 8 KiB: the end is where the cause stands."""
    try:
        lines = traceback.format_exception(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # as in `describe`
        lines = traceback.format_tb(error.__traceback__)
    return writable("".join(lines))[-_TRACEBACK_LIMIT:]


_ERROR_LIMIT = 1024
_TRACEBACK_LIMIT = 8 * 1024


def _require(holds: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001  # it is the point
    if not holds:
        raise ConfigError(f"RetryPolicy({name}={value!r}): expected {allowed}")
