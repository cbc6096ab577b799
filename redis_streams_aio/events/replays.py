"""Replays on the wire: an event that comes back from the dead letters for one group alone (docs/wire-format.md).

An event whose entry is still in its stream is handed out again where it stands, and needs nothing of this. Where the
entry is gone, the event is added anew, wrapped: two fields before its own say for which group it is and what became
of it before. That group unwraps it; the consumers of other groups acknowledge it unhandled. Pure.
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
"""The refusal of a delivery that this group passes over."""

_history = msgspec.json.Decoder(History)


class Replay(NamedTuple):
    """An event that was added again for one group."""

    group: str
    fields: Fields
    """Its own."""
    history: History


def wrap(fields: Fields, group: str, history: History) -> Fields:
    """The fields of an event that is added again for one group."""
    return [FOR_GROUP, group.encode(), HISTORY, encode(history), *packed(fields, _PACKED)]


def unwrap(fields: Fields) -> Replay | None:
    """The replay that an entry is; `None` for what is no whole one, which is an entry like others then."""
    if len(fields) < 4 or fields[0] != FOR_GROUP or fields[2] != HISTORY:
        return None
    history = decode(fields[3])
    if history is None:
        return None
    return Replay(fields[1].decode("utf-8", "replace"), unpacked(fields[4:], _PACKED), history)


def encode(history: History) -> bytes:
    """A history as text."""
    return msgspec.json.encode(history)


def decode(text: bytes) -> History | None:
    """The history of a text; `None` for what is none."""
    try:
        return _history.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
