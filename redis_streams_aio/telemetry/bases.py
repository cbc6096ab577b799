"""What all facts are: frozen records with a level, a line for eyes and details for machines.

The text of a fact is one short line. Where a fact carries an exception, observers get the object itself; it is no part
of comparing, of `repr` and of what machines get.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import msgspec

from ..models import LagReport

_LONGEST_REPR = 200
_IN_FRONT = ("stream", "group")
"""Fields that stand in front of the line of a fact about a group."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Something that happened. `level` is the `logging` level it is logged at."""

    level: ClassVar[int] = logging.DEBUG
    line: ClassVar[str] = ""
    """Its text, with fields of the fact as `{0.field}`; empty: its fields, as they are."""

    def details(self) -> dict[str, object]:
        """Its name as `fact`, and its fields; a report's fields too. Log records have these as attributes (`extra`)."""
        details: dict[str, object] = {"fact": type(self).__name__}
        for name, value in self._fields().items():
            details.update(msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else {name: value})
        return details

    def _fields(self) -> dict[str, object]:
        """Its fields, without the exception."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "exception"}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields().values()))

    def __str__(self) -> str:
        if not self.line:
            return " ".join(
                [_in_words(type(self).__name__), *(f"{k}={v}" for k, v in self._fields().items() if k not in _IN_FRONT)]
            )
        return self.line.format(self)

    def __repr__(self) -> str:
        shown = (f"{name}={_cut(repr(value))}" for name, value in self._fields().items())
        return f"{type(self).__name__}({', '.join(shown)})"


class GroupFact(Fact, frozen=True, kw_only=True):
    """A fact about one consumer group."""

    stream: str
    group: str

    def __str__(self) -> str:
        return f"{self.stream}/{self.group}: {super().__str__()}"


class CountFact(GroupFact, frozen=True, kw_only=True):
    """A fact about some entries of a group."""

    count: int

    @property
    def entries(self) -> str:
        """How many, in words."""
        return entries(self.count)


class EventFact(GroupFact, frozen=True, kw_only=True):
    """A fact about one event."""

    id: str
    event_type: str = ""
    """Empty: not known, or the entry names none."""
    handler: str = ""
    """The name of the event's handler; empty: it has none."""

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
    """A number of entries in words."""
    return "1 entry" if count == 1 else f"{count} entries"


def _in_words(name: str) -> str:
    """The name of a fact in words: `GroupRecreated` is `group recreated`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
