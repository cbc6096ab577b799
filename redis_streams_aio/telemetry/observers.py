"""`Telemetry` gives facts to the log and to the observers, and lets none of their errors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from ..checks.functions import functions
from .bases import Fact
from .logs import log, shown

P = ParamSpec("P")
Observer = Callable[[Fact], None]
"""A function that is called with each fact, in the event loop. It cannot be async: nothing awaits it."""


class Telemetry:
    """Gives facts to the log and to the observers. Raises `ConfigError` if an observer is not a plain function."""

    __slots__ = ("_observers", "active")

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers: Sequence[Observer] = functions("observers", observers, "fact")  # type: ignore[assignment]
        self.active: bool = bool(self._observers)
        """Whether there are observers. Facts of the hot path are created only for them."""

    def emit(self, fact: Fact, error: BaseException | None = None) -> None:
        """Log the fact at its level, with the traceback of `error`, and call every observer."""
        write(fact, error)
        self.tell(fact)

    def tell(self, fact: Fact) -> None:
        """Call every observer with a fact that is already in the log."""
        for observer in self._observers:
            self.guard(observer, fact)

    def guard(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a user's function. Its errors are logged and not raised."""
        try:
            callback(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # also a CancelledError: nothing can cancel a call that does not wait
            log.error("callback %s raised", shown(callback), error=raised)


def write(fact: Fact, error: BaseException | None = None) -> None:
    """Log a fact as one line, with its fields as attributes of the log record. Can be called from any thread."""
    if log.wants(fact.level):
        log.write(fact.level, "%s", fact, error=error, details=fact.details())


SILENT = Telemetry()
"""Telemetry without observers: facts go to the log only."""
