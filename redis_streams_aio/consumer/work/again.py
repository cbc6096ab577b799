"""Keep the entries of a batch that are handled again, and the entries that must wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..entry import RUNNING, Entry


class Again:
    """Entries of a batch that are handled again later; entries behind them in their lanes wait for them."""

    __slots__ = ("_entries", "_lanes")

    def __init__(self) -> None:
        self._entries: set[Entry] = set()
        self._lanes: set[object] = set()

    def not_held_in(self, part: Sequence[Entry]) -> Sequence[Entry]:
        """The entries of a part that wait for no other one."""
        return [entry for entry in part if entry.lane not in self._lanes] if self._lanes else part

    def add(self, failed: Sequence[Entry], part: Sequence[Entry]) -> None:
        """Keep entries of a part that are handled again, and those of it that wait for an earlier one."""
        self._entries.update(failed)
        if self._entries:
            self._entries.update(entry for entry in part if entry.lane in self._lanes)
            self._lanes.update(entry.lane for entry in self._entries if entry.lane is not None)

    def of(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        """All of them, in the order of the batch."""
        return [entry for entry in batch if entry in self._entries] if self._entries else ()


def put_back(entries: Iterable[Entry]) -> None:
    """Let entries be handled later that no handler has begun."""
    for entry in entries:
        if entry.state is RUNNING:
            entry.queue()
