"""Write and read dead letters: the event's own fields unchanged, then fields `dead:...` with its history.

docs/wire-format.md describes the format. All functions accept any bytes, because other programs may write to the stream
of dead letters too. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from ..models import DeadLetterMessage, History
from .delivery import Held
from .wire_format import Fields, attributes, packed, unpacked

_PREFIX = b"dead:"
_BEGINS = b"dead:reason"
_PACKED = b"dead:fields"
_ABSURD = 2**53

IDENTITY = 8
"""How many items at the end of a letter, names and values, tell whose it is: stream, group, consumer and entry id."""


class GivenUp(Protocol):
    """Why an event was given up; the fate `DeadLetter` has these attributes."""

    @property
    def reason(self) -> str:
        """A word for filters, such as `failures`."""
        ...

    @property
    def error(self) -> str:
        """The error as one line."""
        ...

    @property
    def traceback(self) -> str:
        """The end of the error's traceback, or `""`."""
        ...

    @property
    def failures(self) -> int:
        """How often handlers failed on the event."""
        ...


def compose(entry: Held, why: GivenUp, stream: str, group: str, consumer: str) -> list[str | bytes | float]:
    """Return the fields of the dead letter of an entry that this consumer of the group has given up."""
    earlier = entry.history
    became: dict[str, str | bytes | float] = {
        "reason": why.reason,
        "error": why.error,
        "traceback": why.traceback,
        "failures": why.failures + (earlier.failures if earlier else 0),
        "deliveries": entry.deliveries,
        "first_failure": f"{(earlier.first_failure if earlier else 0) or entry.first_failure:.3f}",
        "replays": earlier.replays if earlier else 0,
        # these are the last ones: `IDENTITY`
        "stream": stream,
        "group": group,
        "consumer": consumer,
        "id": earlier.id if earlier else entry.raw_id,
    }
    return [
        *packed(entry.fields, _PACKED),
        *(item for name, value in became.items() for item in (f"dead:{name}", value)),
    ]


def parse(entry_id: str, fields: Fields) -> DeadLetterMessage:
    """Read a dead letter from the fields of its entry."""
    begins = _last(fields, _BEGINS)
    original = unpacked(fields[:begins], _PACKED)
    became = _became(fields[begins:])
    known = attributes(original)
    return DeadLetterMessage(
        id=entry_id,
        reason=became.get("reason", ""),
        error=became.get("error", ""),
        traceback=became.get("traceback", ""),
        failures=int(_number(became, "failures")),
        deliveries=int(_number(became, "deliveries")),
        first_failure=_moment(_number(became, "first_failure")),
        replays=int(_number(became, "replays")),
        stream=became.get("stream", ""),
        group=became.get("group", ""),
        consumer=became.get("consumer", ""),
        entry_id=became.get("id", ""),
        event_type=known.event_type,
        key=known.key,
        event_id=known.event_id,
        headers=known.headers,
        fields=tuple(original),
    )


def history_of(letter: DeadLetterMessage) -> History:
    """Return the history that a replayed event carries."""
    return History(
        id=letter.entry_id,
        failures=letter.failures,
        first_failure=letter.first_failure.timestamp() if letter.first_failure else 0.0,
        reason=letter.reason,
        error=letter.error,
        replays=letter.replays + 1,
    )


def _last(fields: Fields, name: bytes) -> int:
    """Return the place of the last field with this name, or the end; a dead letter of a dead letter has several."""
    found = [index for index in range(0, len(fields) - 1, 2) if fields[index] == name]
    return found[-1] if found else len(fields)


def _became(fields: Fields) -> Mapping[str, str]:
    return {
        name.removeprefix(_PREFIX).decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in zip(fields[::2], fields[1::2], strict=False)
    }


def _number(became: Mapping[str, str], name: str) -> float:
    try:
        number = float(became.get(name, "0"))
    except ValueError:
        return 0.0
    return number if 0 <= number < _ABSURD else 0.0  # not NaN, not infinite, not more than JSON can hold


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, OSError, ValueError):
        return None
