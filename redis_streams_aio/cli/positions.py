"""Positions in a stream, as people name them on the command line."""

from __future__ import annotations

from datetime import datetime

import click

from ..events import entry_ids
from .parameters import moment
from .show import local_time, visible

METAVAR = "TIME|ID|start|end"
HELP = (
    "`start` and `end` of the stream, an entry id (entries after it), or a time (entries from it on): "
    "2026-01-31T12:00, local time if it has no zone, or an age: 90s, 30min, 2h, 7d."
)
_DIGITS = 12
"""The least digits of an id without a dash: ids of this age have 13."""
_LAST = 2**64 - 1
_NO_TIME = 9999
_EDGES = {"start": entry_ids.BEGINNING, "end": entry_ids.END}


def position(context: click.Context, parameter: click.Parameter, given: str) -> str | datetime:
    """Parse a position into what `ConsumerGroupManager` takes. A click callback."""
    text = given.strip()
    if text in _EDGES:
        return _EDGES[text]
    if entry_ids.is_id(text) and ("-" in text or len(text) >= _DIGITS):  # 2026 is rather a year
        return text
    try:
        found = moment(context, parameter, text)
    except click.BadParameter:
        raise click.BadParameter(
            f"{given!r} is neither start, end, an entry id such as 1700000000000-0, a time such as 2026-01-31T12:00, "
            "nor an age such as 90s, 30min, 2h, 7d",
            param=parameter,
        ) from None
    assert found is not None  # noqa: S101  # `moment` returns `None` only for `None`
    return found


def shown(entry_id: str) -> str:
    """Return an id with its time: `1700000000000-0 (2023-11-14 22:13:20)`; `the beginning` for the first one."""
    if entry_ids.parse(entry_id) == (0, 0):
        return "the beginning"
    milliseconds, sequence = entry_ids.parse(entry_id)
    if sequence == _LAST:  # where a time leads: the last id before it
        return f"right before {shown(f'{milliseconds + 1}-0')}"
    when = entry_ids.timestamp(entry_id)
    if when.year == _NO_TIME or not milliseconds:
        return visible(entry_id)  # an id that was chosen by a person
    return f"{visible(entry_id)} ({local_time(when)[:19]})"
