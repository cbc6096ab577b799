"""Lanes decide which entries of a subscription wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context

from ...events.wire_format import EVENT_ID, get
from ...handlers.routes import Plan
from ..entry import Entry
from ..page import Page
from .attempt import lane_by_key

_ONE_LANE = "stream"


class Lanes:
    """Chooses the lane of each entry by the order of its subscription."""

    def __init__(self, plan: Plan, context: Context) -> None:
        self._order = plan.options.order
        self._key = plan.options.key
        self._routes = plan.routes
        self._context = context

    def assign(self, entries: Page | Sequence[Entry]) -> None:
        """Set the lane of each entry, or of a page; an entry without a lane waits for no other."""
        if isinstance(entries, Page):
            entries.lane = _ONE_LANE if self._order == "stream" else None
            return
        lane_of = self._lane_of()
        if lane_of is not None:
            for entry in entries:
                entry.lane = lane_of(entry)

    def _lane_of(self) -> Callable[[Entry], object] | None:
        """Return the function that tells an entry's lane; `None` if no entry has one."""
        if self._order == "stream":
            return lambda _: _ONE_LANE
        if self._order == "key":
            return self._by_key
        if self._routes.deduplicates:  # copies of one event wait for each other
            return lambda entry: get(entry.fields, EVENT_ID)
        return None

    def _by_key(self, entry: Entry) -> object:
        if self._key is None:
            return lane_by_key(entry, self._routes, None)
        # the key function is user code, so it runs in its own context
        return self._context.copy().run(lane_by_key, entry, self._routes, self._key)
