"""Entry ids as Redis writes them, `<milliseconds>-<sequence>`: their order, their time, and start positions.

Pure functions over text. Source: Redis documentation, "Entry IDs"
(https://redis.io/docs/latest/develop/data-types/streams/).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ..checks.values import shown
from ..exceptions import ConfigError

BEGINNING = "0"
"""Start position of a new group that reads everything in the stream."""
END = "$"
"""Start position of a new group that reads only entries added after its creation."""

_LARGEST = 2**64 - 1
"""The largest number that an id can contain."""
_FULL_OR_BARE = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


def parse(entry_id: str) -> tuple[int, int]:
    """Return `"1700-3"` as `(1700, 3)`, which compares as Redis compares. A bare `"1700"` means `1700-0`."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def is_id(text: str) -> bool:
    """Whether the text is an entry id, complete (`1700-3`) or bare (`1700`)."""
    return _FULL_OR_BARE.fullmatch(text) is not None and max(parse(text)) <= _LARGEST


def is_later(entry_id: bytes, other: bytes) -> bool:
    """Whether an id is later than another one; without parsing for times of this age, which have 13 digits."""
    if len(entry_id) == len(other) and entry_id[13:14] == other[13:14] == b"-":
        return entry_id > other
    return parse(entry_id.decode()) > parse(other.decode())


def previous(entry_id: str) -> str:
    """Return the id directly before: a group created there reads `entry_id` next."""
    milliseconds, sequence = parse(entry_id)
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{_LARGEST}" if milliseconds else "0-0"


def timestamp(entry_id: str) -> datetime:
    """Return when Redis added the entry, in UTC, to the millisecond; `datetime.max` if the id is not a time."""
    try:
        return datetime.fromtimestamp(parse(entry_id)[0] / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def start_position(start: str | datetime) -> str:
    """Return the position that `XGROUP CREATE` takes for `start=`: `"0"`, `"$"`, an entry id, or the id before a time.

    A `datetime` without a time zone is refused, because it would mean another moment on another machine. Raises
    `ConfigError`.
    """
    if isinstance(start, datetime):
        return _before(start)
    if isinstance(start, str) and (start == END or is_id(start)):
        return str.__str__(start)
    raise ConfigError(
        f'start={shown(start)}: expected "0" (everything), "$" (only new events), an entry id or a datetime'
    )


def _before(moment: datetime) -> str:
    """Return the last id before a point in time. Raises `ConfigError`."""
    try:
        in_time_zone = moment.utcoffset() is not None
    except Exception:  # noqa: BLE001  # a time zone may be user code
        in_time_zone = False
    if not in_time_zone:
        raise ConfigError(f"start={shown(moment)}: give a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)")
    return previous(f"{max(0, round(moment.timestamp() * 1000))}-0")
