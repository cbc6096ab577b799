"""`Breaker`, the option of a handler, and `Circuit`, the state machine behind it. Pure: it is told what time it is.

A breaker tells an outage of something that a handler needs (a database, a payment provider) from a bad event. In an
outage nearly all events fail, and retries would only spend their failures until they are dead letters.

**States.**

* *closed*: handlers run. Of the calls of the last `window` seconds, at least `calls` are known, and fewer than `rate`
  of them failed.
* *open*, when that is no longer so: handlers do not begin. Calls that are still running end, and change nothing.
* *probing*, after `wait` seconds: one call decides. If it fails, the circuit is open again, for twice as long as before
  (at most `longest_wait`); if not, it is closed, and has forgotten the past. A call without an answer (cancelled, or it
  raised an error that does not count) decides nothing: the next call is the probe.

Only errors of the classes `errors` count as failures; `Reject` and `RetryLater` never do, because a handler that
raises them works.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from ..checks.times import is_number
from ..checks.values import shown
from ..exceptions import ConfigError, HandlerSignal

if TYPE_CHECKING:
    ErrorTypes = tuple[type[Exception], ...]
else:  # msgspec knows no such type
    ErrorTypes = object

State = Literal["closed", "open", "probing"]
_LONGEST = 86_400
_PARTS = 10
"""The window moves on by this part of it, so that a circuit remembers few numbers, however many calls there are."""


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """When a handler's failures look systemic, and how long to wait before it is tried again. Times are seconds.

    Raises `ConfigError` for wrong values.
    """

    rate: float = 0.5
    """The part of the calls that must have failed, above 0 to 1."""
    calls: int = 5
    """The least number of calls in the window. At most `max_failures`, or one event may use up its attempts before."""
    window: float = 60.0
    """The time whose calls count."""
    wait: float = 10.0
    """The time from opening to the first probe; it doubles with each probe that fails."""
    longest_wait: float = 300.0
    errors: ErrorTypes = (Exception,)
    """The classes of errors that count as failures, e.g. `(ConnectionError, TimeoutError)`."""

    def __post_init__(self) -> None:
        _require(is_number(self.rate, 0, 1) and self.rate > 0, "rate", self.rate, "a number above 0, up to 1")
        whole = isinstance(self.calls, int) and is_number(self.calls, 1, 1_000_000)
        _require(whole, "calls", self.calls, "a whole number, 1 to 1000000")
        for name in ("window", "wait", "longest_wait"):
            seconds = getattr(self, name)
            _require(is_number(seconds, 0, _LONGEST) and seconds > 0, name, seconds, f"seconds above 0, to {_LONGEST}")
        errors: object = self.errors
        known = isinstance(errors, tuple) and bool(errors) and all(map(_is_error, errors))
        _require(known, "errors", errors, "a tuple of classes of errors, e.g. (ConnectionError, TimeoutError)")

    def counts(self, error: BaseException) -> bool:
        """Whether an error of the handler counts as a failure."""
        return isinstance(error, self.errors) and not isinstance(error, HandlerSignal)


class Circuit:
    """The state of one handler's breaker in one process."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._parts: deque[list[float]] = deque()  # begin, calls, failures
        self._wait = breaker.wait
        self.state: State = "closed"
        self.until: float = 0.0
        """When an open circuit is to be probed."""
        self.opened_at: float = 0.0

    @property
    def calls(self) -> int:
        """The number of calls in the window."""
        return int(sum(part[1] for part in self._parts))

    @property
    def failures(self) -> int:
        """The number of failed calls in the window."""
        return int(sum(part[2] for part in self._parts))

    def ended(self, now: float, *, failed: bool) -> bool:
        """Note the end of a call of a closed circuit; return whether this opens it."""
        if self.state != "closed":
            return False
        self._note(now, failed=failed)
        enough = self.calls >= self._breaker.calls
        if not failed or not enough or self.failures < self._breaker.rate * self.calls:
            return False
        self.opened_at, self._wait = now, self._breaker.wait
        self._open(now)
        return True

    def probe(self, now: float) -> bool:
        """Begin to probe if it is time; return whether it is probing."""
        if self.state == "open" and now >= self.until:
            self.state = "probing"
        return self.state == "probing"

    def probed(self, now: float, *, failed: bool) -> None:
        """Note the end of the probe, which closes the circuit or opens it again."""
        if failed:
            self._wait = min(2 * self._wait, max(self._breaker.longest_wait, self._breaker.wait))
            self._open(now)
        else:
            self.state = "closed"
            self._parts.clear()

    def left(self, now: float) -> float:
        """Return the seconds until the next probe."""
        return max(0.0, self.until - now)

    def _open(self, now: float) -> None:
        self.state, self.until = "open", now + self._wait

    def _note(self, now: float, *, failed: bool) -> None:
        window = self._breaker.window
        while self._parts and self._parts[0][0] <= now - window:
            self._parts.popleft()
        if not self._parts or now >= self._parts[-1][0] + window / _PARTS:
            self._parts.append([now, 0, 0])
        self._parts[-1][1] += 1
        self._parts[-1][2] += failed


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _require(holds: bool, what: str, given: object, expected: str) -> None:  # noqa: FBT001  # a condition
    if not holds:
        raise ConfigError(f"Breaker({what}={shown(given)}): expected {expected}")
