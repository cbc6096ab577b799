"""`Telemetry` gives facts to the log and to the observers that want them, and lets none of their errors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from ..checks.functions import functions
from ..exceptions import ConfigError
from .bases import Fact
from .logs import log, shown

P = ParamSpec("P")
Observer = Callable[[Fact], None]
"""A function that is called with facts, in the event loop. It cannot be async: nothing awaits it.

It gets all facts. An observer with an attribute `kinds`, a tuple of classes of facts, gets facts of these classes only.
"""

_ALL = (Fact,)


class Telemetry:
    """Gives facts to the log and to the observers that want them.

    Raises `ConfigError` if an observer is not a plain function, or its `kinds` are not classes of facts.
    """

    __slots__ = ("_observers", "_wanting")

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        found: Sequence[Observer] = functions("observers", observers, "fact")  # type: ignore[assignment]
        self._observers = [(each, _kinds(f"observers[{at}]", each)) for at, each in enumerate(found)]
        self._wanting: dict[type[Fact], Sequence[Observer]] = {}

    def wants(self, kind: type[Fact]) -> bool:
        """Whether an observer wants such facts. Facts of the hot path are created only then."""
        return bool(self._who_wants(kind))

    def emit(self, fact: Fact, error: BaseException | None = None) -> None:
        """Log the fact at its level, with the traceback of `error`, and call every observer that wants it."""
        write(fact, error)
        self.tell(fact)

    def tell(self, fact: Fact) -> None:
        """Call every observer that wants it with a fact that is already in the log."""
        for observer in self._who_wants(type(fact)):
            self.guard(observer, fact)

    def _who_wants(self, kind: type[Fact]) -> Sequence[Observer]:
        if (wanting := self._wanting.get(kind)) is None:
            wanting = [observer for observer, kinds in self._observers if issubclass(kind, kinds)]
            self._wanting[kind] = wanting
        return wanting

    def guard(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a user's function. Its errors are logged and not raised."""
        try:
            callback(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # also a CancelledError: nothing can cancel a call that does not wait
            log.error("callback %s raised", shown(callback), error=raised)


def _kinds(what: str, observer: Observer) -> tuple[type[Fact], ...]:
    """Return the classes of facts that an observer wants. Raises `ConfigError`."""
    kinds = getattr(observer, "kinds", _ALL)
    if not isinstance(kinds, tuple) or not all(isinstance(each, type) and issubclass(each, Fact) for each in kinds):
        raise ConfigError(f"{what}.kinds={shown(kinds)}: expected a tuple of classes of facts, e.g. (DeadLettered,)")
    return kinds


def write(fact: Fact, error: BaseException | None = None) -> None:
    """Log a fact as one line, with its fields as attributes of the log record. Can be called from any thread."""
    if log.wants(fact.level):
        log.write(fact.level, "%s", fact, error=error, details=fact.details())


SILENT = Telemetry()
"""Telemetry without observers: facts go to the log only."""
