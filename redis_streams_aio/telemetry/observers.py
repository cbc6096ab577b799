"""`Telemetry`: gives facts to the log and to the observers, and is harmed by neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from ..checks.functions import functions
from .bases import Fact
from .logs import log, shown

P = ParamSpec("P")
Observer = Callable[[Fact], None]
"""Is called with each fact, in the event loop, and is not waited for: no async function."""


class Telemetry:
    """Gives facts to the log and to the observers. Raises `ConfigError` for what cannot be an observer."""

    __slots__ = ("_observers", "active")

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers: Sequence[Observer] = functions("observers", observers, "fact")  # type: ignore[assignment]
        self.active: bool = bool(self._observers)
        """Whether anyone but the log listens: facts of the hot path are made only then."""

    def emit(self, fact: Fact, error: BaseException | None = None) -> None:
        """Log the fact at its level, with the traceback of `error`, and tell every observer."""
        write(fact, error)
        self.tell(fact)

    def tell(self, fact: Fact) -> None:
        """Tell every observer of a fact that the log has already."""
        for observer in self._observers:
            self.guard(observer, fact)

    def guard(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a user's function; what it raises is logged and goes no further."""
        try:
            callback(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # also a CancelledError: nothing can cancel a call that does not wait
            log.error("callback %s raised", shown(callback), error=raised)


def write(fact: Fact, error: BaseException | None = None) -> None:
    """Log a fact as one line, with its fields as attributes of the record (`Fact.details`). Any thread may call it."""
    if log.wants(fact.level):
        log.write(fact.level, "%s", fact, error=error, details=fact.details())


SILENT = Telemetry()
"""Telemetry without observers: only the log."""
