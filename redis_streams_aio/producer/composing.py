"""`Composer`: from an event to the XADD that writes it, checked and packed.

All that can be wrong with an event is found here, before the network (P24). Most events have nothing but a payload:
for them everything around it is checked and packed once for each stream and event type, and an event costs its
encoding and one more copy of the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic

from .. import entries, naming
from ..codecs import PayloadCodec
from ..config import Settings
from ..connection.packing import Command, pack, pack_around, pack_between
from ..exceptions import InvalidEventError, PayloadTooLargeError

NO_HEADERS: Mapping[str, str] = {}
_NAMELESS = (dict, bytes, bytearray, memoryview, str, int, float, list, tuple, bool, type(None))
"""Payload types whose name says nothing about the event."""
_KEPT = 1024
"""Streams, and pairs of stream and event type, whose packed parts are kept."""
_LONGEST_TURN = 0.004
"""Seconds for which composing many events may hold the event loop."""
_PAYLOAD = b"<payload>"
"""Stands where a payload will."""


class Composer:
    """See the module. Its methods raise `InvalidEventError`."""

    def __init__(self, codec: PayloadCodec, settings: Settings) -> None:
        self._codec = codec
        self._settings = settings
        self._heads: dict[str, tuple[str | int, ...]] = {}
        self._plain: dict[tuple[str, str, str | None], tuple[bytes, bytes]] = {}

    def command(
        self,
        stream: str,
        payload: object,
        event_type: str | None,
        *,
        key: str | None,
        event_id: str | None,
        headers: Mapping[str, str],
    ) -> Command:
        """The XADD of an event, not packed."""
        name = self._event_type(stream, payload, event_type)
        return self._compose(stream, name, self._encode(payload), key=key, event_id=event_id, headers=headers)[0]

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
        """The XADD as it is sent. With nothing but a payload, the rest is the same each time, and packed once."""
        name = self._event_type(stream, payload, event_type)
        body = self._encode(payload)
        if key is event_id is None and headers == {} and type(body) is bytes:
            plain = self._plain.get((stream, name, self._codec.content_type)) or self._new_plain(stream, name)
            return pack_between(plain, body)
        return self._compose(stream, name, body, key=key, event_id=event_id, headers=headers)[1]

    async def pack_many(
        self, stream: str, payloads: Iterable[object], event_type: str | None, headers: Mapping[str, str]
    ) -> list[bytes]:
        """All of them, with a turn for others now and then: a hundred thousand take a while.

        Those that are there at the call: in their turn, others may change a collection.
        """
        if not isinstance(payloads, Iterator):
            payloads = tuple(payloads)
        packed: list[bytes] = []
        pack = self.pack
        others_turn = monotonic() + _LONGEST_TURN
        for payload in payloads:
            packed.append(pack(stream, payload, event_type, headers=headers))
            if monotonic() > others_turn:
                await asyncio.sleep(0)
                others_turn = monotonic() + _LONGEST_TURN
        return packed

    def _event_type(self, stream: str, payload: object, event_type: str | None) -> str:
        """The event's type, where the stream and the type are such that they can be sent."""
        if not isinstance(stream, str) or stream not in self._heads:
            self._head(stream)
        name = type(payload).__name__ if event_type is None and not isinstance(payload, _NAMELESS) else event_type
        if not name or not isinstance(name, str):
            raise InvalidEventError(_event_type_problem(event_type, payload))
        return name

    def _encode(self, payload: object) -> bytes:
        body = self._codec.encode(payload)
        if len(body) > self._settings.max_payload_bytes:
            limit = self._settings.max_payload_bytes
            raise PayloadTooLargeError(
                f"payload: {len(body)} bytes encoded, the limit is {limit} (max_payload_bytes); "
                "publish a reference instead"
            )
        return body

    def _compose(
        self,
        stream: str,
        name: str,
        body: bytes,
        *,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[Command, bytes]:
        """The command, as it is and packed: only packing finds out whether all of it is text."""
        content_type = self._codec.content_type
        try:
            fields = entries.compose(name, body, content_type=content_type, key=key, event_id=event_id, headers=headers)
            command = (*self._head(stream), *fields)
            return command, pack(command)
        except (TypeError, UnicodeEncodeError, AttributeError) as error:
            raise InvalidEventError(_attribute_problem(name, key, event_id, headers)) from error

    def _new_plain(self, stream: str, name: str) -> tuple[bytes, bytes]:
        """What stands before and after the payload of such an event."""
        command = self._compose(stream, name, _PAYLOAD)[0]
        at = next(index for index, argument in enumerate(command) if argument is _PAYLOAD)
        plain = pack_around(command[:at], command[at + 1 :])
        if len(self._plain) < _KEPT:
            self._plain[stream, name, self._codec.content_type] = plain
        return plain

    def _head(self, stream: str) -> tuple[str | int, ...]:
        """The command up to the fields, checked and made once for each stream."""
        if head := self._heads.get(stream) if isinstance(stream, str) else None:
            return head
        if problem := naming.problem(stream):
            raise InvalidEventError(f"stream: the name {problem}")
        maxlen = self._settings.stream(stream).maxlen
        head = ("XADD", stream, "*") if maxlen is None else ("XADD", stream, "MAXLEN", "~", maxlen, "*")
        if len(self._heads) < _KEPT:
            self._heads[stream] = head
        return head


def _event_type_problem(event_type: object, payload: object) -> str:
    if event_type is None:
        kind = type(payload).__name__
        return f"event_type: is needed for a payload of type {kind}, e.g. publish(..., event_type='OrderPlaced')"
    return f"event_type: expected text that is not empty, got {event_type!r:.80}"


def _attribute_problem(event_type: str, key: object, event_id: object, headers: object) -> str:
    if not isinstance(headers, Mapping):
        return f"headers: expected a mapping of text to text, got {type(headers).__name__}"
    options = {"event_type": event_type, "key": key, "event_id": event_id}
    texts = {field: value for field, value in options.items() if value is not None}
    for field, value in {**texts, **{f"headers[{name!r:.40}]": value for name, value in headers.items()}}.items():
        if not isinstance(value, str):
            return f"{field}: expected text, got {type(value).__name__}"
    return "event_type, key, event_id, headers: text that cannot be written as UTF-8"
