"""Base classes of facts: frozen records with a level, one short line for people and details for machines.

A fact may carry an exception. Observers get the object itself; comparison, `repr` and `details` leave it out.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import msgspec

from ..models import LagReport

_LONGEST_REPR = 200
_NOT_LISTED = ("stream", "group", "consumer")
"""Fields that a line about a group begins with, or leaves out."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Base class of facts. `level` is the `logging` level of its line in the log."""

    level: ClassVar[int] = logging.DEBUG
    line: ClassVar[str] = ""
    """The text of the log line, with the fact's fields as `{0.field}`; if empty, the line lists the fields."""

    def details(self) -> dict[str, object]:
        """Return the fact's name as `fact`, and its fields. Log records have these as attributes (`extra`)."""
        details: dict[str, object] = {"fact": type(self).__name__}
        for name, value in self._fields().items():
            details.update(msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else {name: value})
        return details

    def _fields(self) -> dict[str, object]:
        """Return the fields without the exception."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "exception"}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields().values()))

    def __str__(self) -> str:
        if not self.line:
            listed = (f"{name}={value}" for name, value in self._fields().items() if name not in _NOT_LISTED)
            return " ".join([_in_words(type(self).__name__), *listed])
        return self.line.format(self)

    def __repr__(self) -> str:
        shown = (f"{name}={_cut(repr(value))}" for name, value in self._fields().items())
        return f"{type(self).__name__}({', '.join(shown)})"


class GroupFact(Fact, frozen=True, kw_only=True):
    """A fact about one consumer group."""

    stream: str
    group: str
    consumer: str = ""
    """The name of this process's consumer in the group; empty if no consumer has to do with the fact."""

    def __str__(self) -> str:
        return f"{self.stream}/{self.group}: {super().__str__()}"


class CountFact(GroupFact, frozen=True, kw_only=True):
    """A fact about some entries of a group."""

    count: int

    @property
    def entries(self) -> str:
        """The number of entries, in words."""
        return entries(self.count)


class EventFact(GroupFact, frozen=True, kw_only=True):
    """A fact about one event."""

    id: str
    event_type: str = ""
    """Empty if unknown, or if the entry names none."""
    handler: str = ""
    """The name of the event's handler; empty if there is none."""

    @property
    def event(self) -> str:
        """The event in words: `OrderPlaced 1700-0 in bill`."""
        named = f"{self.event_type} {self.id}" if self.event_type else self.id
        return f"{named} in {self.handler}" if self.handler else named


class ReportFact(Fact, frozen=True, kw_only=True):
    """A fact about how far a group is behind."""

    report: LagReport

    def __str__(self) -> str:
        return f"{self.report.stream}/{self.report.group}: {super().__str__()}"


def entries(count: int) -> str:
    """Return a number of entries in words."""
    return "1 entry" if count == 1 else f"{count} entries"


def _in_words(name: str) -> str:
    """Return the name of a fact in words: `GroupRecreated` becomes `group recreated`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
