"""Replays on the wire: an event that comes back from the dead letters for one group alone (docs/wire-format.md).

An event whose entry is still in its stream is handed out again where it stands, and needs nothing of this. Where the
entry is gone, the event is added anew, wrapped: two fields before its own say for which group it is and what became
of it before. That group unwraps it; the consumers of other groups acknowledge it unhandled. Pure.
"""

from __future__ import annotations

import msgspec

from .entries import Fields, packed, unpacked
from .models import History

FOR_GROUP = b"replayed_for"
HISTORY = b"replay_history"
_PACKED = b"replay_fields"

FOR_ANOTHER_GROUP = ValueError("replayed for another group")
"""The refusal of a delivery that this group passes over."""

_history = msgspec.json.Decoder(History)


def wrap(fields: Fields, group: str, history: History) -> Fields:
    """The fields of an event that is added again for one group."""
    return [FOR_GROUP, group.encode(), HISTORY, encode(history), *packed(fields, _PACKED)]


def unwrap(fields: Fields, group: str) -> tuple[Fields, History | None] | None:
    """The event's own fields, and its history; `None` when it is for another group."""
    if len(fields) >= 4 and fields[1] == group.encode() and fields[2] == HISTORY:
        return unpacked(fields[4:], _PACKED), decode(fields[3])
    return None


def encode(history: History) -> bytes:
    """A history as text."""
    return msgspec.json.encode(history)


def decode(text: bytes) -> History | None:
    """The history of a text; `None` for what is none."""
    try:
        return _history.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
