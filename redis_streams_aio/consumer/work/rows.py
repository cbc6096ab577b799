"""Handle the rows of a page: call the handler with one payload after another, and acknowledge each.

Nearly every event goes this way, so it is short: no record, no delivery and no fate is made, no route is looked up.
Between two handlers a worker looks at the clock, and whether it is cancelled. A row about which there is more to say
becomes an entry (`Left`), and goes on as any other entry does: its payload cannot be decoded, its handler has raised or
returned something, its lease was lost, or its worker was cancelled.

Several workers may handle one page. A slot says which row a worker has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from ...handlers.calls import error_of
from ...handlers.routes import Route
from ..entry import Entry
from ..outcomes import Outcomes
from ..page import Page, Row
from ..settle.acknowledgements import Acknowledgements
from .attempt import Ended, failure_of
from .noting import Acks, Noting
from .schedule import Schedule
from .turns import Turn, Worker

_UNDECODED = object()


class Left(NamedTuple):
    """A row that has become an entry."""

    entry: Entry
    route: Route
    ended: Ended | None
    """The end of its handler; `None` if the handler was not called."""


class _Slot:
    """The row that a worker has."""

    __slots__ = ("entry", "lane", "page", "raw_id", "turn")

    def __init__(self, page: Page, turn: Turn) -> None:
        self.page = page
        self.turn = turn
        self.raw_id = b""
        self.lane: Hashable = None
        self.entry: Entry | None = None

    def begun(self) -> Entry:
        """Make an entry of the row, whose handler is running or has ended."""
        if self.entry is None:
            self.entry = self.page.entry_of(self.raw_id)
            self.entry.begin()
        return self.entry


class Rows:
    """Handles the rows of pages, for all workers of a subscription."""

    def __init__(
        self, schedule: Schedule, acks: Acknowledgements, now: Callable[[], float], outcomes: Outcomes
    ) -> None:
        self._schedule = schedule
        self._acks = acks
        self._now = now
        self._outcomes = outcomes
        self._slots: dict[Worker, _Slot] = {}
        self.done: int = 0
        """The number of ended calls of handlers."""
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether no handler may begin any more."""
        return self._stopping

    @stopping.setter
    def stopping(self, stopping: bool) -> None:
        self._stopping = stopping
        if stopping:
            for slot in self._slots.values():
                slot.turn.until = 0.0

    def __len__(self) -> int:
        """Return the number of rows in their handler."""
        return len(self._slots)

    def in_handlers(self) -> list[tuple[Worker, Sequence[Entry]]]:
        """Return each worker in a handler, with its row as an entry. Can be called from any thread."""
        return [(worker, (slot.page.shown(slot.raw_id),)) for worker, slot in self._slots.copy().items() if slot.raw_id]

    def begun(self, raw_id: bytes) -> Entry | None:
        """Make an entry of the row if a worker has it; else return `None`."""
        return next((slot.begun() for slot in self._slots.values() if slot.raw_id == raw_id), None)

    def worker_of(self, entry: Entry) -> Worker | None:
        """Return the worker whose row has become this entry."""
        return next((worker for worker, slot in self._slots.items() if slot.entry is entry), None)

    async def handle(self, page: Page, turn: Turn) -> Left | None:
        """Handle rows until the page or the turn is over, or until a row is left to be handled as an entry."""
        if self._outcomes.are_wanted:
            left = await self._handle_and_note(_Slot(page, turn))
        else:
            left = await self._handle_in(_Slot(page, turn), self._acks)
        if left is None:
            self._schedule.leave_lane(page.lane)
        return left  # it keeps the lane of its page until it is settled

    async def _handle_and_note(self, slot: _Slot) -> Left | None:
        """Handle rows, and note the end of each call."""
        noting, left = Noting(self._acks, self._outcomes, self._now, slot.page, slot.turn), None
        try:
            left = await self._handle_in(slot, noting)
        finally:
            if slot.entry is not None and (left is None or left.ended is not None):
                noting.ended(slot.raw_id)
        return left

    async def _handle_in(self, slot: _Slot, acks: Acks) -> Left | None:
        page, worker = slot.page, slot.turn.worker
        self._slots[worker] = slot
        try:
            return await self._handle(
                page.rows if page.lanes is None else self._schedule.startable_rows(page), slot, acks
            )
        finally:
            del self._slots[worker]

    async def _handle(self, rows: Iterator[Row], slot: _Slot, acks: Acks) -> Left | None:
        turn, worker = slot.turn, slot.turn.worker
        call, decode, time = slot.page.route.alone, slot.page.decode, self._now
        for slot.raw_id, payload, slot.lane in rows:
            value, error, left = _UNDECODED, None, None
            try:
                value = decode(payload)
                left = await call(value)
            except BaseException as raised:  # noqa: BLE001  # the exception becomes a value, and part of the fate
                error = _as_value(raised, slot, is_decoded=value is not _UNDECODED)
            if worker.cancelling() or not (error is left is slot.entry):  # all three are `None` after a success
                return self._left(slot, error_of(error, left), is_decoded=value is not _UNDECODED)
            self.done += 1
            acks.gather(slot.raw_id)
            if slot.lane is not None:
                self._schedule.leave_lane(slot.lane)
            turn.freed()
            turn.began = now = time()
            if now > turn.until or turn.has_changed():
                return None
        return None

    def _left(self, slot: _Slot, error: BaseException | None, *, is_decoded: bool) -> Left:
        if not is_decoded:  # the attempt decodes it again, and decides
            return Left(slot.page.entry_of(slot.raw_id), slot.page.route, None)
        self.done += 1
        return Left(slot.begun(), slot.page.route, Ended(error, None, self._now() - slot.turn.began))


def _as_value(raised: BaseException, slot: _Slot, *, is_decoded: bool) -> BaseException:
    """Return the exception of a decoder or a handler as a value; see `attempt.failure_of`."""
    if is_decoded:
        return failure_of(raised, (), slot.begun())
    if isinstance(raised, KeyboardInterrupt | SystemExit):
        raise raised
    return raised
