"""The wire format: which fields an entry has, and in which order (docs/wire-format.md).

`event_type`, `payload`, then only those that are set of `content_type`, `key`, `event_id`, and `h:<name>` for
headers. The same fields in the same order each time, so that Redis stores the names once per node of the stream.
An entry is a flat list of names and values in turn, bytes as Redis sends them; names and values written by others
may be anything, so everything here takes any bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

Fields = list[bytes]
"""Names and values in turn."""

EVENT_TYPE = b"event_type"
PAYLOAD = b"payload"
CONTENT_TYPE = b"content_type"
KEY = b"key"
EVENT_ID = b"event_id"
HEADER = b"h:"


class Attributes(msgspec.Struct, frozen=True):
    """What an entry says about its event, beside the payload."""

    event_type: str = ""
    content_type: str | None = None
    key: str | None = None
    event_id: str | None = None
    headers: Mapping[str, str] = {}


def get(fields: Fields, name: bytes) -> bytes | None:
    """The value of a field, or `None`. Our own entries have it within the first few."""
    for index in range(0, len(fields) - 1, 2):
        if fields[index] == name:
            return fields[index + 1]
    return None


def event_type_of(fields: Fields) -> bytes:
    """The event type, `b""` where none is named. Our own entries begin with it: one comparison."""
    if len(fields) > 1 and fields[0] == EVENT_TYPE:
        return fields[1]
    return get(fields, EVENT_TYPE) or b""


def payload_of(fields: Fields) -> bytes | None:
    """The encoded payload, or `None` where the entry has none."""
    if len(fields) > 3 and fields[2] == PAYLOAD:
        return fields[3]
    return get(fields, PAYLOAD)


def key_of(fields: Fields) -> bytes | None:
    """The publisher's key, or `None` where the entry has none. Our own JSON entries have it right after the payload."""
    if len(fields) > 5 and fields[4] == KEY and fields[2] == PAYLOAD and fields[0] == EVENT_TYPE:
        return fields[5]
    return get(fields, KEY)


def attributes(fields: Fields) -> Attributes:
    """All that the entry says about its event. Text that is not UTF-8 is kept readable with replacement characters."""
    values: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name.startswith(HEADER):
            headers[_text(name[len(HEADER) :])] = _text(value)
        elif name in _ATTRIBUTE_NAMES:
            values[name.decode()] = _text(value)
    return Attributes(**values, headers=headers)


def compose(
    event_type: str,
    payload: bytes,
    *,
    content_type: str | None,
    key: str | None,
    event_id: str | None,
    headers: Mapping[str, str],
) -> list[bytes | str]:
    """The fields of a new entry, in the order of the wire format."""
    fields: list[bytes | str] = [EVENT_TYPE, event_type, PAYLOAD, payload]
    if content_type is not None:
        fields += (CONTENT_TYPE, content_type)
    if key is not None:
        fields += (KEY, key)
    if event_id is not None:
        fields += (EVENT_ID, event_id)
    for name, value in headers.items():
        fields += ("h:" + name, value)
    return fields


_PASSED_ON_AT_MOST = 6000
"""Names and values that a Lua script can pass on (8,000 with what it adds itself)."""


def packed(fields: Fields, name: bytes) -> Fields:
    """The fields; more than a script can pass on, and what looks packed, as one field of this name, in MessagePack."""
    return [name, msgspec.msgpack.encode(fields)] if _is_to_be_packed(fields, name) else fields


def unpacked(fields: Fields, name: bytes) -> Fields:
    """The fields that `packed` was given; what it would not have packed is somebody else's, and stays as it is."""
    if len(fields) == 2 and fields[0] == name:
        try:
            known = msgspec.msgpack.decode(fields[1], type=Fields)
        except msgspec.DecodeError:
            return fields
        if _is_to_be_packed(known, name) and len(known) % 2 == 0:
            return known
    return fields


def _is_to_be_packed(fields: Fields, name: bytes) -> bool:
    return len(fields) > _PASSED_ON_AT_MOST or (len(fields) == 2 and fields[0] == name)


_ATTRIBUTE_NAMES = frozenset((EVENT_TYPE, CONTENT_TYPE, KEY, EVENT_ID))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
