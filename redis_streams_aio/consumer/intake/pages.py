"""Make pages of replies: what a read brought becomes one page where all of it is plain, and entries where it is not.

The checks go by columns: "all entries begin with their event type, all have the same, none names another format" are a
few calls for the whole reply. A subscription whose handlers drop duplicates gets no pages, as each event is asked for
then; nor does one that handles batches in the order of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import Context

from ...connection.replies import NewEntry, Reply, new_entries
from ...events.wire_format import CONTENT_TYPE, EVENT_TYPE, KEY, PAYLOAD
from ...handlers.lanes import lanes_of
from ...handlers.routes import Plan, Route
from ..page import Page

LARGEST = 1024 * 1024
"""The most bytes of payloads in a page. Larger entries are decoded each in its turn."""

Columns = Sequence[Sequence[bytes]]


class Pages:
    """Makes the pages of one subscription."""

    def __init__(self, plan: Plan, context: Context) -> None:
        options = plan.options
        self._stream = options.stream
        self._routes = plan.routes
        self._key = options.key
        self._by_key = options.order == "key"
        self._batched = options.batch is not None
        self._context = context
        self._possible = not plan.routes.deduplicates and not (self._batched and self._by_key)

    def parse(self, reply: Reply) -> Page | Sequence[NewEntry]:
        """Return what a read brought: a page, or its entries. Raises `ServerError` for a reply that is not one."""
        if self._possible and reply is not None:
            try:
                [[_, found]] = reply  # type: ignore[misc]
                page = self._page(found)  # type: ignore[arg-type]
            except (IndexError, TypeError, ValueError):  # no entries, entries of different lengths, or not a reply
                page = None
            if page is not None:
                return page
        return new_entries(reply)

    def _page(self, found: Sequence[NewEntry]) -> Page | None:
        ids, fields = zip(*found, strict=True)
        b"".join(ids)  # raises `TypeError` unless all of them are bytes
        columns = list(zip(*fields, strict=True))
        route = self._route_of_all(columns, len(ids))
        if route is None:
            return None
        if not self._by_key:
            return Page(self._stream, route, ids, columns)
        if self._key is None:
            return Page(self._stream, route, ids, columns, lanes=_publishers_keys(columns))
        payloads, lanes = self._context.copy().run(_decoded, self._key, route, columns[3])
        return Page(self._stream, route, ids, columns, payloads=payloads, lanes=lanes)

    def _route_of_all(self, columns: Columns, count: int) -> Route | None:
        """Return the handler that takes all entries, by their payloads alone; `None` if there is none."""
        _, types, _, payloads, *_ = columns
        if types.count(types[0]) != count or not _is_plain(columns, count):
            return None
        route = self._routes.find_by_type(types[0])
        longest = max(map(len, payloads))
        if route is None or not self._takes_rows(route) or longest > route.max_payload or longest * count > LARGEST:
            return None
        return route

    def _takes_rows(self, route: Route) -> bool:
        """Whether a handler takes payloads alone, or in batches, which make a delivery when the handler asks for it."""
        return route.plain is not None and (self._batched or not route.shows_delivery)


def _is_plain(columns: Columns, count: int) -> bool:
    """Whether all entries begin with their type and payload, and none names a format."""
    if columns[0].count(EVENT_TYPE) != count or columns[2].count(PAYLOAD) != count:
        return False
    return not any(column.count(CONTENT_TYPE) for column in columns[4::2])


def _publishers_keys(columns: Columns) -> Sequence[bytes]:
    """Return the keys that the publisher gave. Raises `ValueError` if an entry has none."""
    if len(columns) < 6 or columns[4].count(KEY) != len(columns[0]):
        raise ValueError
    return columns[5]


def _decoded(
    key: Callable[[object], object], route: Route, payloads: Sequence[bytes]
) -> tuple[Sequence[object], Sequence[Hashable]]:
    """Return the decoded payloads and their lanes. Raises `ValueError` for any error: the attempt decides on it."""
    decode = route.plain
    assert decode is not None  # noqa: S101  # pages have no other routes
    try:
        values = list(map(decode, payloads))
        return values, lanes_of(list(map(key, values)))
    except Exception as error:
        raise ValueError from error
