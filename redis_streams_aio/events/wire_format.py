"""The wire format: the fields of an entry and their order (docs/wire-format.md).

First `event_type` and `payload`, then `content_type`, `key`, `event_id` and `h:<name>` for headers, each only if it is
set. The order is always the same, so that Redis stores the names once per node of the stream. In code, an entry is a
flat list of names and values in turn, as bytes. Other programs may write anything, so all functions accept any bytes.
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
    """The attributes of an event beside its payload."""

    event_type: str = ""
    content_type: str | None = None
    key: str | None = None
    event_id: str | None = None
    headers: Mapping[str, str] = {}


def get(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of a field, or `None`. In entries of this library the search ends after a few fields."""
    for index in range(0, len(fields) - 1, 2):
        if fields[index] == name:
            return fields[index + 1]
    return None


def event_type_of(fields: Fields) -> bytes:
    """Return the event type, or `b""`. Entries of this library begin with it, so one comparison finds it."""
    if len(fields) > 1 and fields[0] == EVENT_TYPE:
        return fields[1]
    return get(fields, EVENT_TYPE) or b""


def payload_of(fields: Fields) -> bytes | None:
    """Return the encoded payload, or `None` if the entry has none."""
    if len(fields) > 3 and fields[2] == PAYLOAD:
        return fields[3]
    return get(fields, PAYLOAD)


def key_of(fields: Fields) -> bytes | None:
    """Return the publisher's key, or `None`. JSON entries of this library have it directly after the payload."""
    if len(fields) > 5 and fields[4] == KEY and fields[2] == PAYLOAD and fields[0] == EVENT_TYPE:
        return fields[5]
    return get(fields, KEY)


def attributes(fields: Fields) -> Attributes:
    """Read the attributes of an entry. Bytes that are not UTF-8 become replacement characters."""
    values: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name.startswith(HEADER):
            headers[_text(name[len(HEADER) :])] = _text(value)
        elif name in _ATTRIBUTE_NAMES:
            values[name.decode()] = _text(value)
    return Attributes(**values, headers=headers)


def compose(event_type: str, payload: bytes, *, content_type: str | None) -> list[bytes | str]:
    """Return the fields that a new entry begins with; `extras` follow."""
    fields: list[bytes | str] = [EVENT_TYPE, event_type, PAYLOAD, payload]
    if content_type is not None:
        fields += (CONTENT_TYPE, content_type)
    return fields


def extras(*, key: str | None, event_id: str | None, headers: Mapping[str, str]) -> list[bytes | str]:
    """Return the other fields of a new entry, in the order of the wire format."""
    fields: list[bytes | str] = []
    if key is not None:
        fields += (KEY, key)
    if event_id is not None:
        fields += (EVENT_ID, event_id)
    for name, value in headers.items():
        fields += ("h:" + name, value)
    return fields


_PASSED_ON_AT_MOST = 6000
"""The most names and values that a Lua script can pass on (the limit is 8,000 with its own arguments)."""


def packed(fields: Fields, name: bytes) -> Fields:
    """Pack fields into one field in MessagePack if a script could not pass them on, or if they look packed."""
    return [name, msgspec.msgpack.encode(fields)] if _is_to_be_packed(fields, name) else fields


def unpacked(fields: Fields, name: bytes) -> Fields:
    """Return the fields that `packed` got. Fields that it would not have packed come from others and stay as is."""
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
