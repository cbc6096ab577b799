"""`Outcomes`: attempts that are over on our side, until it is known what became of their events (`Handled`).

An attempt is one call of a handler with one event, or one event that an iterator was given. It stands here from the end
of the call (or from the moment in which it was given) until its outcome is told. Telling takes it away, so each attempt
has one outcome, the first that is told:

| told by | outcome |
|---|---|
| acknowledgements, writer: Redis has confirmed the fate | `acknowledged`, `retried`, `postponed`, `dead_letter` |
| releasing | `released`; `lost` if the entry was deleted, or its group |
| holdings, writer, settlement: the entry is no longer ours to write | `lost` |
| the end of the consumer: all that are left | `lost` |

If an entry is lost and comes back here, its handler may be called again before the acknowledgement of the first call is
confirmed: the first attempt is lost then. Nothing is kept unless an observer wants `Handled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time
from typing import NamedTuple, TypedDict

from ..events.wire_format import event_type_of
from ..handlers.error_texts import shortened
from ..telemetry import Handled, Outcome, Telemetry
from .entry import Entry


class Here(TypedDict):
    """The fields that all facts about a group share."""

    stream: str
    group: str
    consumer: str


class Attempt(NamedTuple):
    """An attempt without its outcome."""

    event_type: str
    handler: str
    began: float
    """In epoch seconds."""
    seconds: float | None
    """How long it took; `None`: until its outcome is known."""


class Outcomes:
    """The attempts of one consumer whose outcomes are not known yet."""

    def __init__(self, telemetry: Telemetry, here: Here) -> None:
        self.are_wanted: bool = telemetry.wants(Handled)
        self._emit: Callable[[Handled], None] = telemetry.emit
        self._here = here
        self._attempts: dict[bytes, Attempt] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def ended(self, raw_id: bytes, event_type: str, handler: str, seconds: float) -> None:
        """Note that a call of a handler has ended, however it ended."""
        self._note(raw_id, Attempt(event_type, handler, time() - seconds, seconds))

    def given(self, entry: Entry) -> None:
        """Note that an iterator was given an entry, if somebody wants to know its outcome."""
        if self.are_wanted:
            self._note(entry.raw_id, Attempt(type_of(entry), "", time(), None))

    def tell(self, ids: Iterable[bytes], outcome: Outcome) -> None:
        """Tell the outcome of attempts with these entries. Does nothing for entries that have none here."""
        if not self._attempts:
            return
        for raw_id in ids:
            if (attempt := self._attempts.pop(raw_id, None)) is not None:
                self._tell(raw_id, attempt, outcome)

    def close(self) -> None:
        """Tell of all that are left: nobody writes their fates any more."""
        self.tell(tuple(self._attempts), "lost")

    def _note(self, raw_id: bytes, attempt: Attempt) -> None:
        if raw_id in self._attempts:
            self.tell([raw_id], "lost")
        self._attempts[raw_id] = attempt

    def _tell(self, raw_id: bytes, attempt: Attempt, outcome: Outcome) -> None:
        event_type, handler, began, seconds = attempt
        self._emit(
            Handled(
                **self._here,
                id=raw_id.decode(),
                event_type=event_type,
                handler=handler,
                began=began,
                seconds=time() - began if seconds is None else seconds,
                outcome=outcome,
            )
        )


def type_of(entry: Entry) -> str:
    """Return the event type of an entry, as facts show it."""
    return shown_type(event_type_of(entry.fields))


def shown_type(event_type: bytes) -> str:
    """Return an event type, as facts show it."""
    return shortened(event_type.decode("utf-8", "replace"))
