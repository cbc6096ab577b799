"""Copies: `WAIT` and `WAITAOF` tell how many copies of the writes before them there are, on their own connection.

Both count only writes of the connection that they are sent on, and answer at once with all replicas where it wrote
nothing. So the write, and the question, leave together.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..packing import Command
from ..replies import Reply, integer, reads, rows

LOCAL_DISK_SINCE = (7, 2)
"""The version of Redis that has `WAITAOF`. Every Valkey has it."""


class Copies(NamedTuple):
    """The copies that a publish asks for."""

    kind: Literal["replicated", "disk"]
    number: int
    """Replicas; 1 for the primary's own disk."""

    def question(self, ms: int) -> Command:
        """Return the command that waits for the copies, for at most that long."""
        return ("WAIT", self.number, ms) if self.kind == "replicated" else ("WAITAOF", self.number, 0, ms)

    @property
    def where(self) -> str:
        """Who holds the copies, in words."""
        return "replicas" if self.kind == "replicated" else "disks of the primary"

    def lacking(self, name: str, version: str) -> str:
        """Say why a server cannot be asked; `""` if it can, or is not known yet."""
        numbers = (*(int(part) for part in version.split(".") if part.isdecimal()),)
        if self.kind == "disk" and name == "redis" and numbers < LOCAL_DISK_SINCE:
            return f"durability='disk' needs WAITAOF, which redis {version} does not have: use 7.2 or later, or Valkey"
        return ""


@reads
def confirmed(copies: Copies, reply: Reply) -> int:
    """The reply to the question: how many copies there are."""
    return integer(reply if copies.kind == "replicated" else rows(reply)[0])
