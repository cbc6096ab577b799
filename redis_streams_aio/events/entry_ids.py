"""Entry ids as Redis writes them, `<milliseconds>-<sequence>`: their order, their time, and the places to start from.

Pure functions over text. Source: Redis documentation, "Entry IDs"
(https://redis.io/docs/latest/develop/data-types/streams/).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ..checks.values import shown
from ..exceptions import ConfigError

BEGINNING = "0"
"""Start of a new group: everything that is in the stream."""
END = "$"
"""Start of a new group: only what comes after it was made."""

_LARGEST = 2**64 - 1
"""The largest number in an id."""
_FULL_OR_BARE = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


def parse(entry_id: str) -> tuple[int, int]:
    """`"1700-3"` as `(1700, 3)`, which compares as Redis compares; a bare `"1700"` counts as `1700-0`."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def is_id(text: str) -> bool:
    """Whether it is an entry id, whole or bare."""
    return _FULL_OR_BARE.fullmatch(text) is not None and max(parse(text)) <= _LARGEST


def previous(entry_id: str) -> str:
    """The id right before: a group made there reads `entry_id` next."""
    milliseconds, sequence = parse(entry_id)
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{_LARGEST}" if milliseconds else "0-0"


def timestamp(entry_id: str) -> datetime:
    """When Redis took the entry, in UTC, to the millisecond; the last moment there is for ids that others made up."""
    try:
        return datetime.fromtimestamp(parse(entry_id)[0] / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def start_position(start: str | datetime) -> str:
    """What `start=` means to `XGROUP CREATE`: `"0"`, `"$"`, an entry id, or the last id before a point in time.

    A `datetime` without a time zone is refused, as it would mean another moment on another machine.
    Raises `ConfigError`.
    """
    if isinstance(start, datetime):
        return _before(start)
    if isinstance(start, str) and (start == END or is_id(start)):
        return str.__str__(start)
    raise ConfigError(
        f'start={shown(start)}: expected "0" (everything), "$" (only new events), an entry id or a datetime'
    )


def _before(moment: datetime) -> str:
    """The last id before a point in time. Raises `ConfigError`."""
    try:
        in_time_zone = moment.utcoffset() is not None
    except Exception:  # noqa: BLE001  # time zones may be the user's
        in_time_zone = False
    if not in_time_zone:
        raise ConfigError(f"start={shown(moment)}: give a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)")
    return previous(f"{max(0, round(moment.timestamp() * 1000))}-0")
