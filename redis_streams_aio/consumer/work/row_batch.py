"""`RowBatch`: rows of pages that a batch handler gets together. They become entries only where there is more to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import overload

from ...handlers.routes import Route
from ..entry import Entry
from ..outcomes import shown_type, type_of
from ..page import Page, Row

_ID, _PAYLOAD = itemgetter(0), itemgetter(1)


class RowBatch(Sequence[Entry]):
    """Rows that were taken from their pages. As a sequence, it has their entries, which are made when one is needed."""

    __slots__ = ("_entries", "_parts", "_payloads", "_rows", "lane", "route")

    def __init__(self, parts: Sequence[tuple[Page, Sequence[Row]]]) -> None:
        self._parts = parts
        self._rows = list(chain.from_iterable(rows for _, rows in parts))
        self._payloads: list[object] = []
        self._entries: list[Entry] | None = None
        self.route: Route = parts[0][0].route
        self.lane: object = parts[0][0].lane

    @property
    def ids(self) -> list[bytes]:
        """The ids of the entries."""
        return list(map(_ID, self._rows))

    def payloads(self) -> list[object]:
        """Return the decoded payloads. Raises the errors of the decoder."""
        decode = self._parts[0][0].decode
        self._payloads = list(map(decode, map(_PAYLOAD, self._rows)))
        return self._payloads

    @property
    def types(self) -> Iterator[tuple[bytes, str]]:
        """The id and the event type of each entry."""
        for page, rows in self._parts:
            yield from zip(map(_ID, rows), repeat(shown_type(page.event_type)), strict=False)

    @property
    def is_made(self) -> bool:
        """Whether the rows have become entries."""
        return self._entries is not None

    def entries(self) -> list[Entry]:
        """Make entries of all rows. They have not begun."""
        if self._entries is None:
            self._entries = [page.entry_of(raw_id) for page, rows in self._parts for raw_id, _, _ in rows]
            for entry, payload in zip(self._entries, self._payloads, strict=False):
                entry.payload, entry.prepared = payload, True
        return self._entries

    def begun(self) -> list[Entry]:
        """Make entries of all rows whose handler is running, or has ended."""
        if self._entries is None:
            for entry in self.entries():
                entry.begin()
        return self.entries()

    def shown(self) -> Sequence[Entry]:
        """Return the rows as entries, for those who only look. Can be called from any thread."""
        return self._entries or [page.shown(raw_id) for page, rows in self._parts for raw_id, _, _ in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self.begun()[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.begun())


def types_in(batch: Sequence[Entry]) -> Iterator[tuple[bytes, str]]:
    """Return the id and the event type of each entry of a batch."""
    return batch.types if isinstance(batch, RowBatch) else ((entry.raw_id, type_of(entry)) for entry in batch)
