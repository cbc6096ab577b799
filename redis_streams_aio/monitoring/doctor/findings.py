"""`Finding`: one thing that doctor has looked at, with what to do about it."""

from __future__ import annotations

import msgspec

OK, HINT, WARNING, CRITICAL, UNKNOWN = "ok", "hint", "warning", "critical", "unknown"
LEVELS = {
    OK: "As it should be.",
    HINT: "Works, and could be better.",
    UNKNOWN: "The user may not ask; nobody knows.",
    WARNING: "Events may be lost, late or stuck in a case that happens.",
    CRITICAL: "Events are lost, refused or stuck now, or at the next crash.",
}
"""The levels, the worst last."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    level: str
    check: str
    """Which check: a word for filters, e.g. `eviction`."""
    where: str
    """The server, the stream, or stream and group."""
    told: str
    """The state, in one sentence."""
    advice: str | None = None
    """The action to take; `None` if nothing is to be done."""


def finding(level: str, check: str, where: str, told: str, advice: str | None = None) -> Finding:
    """Return a finding."""
    return Finding(level=level, check=check, where=where, told=told, advice=advice)


def by_severity(found: Finding) -> int:
    """Return how bad a finding is, for sorting."""
    return [*LEVELS].index(found.level)
