"""Wrap and unwrap replays: events that are added to their stream again, for one group alone (docs/wire-format.md).

A dead letter whose entry is still in its stream is delivered again under its own id, without this module. If the entry
is gone, the event is added again and wrapped: two fields before its own fields name the group and carry the history.
That group unwraps the event; consumers of other groups acknowledge it without handling it. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ..models import History
from .wire_format import Fields, packed, unpacked

FOR_GROUP = b"redis_streams_aio:replayed_for"
HISTORY = b"redis_streams_aio:replay_history"
_PACKED = b"redis_streams_aio:replay_fields"

FOR_ANOTHER_GROUP = ValueError("replayed for another group")
"""The refusal of a delivery that is not for this group."""

_history = msgspec.json.Decoder(History)


class Replay(NamedTuple):
    """An event that was added again for one group."""

    group: str
    fields: Fields
    """The event's own fields."""
    history: History


def wrap(fields: Fields, group: str, history: History) -> Fields:
    """Return the fields of an event that is added again for one group."""
    return [FOR_GROUP, group.encode(), HISTORY, encode(history), *packed(fields, _PACKED)]


def unwrap(fields: Fields) -> Replay | None:
    """Read a replay from the fields of an entry; `None` if the entry is not a complete replay."""
    if len(fields) < 4 or fields[0] != FOR_GROUP or fields[2] != HISTORY:
        return None
    history = decode(fields[3])
    if history is None:
        return None
    return Replay(fields[1].decode("utf-8", "replace"), unpacked(fields[4:], _PACKED), history)


def encode(history: History) -> bytes:
    """Return a history as JSON."""
    return msgspec.json.encode(history)


def decode(text: bytes) -> History | None:
    """Read a history from JSON; `None` if it is not one."""
    try:
        return _history.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
