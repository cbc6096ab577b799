"""Which dead letters are meant: by reason, period and fingerprint. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..checks import values
from ..events import entry_ids
from ..exceptions import ConfigError
from ..models import DeadLetterMessage
from .fingerprints import kind_of

_LAST_OF_A_MILLISECOND = 2**64 - 1


class Filter(msgspec.Struct, frozen=True):
    """Which dead letters are meant, where no ids are given."""

    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    fingerprint: str | None = None

    def check(self) -> None:
        """Raise `ConfigError` for texts that are none."""
        for name, given in (("reason", self.reason), ("fingerprint", self.fingerprint)):
            if given is not None:
                values.text(name, given)

    def passes(self, letter: DeadLetterMessage) -> bool:
        """Whether a dead letter of the period has the reason and the fingerprint."""
        if self.reason not in (letter.reason, None):
            return False
        return self.fingerprint is None or kind_of(letter).fingerprint == self.fingerprint

    def range(self, after: str | None) -> tuple[str, str | None]:
        """Return the first id to look at, and the last one if there is a limit. Raises `ConfigError`."""
        start = "-" if self.since is None else _edge("since", self.since)
        if after is not None:
            check_id("after", after)
            start = max(f"({after}", start, key=place)
        return start, None if self.until is None else f"{_edge('until', self.until)}-{_LAST_OF_A_MILLISECOND}"


def place(edge: str) -> tuple[int, int]:
    """Return an end of a range (`-`, `1700`, `1700-1` or `(1700-1`) as numbers that can be compared."""
    return (0, 0) if edge == "-" else entry_ids.parse(edge.removeprefix("("))


def check_id(what: str, letter_id: object) -> None:
    """Raise `ConfigError` if this cannot be the id of a dead letter."""
    if not isinstance(letter_id, str) or not entry_ids.is_id(letter_id):
        raise ConfigError(f"{what}: {values.shown(letter_id)} is not the id of a dead letter, e.g. 1700000000000-0")


def _edge(what: str, moment: datetime) -> str:
    if not isinstance(moment, datetime):
        raise ConfigError(f"{what}={values.shown(moment)}: expected a datetime with a time zone")
    if moment.tzinfo is None:
        raise ConfigError(f"{what}={moment!r}: give a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)")
    return str(max(0, round(moment.timestamp() * 1000)))
