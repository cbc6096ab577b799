"""Show an entry as one line: for people, or as JSON for machines."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime

import msgspec

from ..connection.replies import RawEntry
from ..events import entry_ids, wire_format
from ..events.wire_format import Fields
from .show import NONE, local_time, visible

_OWN = frozenset(
    (wire_format.EVENT_TYPE, wire_format.PAYLOAD, wire_format.CONTENT_TYPE, wire_format.KEY, wire_format.EVENT_ID)
)
_LONGEST_FIELD = 200
_SPACES = str.maketrans("\n\r\t", "   ")

_DECODERS: dict[str, Callable[[bytes], object]] = {
    "": msgspec.json.decode,
    "application/json": msgspec.json.decode,
    "application/msgpack": msgspec.msgpack.decode,
}


def for_people(entry: RawEntry) -> str:
    """Return time, id, type, key and payload; then the fields outside the wire format, shortened."""
    entry_id, fields = entry.id.decode(), entry.fields or []
    known, others = _split(fields)
    event = [NONE, NONE] if known is None else _event_for_people(known, wire_format.payload_of(fields))
    shown = [local_time(_time(entry_id)), entry_id, *event]
    shown += [f"{name}={_shortened(value)}" for name, value in others.items()]
    return "  ".join(visible(text) for text in shown)


def _event_for_people(known: wire_format.Attributes, payload: bytes | None) -> list[str]:
    """Type, key and payload, as far as they are there."""
    shown = [known.event_type or NONE, known.key or NONE]
    if payload is not None:
        text = _json_text(payload, known.content_type)
        shown.append(repr(payload) if text is None else text)
    return shown


def for_machines(entry: RawEntry) -> str:
    """Return a JSON object: `id`, `time`, then `event_type`, `key`, `event_id`, `content_type`, `headers`, `payload`
    (or `payload_base64` if it is not JSON) and `fields` (those outside the wire format), each only if it is there.
    """
    entry_id, fields = entry.id.decode(), entry.fields or []
    known, others = _split(fields)
    record: dict[str, object] = {"id": entry_id, "time": _time(entry_id)}
    if known is not None:
        record |= {name: value for name, value in msgspec.structs.asdict(known).items() if value}
        record |= _payload(wire_format.payload_of(fields), known.content_type)
    if others:
        record["fields"] = others
    return msgspec.json.encode(record).decode()


def _split(fields: Fields) -> tuple[wire_format.Attributes | None, dict[str, str]]:
    """Return the event's attributes and all other fields.

    An entry with neither type nor payload has only the latter.
    """
    ours = bool(wire_format.event_type_of(fields)) or wire_format.payload_of(fields) is not None
    others = {
        _text(name): _text(value)
        for name, value in zip(fields[::2], fields[1::2], strict=False)
        if not ours or (name not in _OWN and not name.startswith(wire_format.HEADER))
    }
    return wire_format.attributes(fields) if ours else None, others


def _payload(payload: bytes | None, content_type: str | None) -> dict[str, object]:
    if payload is None:
        return {}
    if (text := _json_text(payload, content_type)) is not None:
        return {"payload": msgspec.Raw(text.encode())}
    return {"payload_base64": base64.b64encode(payload).decode()}


def _json_text(payload: bytes, content_type: str | None) -> str | None:
    """Return the payload as JSON on one line, converted from MessagePack if needed; `None` if it is neither."""
    decode = _DECODERS.get(content_type or "")
    if decode is None:
        return None
    try:
        value = decode(payload)
        encoded = payload if decode is msgspec.json.decode else msgspec.json.encode(value)
        return encoded.decode().translate(_SPACES)  # in JSON, line breaks occur only between tokens
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None


_NO_TIME = 9999


def _time(entry_id: str) -> datetime | None:
    """Return when Redis added the entry; `None` if its id was chosen by a person and is not a time."""
    taken = entry_ids.timestamp(entry_id)
    return None if taken.year == _NO_TIME else taken


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_FIELD else value[:_LONGEST_FIELD] + "..."
