"""A slot on its way from one node of a cluster to another, step by step, so that a test can stand in the middle.

Between `begin` and `finish`, the source answers `ASK` for keys that have gone, and the target serves those that ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .asking import ask
from .servers import Server

_AT_ONCE = 100
_TIMEOUT_MS = 5000


class Migration(NamedTuple):
    """One slot, from where it is to where it goes, and all nodes that have to know."""

    slot: int
    source: Server
    target: Server
    nodes: Sequence[Server]

    def run(self) -> None:
        """Go through all steps."""
        self.begin()
        self.move()
        self.finish()

    def begin(self) -> None:
        """Announce it to both: the keys are all where they were."""
        ask(self.target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", ask(self.source, "CLUSTER", "MYID"))
        ask(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", ask(self.target, "CLUSTER", "MYID"))

    def keys(self) -> list[str]:
        """Return keys that are still at the source."""
        found: list[str] = ask(self.source, "CLUSTER", "GETKEYSINSLOT", self.slot, _AT_ONCE)
        return found

    def move(self, *keys: str) -> None:
        """Move some keys; those that are named, or all there are."""
        while left := list(keys) or self.keys():
            ask(self.source, "MIGRATE", "127.0.0.1", self.target.port, "", 0, _TIMEOUT_MS, "KEYS", *left)
            if keys:
                return

    def finish(self) -> None:
        """Give the slot to the target, and tell all primaries."""
        owner = ask(self.target, "CLUSTER", "MYID")
        primaries = [node for node in self.nodes if ask(node, "ROLE")[0] == "master"]
        for node in sorted(primaries, key=lambda node: node is not self.target):
            ask(node, "CLUSTER", "SETSLOT", self.slot, "NODE", owner)
