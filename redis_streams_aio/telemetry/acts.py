"""`Acted`: a person, or a program in a person's name, changed something that a broker works with."""

from __future__ import annotations

import logging
from typing import ClassVar

from .bases import Fact


class Acted(Fact, frozen=True, kw_only=True):
    """Somebody moved, created, deleted, replayed, purged, paused or trimmed something, and it is done.

    What to do: nothing; the line answers who did it, and when.
    """

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "{0.by}: {0.act} {0.place}: {0.told}"
    act: str
    """The act, as the command line names it: `seek`, `group delete`, `dead-letters replay`."""
    stream: str
    group: str = ""
    """Empty if the act concerns the whole stream."""
    by: str
    """Who did it: a login name, unless another name was given."""
    count: int
    """The number of entries, or dead letters, that the act touched."""
    told: str
    """The result in words."""

    @property
    def place(self) -> str:
        """The stream and the group, as in the lines of other facts: `orders/billing`."""
        return f"{self.stream}/{self.group}" if self.group else self.stream
