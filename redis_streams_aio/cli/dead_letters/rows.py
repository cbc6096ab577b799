"""Show dead letters: as a table, in full for people, and as JSON.

Texts of dead letters come from other programs, so they are shown without control characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...connection.replies import RawEntry
from ...models import DeadLetterKind, DeadLetterMessage
from ...monitoring.fingerprints import kind_of
from .. import events
from ..show import NONE, local_time, number, table, visible
from .access import Place

_NO_TIME = 9999
_ERROR = 5
_LEAST_ERROR = 20
"""The least width of the error column; a terminal too narrow for it leaves other columns out."""
_LEFT_OUT = ((), (6,), (6, 1))
_GAP = 2


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter, as the table shows it and as `--json` prints it."""

    id: str
    time: datetime | None
    """When the event was given up; `None` if the id was chosen by a person and is not a time."""
    event_type: str
    reason: str
    failures: int
    error: str
    entry_id: str
    """The event's entry id in its stream."""
    deliveries: int
    first_failure: datetime | None
    replays: int
    stream: str
    group: str
    consumer: str
    key: str | None
    event_id: str | None
    fingerprint: str

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        return (
            self.id,
            local_time(self.time)[:19],
            visible(self.event_type) or NONE,
            visible(self.reason) or NONE,
            number(self.failures),
            visible(self.error) or NONE,
            visible(self.entry_id) or NONE,
        )


_COLUMNS = ("id", "when", "event type", "reason", "failures#", "error", "original id")


# -- a table ----------------------------------------------------------------------------------------------------


def letter_table(rows: Sequence[LetterRow], total: int, place: Place, console: Console) -> Table:
    """Make the table: one row for each dead letter, with as much of its error as there is room for.

    `total` is the number of all dead letters, shown or not.
    """
    cells = [row.cells() for row in rows]
    shown = _columns_for(cells, console.width)
    title = f"{place}: {len(rows):,} shown of {total:,} dead letters"
    if place.dead_letter is not None:  # other groups may share this stream
        title += f" in {visible(place.dead_letter)}"
    made = table([_COLUMNS[index] for index in shown], [], title=title)
    for column, index in zip(made.columns, shown, strict=True):
        column.no_wrap = index != _ERROR  # rich first narrows columns that may wrap
    for row in cells:
        made.add_row(*(Text(row[index], no_wrap=True, overflow="ellipsis") for index in shown))
    return made


def _columns_for(rows: list[tuple[str, ...]], width: int) -> list[int]:
    """Choose the columns: if the error had no room, the original id and then the time are left out."""
    widths = [max(map(cell_len, cells)) for cells in zip(_COLUMNS, *rows, strict=True)]
    widths[_ERROR] = min(widths[_ERROR], _LEAST_ERROR)
    columns: list[int] = []
    for left_out in _LEFT_OUT:
        columns = [index for index in range(len(_COLUMNS)) if index not in left_out]
        if sum(widths[index] + _GAP for index in columns) - _GAP <= width:
            break
    return columns


def row_of(letter: DeadLetterMessage) -> LetterRow:
    """Return a dead letter as `LetterRow`."""
    return LetterRow(
        id=letter.id,
        time=_time(letter),
        event_type=letter.event_type,
        reason=letter.reason,
        failures=letter.failures,
        error=letter.error,
        entry_id=letter.entry_id,
        deliveries=letter.deliveries,
        first_failure=letter.first_failure,
        replays=letter.replays,
        stream=letter.stream,
        group=letter.group,
        consumer=letter.consumer,
        key=letter.key,
        event_id=letter.event_id,
        fingerprint=kind_of(letter).fingerprint,
    )


def _time(letter: DeadLetterMessage) -> datetime | None:
    return None if letter.timestamp.year == _NO_TIME else letter.timestamp


KIND_COLUMNS = ("fingerprint", "count#", "last", "cause", "newest id")


def kind_cells(kind: DeadLetterKind) -> tuple[str, ...]:
    """Return the row of a kind: `1f0c9a2e  12  2026-11-28 10:02:03  ValueError in shop/orders.py in bill  1795-0`."""
    where = " ".join(filter(None, (kind.error_type, kind.place and f"at {kind.place}")))
    cause = where or f"{kind.reason}: {kind.newest_error}"
    last = NONE if kind.last.year == _NO_TIME else local_time(kind.last)[:19]
    return kind.fingerprint, number(kind.count), last, visible(cause), visible(kind.newest_id)


# -- one of them --------------------------------------------------------------------------------------------------


def for_machines(letter: DeadLetterMessage) -> str:
    """Return a JSON object: the fields of `LetterRow`, then the event as in `tail --json`, then `traceback`."""
    record: dict[str, object] = {**_parts(letter), **msgspec.structs.asdict(row_of(letter))}
    return msgspec.json.encode({**record, "traceback": letter.traceback}).decode()


def for_people(letter: DeadLetterMessage) -> Iterator[str]:
    """Yield lines: the history, the event, its payload, the traceback."""
    facts = _facts(letter)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        yield f"{name:{width}}  {visible(value) or NONE}"
    for heading, text in (("payload", _payload(letter)), ("traceback", letter.traceback)):
        if text:
            yield ""
            yield f"{heading}:"
            yield from (f"  {visible(line.expandtabs())}" for line in text.rstrip("\n").split("\n"))


def _facts(letter: DeadLetterMessage) -> list[tuple[str, str]]:
    others = msgspec.json.decode(_parts(letter).get("fields", b"{}"), type=dict[str, str])
    return [
        ("id", letter.id),
        ("when", local_time(_time(letter))),
        ("reason", letter.reason),
        ("fingerprint", kind_of(letter).fingerprint),
        ("error", letter.error),
        ("failures", number(letter.failures)),
        ("first failure", local_time(letter.first_failure)),
        ("deliveries", number(letter.deliveries)),
        ("replays", number(letter.replays)),
        ("stream", letter.stream),
        ("group", letter.group),
        ("consumer", letter.consumer),
        ("original id", letter.entry_id),
        ("event type", letter.event_type),
        ("key", letter.key or ""),
        ("event id", letter.event_id or ""),
        *((f"header {visible(name)}", value) for name, value in letter.headers.items()),
        *((f"field {visible(name)}", value) for name, value in others.items()),
    ]


def _payload(letter: DeadLetterMessage) -> str:
    """JSON for reading; other bytes as Python writes them."""
    if (text := _parts(letter).get("payload")) is not None:
        return msgspec.json.format(bytes(text), indent=2).decode()
    return "" if letter.payload is None else repr(letter.payload)


def _parts(letter: DeadLetterMessage) -> dict[str, msgspec.Raw]:
    """The event's own parts, as JSON."""
    line = events.for_machines(RawEntry(letter.id.encode(), list(letter.fields)))
    return msgspec.json.decode(line, type=dict[str, msgspec.Raw])
