"""`Page`: the events of one read, held together as long as nothing about them is out of the ordinary.

Nearly every event is handled at once and acknowledged. Such an event needs no record of its own: it is a *row* of a
page, an entry id with an encoded payload, and the workers share one iterator over the rows. The worker that takes a row
begins it. A row becomes an `Entry` (`entry_of`) where there is more to say about its event: its handler failed, its
lease was lost, its lane is busy, or it is released. A page is *dissolved* where the rest of it must wait: all rows that
nobody has begun become entries, and go the ordinary way in their order.

A page has only entries that Redis has delivered for the first time, with one event type whose handler takes the payload
alone, in a format that can be decoded without their other fields (`intake.pages` checks that).

The holdings have the page under each of its ids until a row becomes an entry, or until its acknowledgement is written.
Nothing here talks to Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

from .entry import Entry

if TYPE_CHECKING:
    from ..handlers.routes import Route

Row = tuple[bytes, object, Hashable]
"""Entry id, payload for `Page.decode`, and lane: rows of one lane wait for each other, a row without one for none."""

SAMPLES = 8
"""The most rows whose size is looked at."""


class Page:
    """The events of one read."""

    __slots__ = ("_columns", "_held", "_left", "_places", "decode", "ids", "lane", "lanes", "route", "rows", "stream")

    def __init__(
        self,
        stream: str,
        route: Route,
        ids: Sequence[bytes],
        columns: Sequence[Sequence[bytes]],
        *,
        payloads: Sequence[object] | None = None,
        lanes: Sequence[Hashable] | None = None,
    ) -> None:
        self.stream: str = stream
        self.route: Route = route
        """The handler of all rows."""
        self.ids: Sequence[bytes] = ids
        self.lanes: Sequence[Hashable] | None = lanes
        self.decode: Callable[[Any], object] = route.plain if payloads is None and route.plain else _as_it_is
        """Turns the payload of a row into the handler's. `payloads` are decoded already, for the key function."""
        self._columns = columns
        self.lane: Hashable = None
        """The lane of the page as a whole, where all its rows wait for each other."""
        self._left: Iterator[bytes] = iter(ids)
        given, own = columns[3] if payloads is None else payloads, repeat(None) if lanes is None else lanes
        self.rows: Iterator[Row] = zip(self._left, given, own, strict=False)
        """The rows that nobody has begun."""
        self._held: dict[bytes, Page | Entry] = {}
        self._places: dict[bytes, int] | None = None

    def __len__(self) -> int:
        """Return the number of rows that nobody has begun."""
        return self._left.__length_hint__()  # type: ignore[attr-defined, no-any-return]

    @property
    def event_type(self) -> bytes:
        """The event type of all rows."""
        return self._columns[1][0]

    @property
    def weight(self) -> float:
        """The bytes of a row's fields, from a sample of them."""
        samples = [column[:: -(-len(column) // SAMPLES)] for column in self._columns]
        return sum(map(len, chain.from_iterable(samples))) / len(samples[0])

    def hold(self, held: dict[bytes, Page | Entry]) -> None:
        """Stand under each id in the holdings."""
        self._held = held
        held.update(dict.fromkeys(self.ids, self))

    def has_begun(self, raw_id: bytes) -> bool:
        """Whether a worker has taken the row."""
        return self._place(raw_id) < len(self.ids) - len(self)

    def take(self, most: int) -> list[Row]:
        """Begin up to `most` rows."""
        return list(islice(self.rows, most))

    def shown(self, raw_id: bytes) -> Entry:
        """Return the row as an entry, for those who only look. Can be called from any thread."""
        at = self._place(raw_id)
        entry = Entry(self.stream, raw_id, [column[at] for column in self._columns])
        entry.lane = self.lane if self.lanes is None else self.lanes[at]
        return entry

    def entry_of(self, raw_id: bytes) -> Entry:
        """Make an entry of the row, which holds its place from now on."""
        entry = self._held[raw_id] = self.shown(raw_id)
        return entry

    def dissolve(self) -> list[Entry]:
        """Make entries of all rows that nobody has begun, in their order."""
        return self.entries_of(self.rows)

    def entries_of(self, rows: Iterable[Row]) -> list[Entry]:
        """Make entries of these rows."""
        return [self.entry_of(raw_id) for raw_id, _, _ in rows]

    def _place(self, raw_id: bytes) -> int:
        if self._places is None:
            self._places = {each: at for at, each in enumerate(self.ids)}
        return self._places[raw_id]


def _as_it_is(value: object) -> object:
    return value
