"""`Form`: the packed `XADD` of one stream, event type and type of payload, with the place of the payload left open.

Everything around a payload is checked and packed once. An event then costs its encoding, and one copy of the bytes.
"""

from __future__ import annotations

from ..checks.values import shown
from ..codecs import AS_IT_IS, BYTES, PayloadCodec, encoder, leaves_bytes
from ..connection.packing import Command, pack_part
from ..events import wire_format
from ..exceptions import EncodeError, PayloadTooLargeError
from .extras import MOST_BYTES, NO_EXTRAS, Extras, packed, too_large

_PAYLOAD = b"<payload>"
"""Marks the place of the payload."""


class Form:
    """Makes the commands of events that differ only in their payloads and extras."""

    __slots__ = ("_after", "_around", "_before", "_codec", "_count", "_encode", "_event_type", "_limit", "_start")

    def __init__(self, head: Command, event_type: str, kind: type[object], codec: PayloadCodec, limit: int) -> None:
        """`head` is the command up to the fields, `kind` the type of the payloads, `limit` their largest size.

        Raises `InvalidEventError` for an event type that cannot be written.
        """
        content_type = AS_IT_IS if leaves_bytes(codec) and issubclass(kind, BYTES) else codec.content_type
        fields = wire_format.compose(event_type, _PAYLOAD, content_type=content_type)
        at = next(index for index, field in enumerate(fields) if field is _PAYLOAD)
        self._around: tuple[Command, Command] = (*head, *fields[:at]), (*fields[at + 1 :],)
        self._count = len(head) + len(fields)
        self._event_type = event_type
        self._start = pack_part(head) + packed(fields[:at])
        self._before = b"*%d\r\n%b" % (self._count, self._start)
        self._after = b"\r\n" + packed(fields[at + 1 :])
        self._codec, self._encode, self._limit = codec, encoder(codec, kind), limit
        self._check_size(NO_EXTRAS)

    def pack(self, payload: object, extras: Extras = NO_EXTRAS) -> bytes:
        """Return the packed command of an event. Raises `InvalidEventError`."""
        body = self._encode(payload)
        if type(body) is not bytes or len(body) > self._limit:
            body = self._checked(body)
        if extras is NO_EXTRAS:
            return b"".join((self._before, b"$%d\r\n" % len(body), body, self._after))
        self._check_size(extras)
        count = b"*%d\r\n" % (self._count + len(extras.fields))
        return b"".join((count, self._start, b"$%d\r\n" % len(body), body, self._after, extras.packed))

    def command(self, payload: object, extras: Extras) -> Command:
        """Return the command of an event, not packed. Raises `InvalidEventError`."""
        self._check_size(extras)
        before, after = self._around
        return (*before, self._checked(self._encode(payload)), *after, *extras.fields)

    def _checked(self, body: object) -> bytes:
        """Return an encoded payload as bytes. Raises `EncodeError`, `PayloadTooLargeError`."""
        if not isinstance(body, bytes | bytearray | memoryview):
            raise EncodeError(f"payload: the codec {self._codec!r:.80} returned {shown(body)}, not bytes")
        body = bytes(body)
        if len(body) > self._limit:
            raise PayloadTooLargeError(
                f"payload: {len(body)} bytes encoded, the limit is {self._limit} (max_payload_bytes); "
                "publish a reference instead"
            )
        return body

    def _check_size(self, extras: Extras) -> None:
        if len(self._before) + len(self._after) + len(extras.packed) > MOST_BYTES:
            raise PayloadTooLargeError(too_large([wire_format.EVENT_TYPE, self._event_type, *extras.fields]))
