"""`Composer` checks an event and packs the `XADD` that writes it.

Every mistake in an event is found here, before anything is sent. Most events have only a payload. For them, everything
around the payload is checked and packed once for each stream and event type, so an event costs its encoding and one
more copy of the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic

from ..checks import names, values
from ..codecs import AS_IT_IS, BYTES, PayloadCodec, leaves_bytes
from ..config import Settings
from ..connection.packing import Command, pack, pack_around, pack_between
from ..events import wire_format
from ..events.outgoing import NO_HEADERS, Outgoing
from ..exceptions import EncodeError, InvalidEventError, PayloadTooLargeError
from .attributes import MOST_BYTES, checked_headers, checked_text, too_large, unwritable

_NAMELESS = (dict, bytes, bytearray, memoryview, str, int, float, list, tuple, bool, type(None))
"""Payload types whose names cannot be event types."""
_KEPT = 1024
"""The most streams, and pairs of stream and event type, whose packed parts are kept."""
_LONGEST_TURN = 0.004
"""The longest time in seconds that packing many events holds the event loop."""
_SINGLE = (str, bytes, bytearray, memoryview, Mapping)
"""Iterable types that are a single payload."""
_PAYLOAD = b"<payload>"
"""Marks the place of the payload."""


class Composer:
    """Checks and packs events. Its methods raise `InvalidEventError`."""

    def __init__(self, codec: PayloadCodec, settings: Settings) -> None:
        self._codec = codec
        self._settings = settings
        self._leaves_bytes = leaves_bytes(codec)
        self._heads: dict[str, tuple[str | int, ...]] = {}
        self._names: dict[type[object], str] = {}
        self._plain: dict[tuple[str, str, str | None, type[object]], tuple[bytes, bytes]] = {}

    def command(self, event: Outgoing) -> Command:
        """Return the `XADD` of an event, not packed."""
        kind = type(event.payload)
        name = self._event_type(event.stream, kind, event.event_type)
        body = self._encode(event.payload)
        fields = self._fields(name, body, kind, event.key, event.event_id, event.headers)
        return self._command(event.stream, fields, len(body))[0]

    def pack(
        self,
        stream: str,
        payload: object,
        event_type: str | None,
        *,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> bytes:
        """Return the packed `XADD` of an event. Everything around a plain payload is packed only once."""
        kind = type(payload)
        name = self._event_type(stream, kind, event_type)
        body = self._encode(payload)
        if key is event_id is None and (headers is NO_HEADERS or _none_in(headers)):
            return pack_between(self._around(stream, name, kind), body)
        return self._command(stream, self._fields(name, body, kind, key, event_id, headers), len(body))[1]

    async def pack_many(
        self, stream: str, payloads: Iterable[object], event_type: str | None, headers: Mapping[str, str]
    ) -> list[bytes]:
        """Pack all payloads, and let other tasks run now and then.

        A collection is copied first, because other tasks may change it meanwhile.
        """
        if isinstance(payloads, _SINGLE) or not isinstance(payloads, Iterable):
            raise InvalidEventError(f"payloads={values.shown(payloads)}: expected a list of payloads, or an iterator")
        if not isinstance(payloads, Iterator):
            payloads = tuple(payloads)
        packed: list[bytes] = []
        pack_one = self._packer(stream, event_type, headers)
        others_turn = monotonic() + _LONGEST_TURN
        for payload in payloads:
            packed.append(pack_one(payload))
            if monotonic() > others_turn:
                await asyncio.sleep(0)
                others_turn = monotonic() + _LONGEST_TURN
        return packed

    def _packer(self, stream: str, event_type: str | None, headers: Mapping[str, str]) -> Callable[[object], bytes]:
        """Return the function that packs payloads of one stream. It looks up the surrounding parts once per type."""
        if headers is not NO_HEADERS and not _none_in(headers):
            return lambda payload: self.pack(stream, payload, event_type, headers=headers)
        encode = self._encode
        known: type[object] | None = None
        around = (b"", b"")

        def pack_one(payload: object) -> bytes:
            nonlocal known, around
            kind = type(payload)
            if kind is not known:
                around, known = self._around(stream, self._event_type(stream, kind, event_type), kind), kind
            return pack_between(around, encode(payload))

        return pack_one

    def _event_type(self, stream: str, kind: type[object], event_type: str | None) -> str:
        """Return the event type, after a check of stream and type."""
        if not isinstance(stream, str) or stream not in self._heads:
            self._head(stream)
        if event_type is None:
            return self._names.get(kind) or self._name_of(kind)
        if not isinstance(event_type, str) or not event_type:
            shown = values.shown(event_type)
            raise InvalidEventError(f"event_type={shown}: expected text that is not empty, e.g. 'OrderPlaced'")
        return event_type

    def _name_of(self, kind: type[object]) -> str:
        """Return the name of the payload's type as the event type, unless it is a type such as `dict`."""
        if issubclass(kind, _NAMELESS):
            raise InvalidEventError(
                f"event_type: is needed for a payload of type {kind.__name__}, e.g. publish(..., "
                "event_type='OrderPlaced')"
            )
        if len(self._names) < _KEPT:
            self._names[kind] = kind.__name__
        return kind.__name__

    def _encode(self, payload: object) -> bytes:
        body = self._codec.encode(payload)
        if type(body) is not bytes:
            if not isinstance(body, bytes | bytearray | memoryview):
                raise EncodeError(f"payload: the codec {self._codec!r:.80} returned {values.shown(body)}, not bytes")
            body = bytes(body)
        if len(body) > self._settings.max_payload_bytes:
            limit = self._settings.max_payload_bytes
            raise PayloadTooLargeError(
                f"payload: {len(body)} bytes encoded, the limit is {limit} (max_payload_bytes); "
                "publish a reference instead"
            )
        return body

    def _fields(  # noqa: PLR0917  # an event's, in the order of the wire format
        self,
        name: str,
        body: bytes,
        kind: type[object],
        key: str | None,
        event_id: str | None,
        headers: Mapping[str, str],
    ) -> Sequence[str | bytes]:
        """Return the fields of the entry."""
        return wire_format.compose(
            name,
            body,
            content_type=AS_IT_IS if self._leaves_bytes and issubclass(kind, BYTES) else self._codec.content_type,
            key=key if key is None or type(key) is str else checked_text("key", key),
            event_id=event_id if event_id is None or type(event_id) is str else checked_text("event_id", event_id),
            headers=headers if headers is NO_HEADERS else checked_headers(headers),
        )

    def _command(self, stream: str, fields: Sequence[str | bytes], payload_size: int) -> tuple[Command, bytes]:
        """Return the command, not packed and packed. Packing finds text that cannot be written."""
        command = (*self._head(stream), *fields)
        try:
            packed = pack(command)
        except UnicodeEncodeError:
            raise InvalidEventError(unwritable(fields)) from None
        if len(packed) - payload_size > MOST_BYTES:
            raise PayloadTooLargeError(too_large(fields))
        return command, packed

    def _around(self, stream: str, name: str, kind: type[object]) -> tuple[bytes, bytes]:
        """Return the packed bytes before and after the payload of an event that has only a payload."""
        known = (stream, name, self._codec.content_type, kind)
        return self._plain.get(known) or self._new_plain(*known)

    def _new_plain(self, stream: str, name: str, content_type: str | None, kind: type[object]) -> tuple[bytes, bytes]:
        """Pack and keep the bytes around such a payload."""
        command = self._command(stream, self._fields(name, _PAYLOAD, kind, None, None, NO_HEADERS), len(_PAYLOAD))[0]
        at = next(index for index, argument in enumerate(command) if argument is _PAYLOAD)
        plain = pack_around(command[:at], command[at + 1 :])
        if len(self._plain) < _KEPT:
            self._plain[stream, name, content_type, kind] = plain
        return plain

    def _head(self, stream: str) -> tuple[str | int, ...]:
        """Return the command up to the fields, which is checked and made once for each stream."""
        if head := self._heads.get(stream) if isinstance(stream, str) else None:
            return head
        stream = names.checked("stream", stream, InvalidEventError)
        maxlen = self._settings.stream(stream).maxlen
        head = ("XADD", stream, "*") if maxlen is None else ("XADD", stream, "MAXLEN", "~", maxlen, "*")
        if len(self._heads) < _KEPT:
            self._heads[stream] = head
        return head


def _none_in(headers: Mapping[str, str]) -> bool:
    """Whether the headers are an empty `dict`; other mappings are checked later."""
    return type(headers) is dict and not headers
