"""Search a stream for events: by event id, type, key, header or text, within a bound.

Redis has no index over its entries, so they are read one page after the other. A search reads at most `limit` entries,
and says where it stopped: the next search goes on there. A page is smaller where entries are large.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from ..connection import Connection, replies
from ..connection.handful import Handful
from ..connection.replies import RawEntry
from ..events import replays, wire_format
from ..events.wire_format import Fields
from ..exceptions import UnansweredError

_PAGE = 500


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of the events that are searched; an event must have all of them."""

    event_id: str | None = None
    event_type: str | None = None
    key: str | None = None
    headers: Mapping[str, str] = {}
    text: str | None = None
    """A part of any field's name or value, upper or lower case."""

    def matches(self) -> Callable[[Fields], bool]:
        """Return the function that says whether the fields of an entry are wanted."""
        exact = [(b"event_id", self.event_id), (b"event_type", self.event_type), (b"key", self.key)]
        exact += [(wire_format.HEADER + name.encode(), value) for name, value in self.headers.items()]
        pairs = [(name, value.encode()) for name, value in exact if value is not None]
        text = None if self.text is None else self.text.casefold().encode()

        def matching(fields: Fields) -> bool:
            own = _own(fields)
            if any(wire_format.get(own, name) != value for name, value in pairs):
                return False
            return text is None or any(text in _folded(part) for part in own)

        return matching


class Search:
    """A search in one stream, from one entry on, of at most `limit` entries."""

    def __init__(self, connection: Connection, stream: str, wanted: Wanted) -> None:
        self._connection = connection
        self._stream = stream
        self._matches = wanted.matches()
        self.looked_at: int = 0
        """How many entries were read."""
        self.next: str | None = None
        """The entry to go on with; `None` if there is none."""

    async def run(self, start: str, *, backwards: bool, limit: int) -> AsyncIterator[RawEntry]:
        """Yield the events that are wanted, from `start` on (`-` and `+` are the ends of the stream).

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        pages = Handful(_PAGE)
        self.next = start
        while self.next is not None and self.looked_at < limit:
            page, is_last = await self._page(self.next, pages, backwards=backwards, most=limit - self.looked_at)
            for entry in page:
                self.looked_at += 1
                self.next = f"({entry.id.decode()}"
                if entry.fields is not None and self._matches(entry.fields):
                    yield entry
            if is_last:
                self.next = None

    async def _page(self, start: str, pages: Handful, *, backwards: bool, most: int) -> tuple[Sequence[RawEntry], bool]:
        """Return the next entries, and whether they are the last. Asks for fewer if a reply is too large."""
        command, end = ("XREVRANGE", "-") if backwards else ("XRANGE", "+")
        while True:
            count = min(pages.size, most)
            try:
                with pages.asking_for(count):
                    page = replies.entries(
                        await self._connection.call(command, self._stream, start, end, "COUNT", count)
                    )
                pages.weigh(page)
                return page, len(page) < count
            except UnansweredError:
                if count == 1:
                    raise


def _own(fields: Fields) -> Fields:
    """Return the event's own fields, also of an event that was replayed as a copy."""
    replay = replays.unwrap(fields)
    return fields if replay is None else replay.fields


def _folded(part: bytes) -> bytes:
    return part.decode("utf-8", "replace").casefold().encode()
