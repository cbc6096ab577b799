"""What a process is asked to do, and what it says: one JSON document each way."""

from __future__ import annotations

import msgspec

from .contenders import Way

Figures = dict[str, float]
"""What was measured, by name; the names say the units."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one process."""

    scenario: str
    variant: str
    contender: str
    url: str
    events: int
    cpus: list[int]
    """Where it may run; anywhere where none is named."""
    way: Way = Way()
    streams: int = 1
    seconds: float = 0.0
    """For how long, where that is asked for: of a handler, or of a whole scenario."""
    log: str = ""
    """The file for what is handled, where the process will be killed."""
    enough: int = 0
    """After so many it may end; nothing: after all."""
    shared: bool = False
    """Others handle the same events: it ends when it is told to."""
    uvloop: bool = False
